"""Which family a bare name stands for, by the data."""

from __future__ import annotations

import math

import pytest

from simulacra.core.space import Continuous, Space
from simulacra.recipes.families import FAMILIES


@pytest.mark.parametrize(("shape", "other"), [((3, 8, 9), "r3gan"), ((1, 7, 9), None), ((2,), None), ((5, 8), None)])
def test_a_gan_of_pictures_large_enough_is_an_r3gan(shape, other):
    space = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=shape)}, measure="numbers")
    assert FAMILIES["gan"].rather(space) == other
    if other is not None:  # and that one takes them
        FAMILIES[other].build(FAMILIES[other].config(width=4, widest=4), space)
    assert all(family.rather(space) is None for name, family in FAMILIES.items() if name != "gan")
