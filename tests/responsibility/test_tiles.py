"""The tiles of a mark: where they lie, an exact null at every shift, found in what is cut out or mirrored."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from test_pixels import jpeg, key, picture

from simulacra.responsibility import pixels, tiles
from simulacra.responsibility.pixels import PixelMark
from simulacra.responsibility.verdicts import threshold

CUTS = {
    "cropped": lambda x: x[21:-9, 13:-30],
    "cropped, JPEG 90": lambda x: jpeg(x[21:-9, 13:-30], 90),
    "mirrored": lambda x: x[:, ::-1],
    "mirrored and cropped": lambda x: x[10:-10, ::-1][:, 7:],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_mark_is_found_in_what_is_left_of_a_picture(cut):
    for seed in range(2):
        marked = PixelMark(key=key(seed)).mark(picture(256, 256, seed))
        assert PixelMark(key=key(seed)).look(CUTS[cut](marked)).p < 1e-6
        assert PixelMark(key=key(seed + 50)).look(CUTS[cut](marked)).p > 1e-6


def test_the_pattern_alone_is_found_at_every_shift():
    laid = 127 + 40 * tiles.tiles(key(3), (260, 200))
    for down, right in ((0, 0), (1, 0), (17, 40), (63, 63)):
        # a sign among its likes is taken out with the edges: a few of a thousand
        for x in (laid[down:, right:], laid[down:, right:][:, ::-1]):
            assert tiles.look(key(3), tiles.folded(x)).matches > 1000


def test_the_null_of_one_shift_is_exact_over_keys(monkeypatch):
    """In one picture: agreements at the picture's own place are binomial, and the best of all shifts is bounded."""
    grey = picture(128, 128)[..., 0].astype(float)
    folded = tiles.folded(grey)
    signs = np.where(folded[::2, ::2] > 0, 1.0, -1.0)
    own = [int((signs == tiles._pattern(key(i))).sum()) for i in range(400)]
    for rate in (0.1, 0.01):
        level = float(stats.binom.sf(threshold(1024, rate) - 1, 1024, 0.5))
        assert stats.binomtest(sum(n >= threshold(1024, rate) for n in own), 400, level).pvalue > 1e-4
    best = [tiles.look(key(i), folded).p for i in range(100)]
    assert stats.binomtest(sum(p <= 0.05 for p in best), 100, 0.05, alternative="greater").pvalue > 1e-4


def test_tiles_leave_the_coefficients_of_the_lattices_alone():
    change = PixelMark(key=key(1))._tiles(np.random.default_rng(0).uniform(size=(128, 160)))
    assert np.abs(pixels._transform(change)).max() < 1e-9
    assert np.abs(change).max() > 1
    assert not PixelMark(key=key(1))._tiles(np.ones((127, 300))).any()
