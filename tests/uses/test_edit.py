"""Editing: in a linear world a direction is the difference of the means, and strength 1 carries one to the other."""

from __future__ import annotations

import math

import pytest
import torch
from test_uses import Coding, Decoding

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.uses.edit import codes, direction, edit


def labelled(model: Coding, n: int = 60) -> Stored:
    y = torch.arange(n) % 3
    z = Rng(0)("z").normal((n, 2), dtype=torch.float64) + y[:, None]
    space = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(6,))}, y=Classes(names=("a", "b", "c")))
    return Stored(space=space, x=model.decode(z), y=y)


def test_strength_one_carries_the_mean_without_to_the_mean_with():
    model = Coding()
    data = labelled(model)
    z, y = codes(model, data)
    towards = direction(z, y == 2)
    without, with_ = (model.decode(z[part].mean(0, keepdim=True)) for part in (y != 2, y == 2))
    strip = edit(model, without, towards, strengths=(0.0, 0.5, 1.0))
    assert strip.shape == (1, 3, 6)
    torch.testing.assert_close(strip[:, 0], without)
    torch.testing.assert_close(strip[:, 1], (without + with_) / 2)
    torch.testing.assert_close(strip[:, 2], with_)


def test_codes_of_fewer_are_some_of_those_of_all():
    model = Coding()
    z, y = codes(model, labelled(model), n=10)
    whole, labels = codes(model, labelled(model))
    assert len(z) == len(y) == 10
    near = torch.cdist(z, whole).argmin(1)
    torch.testing.assert_close(whole[near], z)
    assert torch.equal(labels[near], y)


def test_what_gives_no_direction_is_refused():
    model = Coding()
    z = torch.zeros(4, 2)
    for has in (torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)):
        with pytest.raises(ValueError, match="with and without"):
            direction(z, has)
    with pytest.raises(ValueError, match=r"bool \(4,\)"):
        direction(z, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="edit needs a Codec"):
        edit(Decoding(), torch.zeros(1, 6), torch.zeros(2))
    with pytest.raises(ValueError, match=r"shape \(2,\) of a code"):
        edit(model, torch.zeros(1, 6, dtype=torch.float64), torch.zeros(3))
    with pytest.raises(ValueError, match="shape"):
        edit(model, torch.zeros(1, 5, dtype=torch.float64), torch.zeros(2))
    bare = Stored(space=model.space, x=torch.zeros(4, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match="no labels"):
        codes(model, bare)
