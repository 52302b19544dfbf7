"""A space survives being written down, says how a network sees it, and refuses what it cannot be."""

from __future__ import annotations

import math

import pytest

from simulacra.core.space import Categorical, Classes, Continuous, Space

PICTURE = Space(
    fields={"picture": Continuous(low=-1.0, high=1.0, levels=256, shape=(3, 8, 6))},
    y=Classes(names=("cat", "dog")),
    measure="8-bit pixels",
)
TOKENS = Space(fields={"tokens": Categorical(k=11, shape=(7,), varying=True)}, measure="tokens")
POINT = Space(fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,), scale=3.0)}, measure="plane")
ROW = Space(
    fields={
        "age": Continuous(low=0.0, high=math.inf, centre=40.0, scale=12.0),
        "rooms": Continuous(low=0.0, high=9.0, levels=10, centre=3.0, scale=2.0),
        "colour": Categorical(k=3, names=("red", "green", "blue")),
    },
    y=TOKENS,
    measure="columns",
    missing=("age", "colour"),
)


@pytest.mark.parametrize("space", [PICTURE, TOKENS, POINT, ROW])
def test_json_round_trip(space: Space):
    assert Space.from_json(space.to_json()) == space


@pytest.mark.parametrize(
    ("space", "layout", "size"),
    [(PICTURE, "grid", 144), (TOKENS, "sequence", 7), (POINT, "vector", 2), (ROW, "vector", 3)],
)
def test_layout_and_size(space: Space, layout: str, size: int):
    assert (space.layout, space.size) == (layout, size)


def test_value_and_index_are_inverse():
    f = Continuous(low=-1.0, high=1.0, levels=256)
    import torch

    index = torch.arange(256, dtype=torch.float64)
    assert torch.equal(f.index(f.value(index)), index)
    assert float(f.value(index)[0]) == -1
    assert abs(float(f.value(index)[-1]) - 1) < 1e-15


@pytest.mark.parametrize(
    "make",
    [
        lambda: Continuous(low=1.0, high=1.0),
        lambda: Continuous(low=0.0, high=math.inf, levels=4),
        lambda: Continuous(low=0.0, high=1.0, levels=1),
        lambda: Continuous(low=0.0, high=1.0, scale=0.0),
        lambda: Categorical(k=0),
        lambda: Categorical(k=2, names=("one",)),
        lambda: Categorical(k=2, varying=True),
        lambda: Categorical(k=2, shape=(0,)),
        lambda: Classes(names=()),
        lambda: Space(fields={}),
        lambda: Space(fields={"a": Categorical(k=2)}, missing=("b",)),
        lambda: Space.from_json({"fields": {"a": {"kind": "odd", "shape": [], "varying": False}}}),
        lambda: Space.from_json({}),
        lambda: ROW.only,
        lambda: TOKENS.classes,
        lambda: PICTURE.classes.index("cow"),
        lambda: PICTURE.classes.index(2),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make):
    with pytest.raises(ValueError, match=r"\w") as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_class_is_found_by_name_or_number():
    assert [PICTURE.classes.index(n) for n in ("cat", "dog", 0, "1")] == [0, 1, 0, 1]
