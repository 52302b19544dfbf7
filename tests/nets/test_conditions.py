"""What networks are told of y: that it is all there, that nothing means nothing, and that padding is not seen."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.nets.conditions import Condition, Told, condition, in_parts, steered
from simulacra.nets.initialise import initialise
from simulacra.nets.text_encoder import Convolved

TEXT = Convolved(width=16, depth=2, heads=4)
PICTURE = (3, 8, 6)
INFINITE = math.inf
COLOUR = Space(fields={"colour": Continuous(low=0, high=10, shape=(3, 8, 6), centre=5, scale=2)})
COARSE = Space(fields={"coarse": Continuous(low=-1, high=1, shape=(1, 2, 3))})
TILES = Space(fields={"tiles": Categorical(k=3, shape=(1, 8, 6))})
WORDS = Space(fields={"word": Categorical(k=256, shape=(12,), varying=True)})
PATH = Space(fields={"path": Continuous(low=-INFINITE, high=INFINITE, shape=(5, 2), varying=True)})
ROW = Space(fields={"a": Continuous(low=-INFINITE, high=INFINITE, shape=(2,)), "b": Categorical(k=3)})


def made(space: Any, event: tuple[int, ...] = PICTURE) -> Condition:
    found = condition(space, event, TEXT)
    initialise(found, Rng(3))
    return found


def words(*texts: str) -> Tensor:
    return torch.tensor([list(text.encode().ljust(12, b"\0")) for text in texts])


@pytest.mark.parametrize(
    ("space", "y", "beside", "given"),
    [
        (None, None, 0, 0),
        (Classes(names=("a", "b")), torch.tensor([1, 0]), 0, 2),
        (COLOUR, torch.full((2, 3, 8, 6), 7.0), 4, 0),
        (COARSE, torch.zeros(2, 1, 2, 3), 2, 0),
        (TILES, torch.zeros(2, 1, 8, 6, dtype=torch.int64), 4, 0),
        (WORDS, words("a cat", "dog"), 0, 16),
        (PATH, torch.ones(2, 5, 2), 0, 16),
        (ROW, {"a": torch.zeros(2, 2), "b": torch.tensor([0, 2])}, 0, 6),
    ],
    ids=["nothing", "classes", "picture", "coarse picture", "tiles", "words", "path", "row"],
)
def test_whatever_y_is_the_network_is_told_as_much_as_it_was_built_for(space: Any, y: Any, beside: int, given: int):
    c = made(space)
    assert (c.beside, c.given) == (beside, given)
    told, nothing = c(y), c.nothing(2)
    assert (told.beside is None, told.given is None) == (beside == 0, given == 0)
    if beside:
        assert told.beside.shape == nothing.beside.shape == (2, beside, 8, 6)
        assert bool((told.beside[:, -1] == 1).all()), "a picture is there"
    if given:
        assert told.given.shape == nothing.given.shape == (2, given)
        assert float(told.given.detach().square().sum(1).max()) <= 1 + 1e-5
    for zero in (*nothing, *told.untold(), *told.left_out(1.0, Rng(0))):
        assert zero is None or not zero.any()
    same = told.left_out(0.0, Rng(0))
    assert same is told


def test_a_picture_keeps_its_values_in_standard_units_and_its_place():
    y = 10 * torch.rand(1, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made(COLOUR)(y).beside[:, :3], (y - 5) / 2)
    # coarse pictures are enlarged: a mean that is kept, the left of them to the left
    coarse = torch.tensor([[[[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]]])
    large = made(COARSE)(coarse).beside[0, 0]
    assert large.shape == (8, 6)
    torch.testing.assert_close(large.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert bool((large.diff(dim=1) >= 0).all())
    # for an x that is no picture it is a row of numbers
    assert made(COARSE, (4,)).given == 7


def test_text_is_read_up_to_its_end_and_no_further():
    c = made(WORDS)
    y = words("red heart", "red", "")
    whole = c(y).given.detach()
    torch.testing.assert_close(c(y, torch.tensor([9, 3, 0])).given, whole)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(3))
    # what lies beyond the length is not looked at
    noisy = y.clone()
    noisy[1, 3:], noisy[2] = 77, 78
    torch.testing.assert_close(c(noisy, torch.tensor([9, 3, 0])).given, whole)
    # nor how far it might have gone
    roomy = made(Space(fields={"word": Categorical(k=256, shape=(20,), varying=True)}))
    torch.testing.assert_close(roomy(torch.nn.functional.pad(y, (0, 8))).given.detach(), whole)
    # one row does not see another, and words are told apart
    torch.testing.assert_close(c(y[1:]).given, whole[1:])
    assert float((whole[0] - whole[1]).norm()) > 1e-3
    assert float((c(words("heart red")).given.detach() - whole[:1]).norm()) > 1e-3, "their order counts"


def test_the_share_left_out_is_as_asked_and_by_row():
    told = Told(torch.ones(4000, 2, 1, 1), torch.ones(4000, 3))
    left = told.left_out(0.25, Rng(5))
    gone = left.given[:, 0] == 0
    assert abs(float(gone.double().mean()) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)
    assert bool(((left.given == 0) == gone[:, None]).all())
    assert bool(((left.beside == 0) == gone[:, None, None, None]).all())
    torch.testing.assert_close(Told(None, torch.ones(10, 1)).left_out(0.25, Rng(5).rows(7)).given, left.given[7:17, :1])


def test_equal_conditions_are_alike():
    assert made(None).alike(None) is None
    assert made(WORDS).alike(words("a", "b", "a")).tolist() == [0, 1, 0]
    assert made(ROW).alike({"a": torch.zeros(2, 2), "b": torch.tensor([0, 2])}).unique().numel() == 2


def test_steering_pushes_from_what_is_answered_when_told_nothing():
    def look(x: Tensor, s: Tensor, told: Told) -> Tensor:
        return x + told.given.sum(1, keepdim=True)

    x, s, told = torch.zeros(2, 1), torch.tensor([1.0, 10.0]), Told(None, torch.tensor([[1.0], [2.0]]))
    for weight, expected in ((1.0, [1.0, 2.0]), (0.0, [0.0, 0.0]), (3.0, [3.0, 6.0])):
        assert steered(look, told, weight)(x, s)[:, 0].tolist() == expected
    assert steered(look, told, 3.0, (5.0, INFINITE))(x, s)[:, 0].tolist() == [1.0, 6.0]


def test_draws_in_parts_are_the_rows_of_one():
    y, whole = torch.arange(7), Rng(1)("z").normal((7, 2))
    seen = [(n, part, some("z").normal((n, 2))) for n, part, _, some in in_parts(7, 3, y, None, Rng(1), y.device)]
    assert [n for n, _, _ in seen] == [3, 3, 1]
    assert torch.equal(torch.cat([part for _, part, _ in seen]), y)
    assert torch.equal(torch.cat([z for _, _, z in seen]), whole)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: made(WORDS)(None), r"conditional on word \(12\); give y="),
        (lambda: made(COLOUR)(torch.zeros(2, 1, 8, 6)), r"shape \(b, 3, 8, 6\); got \(2, 1, 8, 6\)"),
        (lambda: made(ROW)({"a": torch.zeros(2, 2)}), "y must hold b of shape .*; got none"),
        (lambda: made(None)(torch.zeros(2, dtype=torch.int64)), "leave y out"),
        (lambda: list(in_parts(3, 2, torch.zeros(2), None, Rng(0), torch.device("cpu"))), "each of 3 examples; got 2"),
        (lambda: Convolved(width=10, heads=4), "heads must divide width; got 4 and 10"),
        (lambda: made(None).check_guidance(2.0, 0.1), "guidance needs a condition"),
        (lambda: made(COLOUR).check_guidance(2.0, 0.0), "unlabelled > 0 in training; got guidance 2"),
    ],
)
def test_mistakes(make: Any, told: str):
    with pytest.raises(ValueError, match=told):
        make()


def test_captions_are_told_apart_before_anything_is_learnt():
    texts = ["red heart", "blue heart", "a cat", "thumbs up", "green tea", "old map", "snowman", "taxi"]
    vectors = made(WORDS)(words(*texts)).given.detach()
    own = (vectors - vectors.mean(0)).square().sum(1).mean()  # of norm 1, so this is their own share of the square
    assert float(own) > 0.4
