"""Examples as whole numbers and back."""

import math

import pytest
import torch

from simulacra.core.indices import choices, from_indices, to_indices
from simulacra.core.space import Categorical, Continuous, Space

MIXED = Space(
    fields={
        "mark": Continuous(low=1, high=5, levels=9),
        "job": Categorical(k=4),
        "bits": Continuous(low=-1, high=1, levels=2, shape=(2, 3)),
    }
)


def test_every_example_is_numbered_and_comes_back():
    x = {
        "mark": torch.tensor([1.0, 3.5]),
        "job": torch.tensor([3, 0]),
        "bits": torch.tensor([[[-1.0, 1, 1], [1, -1, -1]]]).expand(2, 2, 3),
    }
    index = to_indices(MIXED, x)
    assert index.tolist() == [[0, 3, 0, 1, 1, 1, 0, 0], [5, 0, 0, 1, 1, 1, 0, 0]]
    back = from_indices(MIXED, index)
    assert all(torch.equal(back[name], x[name]) for name in x)


def test_a_picture_of_all_levels_comes_back():
    space = Space(fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(1, 16, 16))})
    index = torch.arange(256)[None]
    assert torch.equal(to_indices(space, from_indices(space, index)), index)


@pytest.mark.parametrize("value", [0.9, 5.5, 1.2, math.nan])
def test_a_value_off_its_levels_is_refused(value):
    space = Space(fields={"mark": Continuous(low=1, high=5, levels=9)})
    with pytest.raises(ValueError, match="mark must lie on its 9 levels"):
        to_indices(space, torch.tensor([1.0, value]))


@pytest.mark.parametrize("value", [-1, 4])
def test_a_category_that_does_not_exist_is_refused(value):
    with pytest.raises(ValueError, match=r"job must lie in 0 \.\. 3"):
        to_indices(Space(fields={"job": Categorical(k=4)}), torch.tensor([0, value]))


def test_real_numbers_cannot_be_counted():
    with pytest.raises(ValueError, match="no countable values"):
        choices(Continuous(low=0, high=1))
