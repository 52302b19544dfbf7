"""Stacks are three pictures of known classes, and their modes are counted as they are."""

import math

import numpy as np
import pytest
import torch

from simulacra.core.batch import Data, Factored
from simulacra.core.randomness import Rng
from simulacra.modalities.images import stored
from simulacra.modalities.modes import counted_modes, reverse_kl
from simulacra.modalities.stacked import Stacked, mode_of


def plain(n: int = 40, kinds: int = 4):
    """Grey pictures whose level is ten times their class."""
    labels = np.arange(n) % kinds
    pictures = np.broadcast_to((10 * labels).astype(np.uint8)[:, None, None, None], (n, 1, 3, 2)).copy()
    return stored(pictures, labels, classes=[str(k) for k in range(kinds)])


def test_colours_are_the_pictures_of_their_classes():
    world = Stacked(plain(), count=50)
    assert isinstance(world, Data)
    assert isinstance(world, Factored)
    index = torch.tensor([3, 49, 0, 3])
    x, digits = world.batch(index, Rng(0)).x, world.factors(index)
    assert x.shape == (4, 3, 3, 2)
    assert torch.equal(world.space.only.index(x)[:, :, 0, 0], 10 * digits)
    assert torch.equal(x[0], x[3])
    assert [f.values for f in world.named_factors] == [4, 4, 4]


def test_a_number_is_always_the_same_picture_and_colours_are_independent():
    few, many = Stacked(plain(), count=10), Stacked(plain(), count=20_000)
    assert torch.equal(few.which, many.which[:10])
    assert not torch.equal(few.which, Stacked(plain(), count=10, seed=1).which)
    digits = many.factors(torch.arange(20_000))
    count = torch.bincount(mode_of(digits, 4), minlength=64).double()
    chi = float((count - 20_000 / 64).square().sum() / (20_000 / 64))
    assert abs(chi - 63) < 5 * math.sqrt(2 * 63)


def test_weights_are_the_shares_of_the_modes():
    labels = np.array([0, 0, 0, 1])
    world = Stacked(stored(np.zeros((4, 1, 2, 2), np.uint8), labels, classes=["a", "b"]), count=5)
    assert world.weights().tolist() == pytest.approx([27 / 64, 9 / 64, 9 / 64, 3 / 64, 9 / 64, 3 / 64, 3 / 64, 1 / 64])


def test_kept_is_the_same_pictures():
    world = Stacked(plain(), count=30)
    index = torch.arange(30)
    assert torch.equal(world.kept().batch(index, Rng(0)).x, world.batch(index, Rng(0)).x)


def test_the_red_digit_is_the_hundreds():
    assert mode_of(torch.tensor([[3, 0, 7], [9, 9, 9]])).tolist() == [307, 999]


def test_counted():
    weights = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    found = counted_modes(torch.tensor([0, 0, 2, 2]), weights)
    assert (found.modes, found.k, found.n) == (2, 3, 4)
    assert found.reverse_kl == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(1))
    assert reverse_kl(torch.zeros(3), weights) == math.inf


def test_the_truth_differs_by_chance_alone():
    weights = torch.full((1000,), 1e-3, dtype=torch.float64)
    n = 26_000
    found = counted_modes(Rng(0).integers(1000, (n,)), weights)
    # 2 n KL is asymptotically chi^2 with 999 degrees of freedom
    assert found.modes == 1000
    assert abs(2 * n * found.reverse_kl - 999) < 5 * math.sqrt(2 * 999)


@pytest.mark.parametrize("bad", [torch.tensor([], dtype=torch.int64), torch.tensor([3]), torch.tensor([-1])])
def test_modes_that_there_are_not(bad):
    with pytest.raises(ValueError, match=r"modes are numbers 0 .. 2"):
        counted_modes(bad, torch.ones(3) / 3)


def test_stacks_are_made_of_grey_pictures_with_labels():
    with pytest.raises(ValueError, match="grey pictures with labels"):
        Stacked(stored(np.zeros((4, 1, 2, 2), np.uint8)))
    with pytest.raises(ValueError, match="grey pictures with labels"):
        Stacked(stored(np.zeros((4, 3, 2, 2), np.uint8), np.zeros(4, int), classes=["a"]))
    with pytest.raises(ValueError, match="at least 1 stack"):
        Stacked(plain(), count=0)
