"""Cells of data: partitions of clumps, kinds that are missed, coincidences of the birthday paradox."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.cells import coincidences, missed_share, partition, shift, support


def clumps(n: int, k: int, seed: int = 0) -> torch.Tensor:
    """n points near the corners 0, 10, 20 ... of a line, in the plane, in turns."""
    corner = 10.0 * (torch.arange(n) % k)
    return torch.stack([corner, torch.zeros(n)], 1) + 0.1 * Rng(seed)("points").normal((n, 2))


def test_far_clumps_are_the_cells_and_their_means_the_centres():
    x = clumps(400, 4)
    cells = partition(x, 4, Rng(1))
    order = cells.centres[:, 0].argsort()
    means = torch.stack([x[i::4].mean(0) for i in range(4)])
    assert torch.allclose(cells.centres[order], means, atol=1e-5)
    assert cells.shares.tolist() == [0.25] * 4
    assert len(set(cells.of(x).tolist())) == 4
    assert torch.equal(cells.of(x)[::4], cells.of(x)[:1].expand(100))


def test_rows_that_coincide_make_fewer_cells():
    x = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    cells = partition(x, 4, Rng(0))
    assert sorted(cells.centres.flatten().tolist()) == [0.0, 1.0]
    with pytest.raises(ValueError, match="4 rows has 1 to 4 cells; got 5"):
        partition(x, 5, Rng(0))


def test_the_share_that_samples_lack():
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    assert missed_share(torch.tensor([40, 30, 20, 10]), shares) == 0.0
    assert missed_share(torch.tensor([70, 30, 0, 0]), shares) == pytest.approx(0.3)
    assert missed_share(torch.tensor([95, 5, 0, 0]), shares) == pytest.approx(0.6)  # 5 of 30 expected is too few
    assert missed_share(torch.tensor([94, 6, 0, 0]), shares) == pytest.approx(0.3)  # 6 of 30 is just not
    # of 40 samples 4 are expected of the last kind: it is not judged, and the others are the whole
    assert missed_share(torch.tensor([40, 0, 0, 0]), shares) == pytest.approx(0.5 / 0.9)


def test_coinciding_draws_tell_how_many_there_are_to_draw_from():
    n, k = 2_000, 500
    x = Rng(3).integers(k, (n,)).float()[:, None]
    pairs = coincidences(x, 0.0)
    # binomially many of n (n - 1) / 2 pairs coincide, with probability 1 / k each
    expected = n * (n - 1) / 2 / k
    assert abs(pairs - expected) < 4 * math.sqrt(expected)
    assert support(n, pairs) == pytest.approx(k, rel=4 / math.sqrt(expected))
    assert support(n, 0) == math.inf


def test_what_would_have_to_be_moved_and_how_typical_rows_are():
    assert shift(torch.tensor([6, 2, 2]), torch.tensor([0.2, 0.4, 0.4])) == pytest.approx(0.4)
    x = clumps(400, 4)
    cells = partition(x, 4, Rng(1))
    assert cells.dispersion(x) == pytest.approx(1.0, abs=1e-6)
    shrunk = cells.centres[cells.of(x)] + 0.5 * (x - cells.centres[cells.of(x)])
    assert cells.dispersion(shrunk) == pytest.approx(0.5, abs=1e-5)
