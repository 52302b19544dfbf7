"""Pictures in memory: levels there and back, and black-and-white versions whose mean is the grey level."""

import math

import numpy as np
import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.modalities import images


def grey(levels: int = 256) -> np.ndarray:
    return np.arange(levels, dtype=np.uint8).reshape(levels, 1, 1, 1).repeat(4, 2).repeat(4, 3)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_levels_survive_the_way_to_values_and_back(levels):
    data = images.stored(grey(levels), levels=levels)
    x = data.batch(torch.arange(levels), Rng(0)).x
    assert float(x.min()) == -1
    assert float(x.max()) == 1
    shown = images.to_uint8(x, data.space)
    assert shown.shape == (levels, 4, 4, 1)
    assert np.array_equal(shown[:, 0, 0, 0], np.round(np.arange(levels) * 255 / (levels - 1)))


def test_dynamic_binarisation_is_white_with_probability_the_grey_level():
    data = images.dynamic_binarisation(images.stored(grey()))
    n, draws = 16, 400
    total = torch.zeros(256)
    for step in range(draws):
        x = data.batch(torch.arange(256), Rng(3)("step", step)).x
        assert set(x.unique().tolist()) <= {-1.0, 1.0}
        total += (x > 0).float().sum((1, 2, 3))
    p = torch.arange(256) / 255
    error = (p * (1 - p) / (n * draws)).sqrt()
    assert bool(((total / (n * draws) - p).abs() <= 5 * error).all())
    assert float(total[0]) == 0
    assert float(total[255]) == n * draws
    assert data.space.measure == "binary pixels"


def test_binarisation_belongs_to_its_rng_and_row():
    data, index = images.dynamic_binarisation(images.stored(grey())), torch.arange(100, 140)
    whole = data.batch(index, Rng(1)).x
    assert torch.equal(whole, data.batch(index, Rng(1)).x)
    assert not torch.equal(whole, data.batch(index, Rng(2)).x)
    assert torch.equal(whole[20:], data.batch(index[20:], Rng(1).rows(20)).x)


def test_fixed_and_threshold_binarisation_do_not_flicker():
    data = images.stored(grey())
    fixed = images.fixed_binarisation(data, rng=4)
    assert torch.equal(fixed.batch(torch.arange(256), Rng(1)).x, fixed.batch(torch.arange(256), Rng(2)).x)
    assert abs(float(fixed.x.float().mean()) - 0.5) < 5 * math.sqrt(1 / 6 / (256 * 16))  # E[p (1 - p)] = 1/6
    half = images.threshold_binarisation(data)
    assert torch.equal(half.x[:, 0, 0, 0], (torch.arange(256) >= 128).to(torch.uint8))
    assert len({data.fingerprint, fixed.fingerprint, half.fingerprint}) == 3
    with pytest.raises(ValueError, match="needs 256 grey levels; got 2"):
        images.threshold_binarisation(half)


def test_memory_is_one_byte_a_pixel_and_writable():
    frozen = grey()
    frozen.flags.writeable = False
    data = images.stored(frozen)
    assert data.x.dtype == torch.uint8
    data.x[0] = 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: images.stored(np.zeros((0, 1, 2, 2), np.uint8)), "no pictures"),
        (lambda: images.stored(np.zeros((2, 1, 2, 2))), "must be uint8"),
        (lambda: images.stored(np.full((1, 1, 2, 2), 17, np.uint8), levels=17), "grey level 17; expected 0 .. 16"),
        (lambda: images.stored(grey(), np.zeros(3, int), classes=["a"]), "3 labels for 256 pictures"),
        (lambda: images.stored(grey(), np.full(256, 2), classes=["a", "b"]), "labels from 2 to 2; expected 0 .. 1"),
        (lambda: images.stored(grey(), np.zeros(256), classes=["a"]), "expected whole numbers"),
        (lambda: images.to_uint8(torch.full((1, 1, 2, 2), torch.nan), images.space(1, 2, 2)), "finite"),
        (lambda: images.to_uint8(torch.zeros(1, 1, 2, 3), images.space(1, 2, 2)), "expected pictures of shape"),
    ],
)
def test_refusals(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_binary_pictures_are_centred_and_scaled_for_networks():
    grey = images.stored(np.full((4, 5, 4, 1), 51, np.uint8).transpose(0, 3, 1, 2))  # white with probability 0.2
    field = images.dynamic_binarisation(grey).space.only
    assert (field.centre, field.scale) == pytest.approx((-0.6, 0.8))
    drawn = torch.tensor([-1.0] * 4 + [1.0])
    standard = (drawn - field.centre) / field.scale
    assert float(standard.mean()) == pytest.approx(0, abs=1e-6)
    assert float(standard.square().mean()) == pytest.approx(1, abs=1e-6)
