"""Path lengths of linear decoders, which have closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.evaluation.extractors import points
from simulacra.evaluation.path_length import path_length, path_lengths, walkable
from simulacra.mathematics.walks import linear, spherical


class Linear:
    """x = A z, or (1 + y) A z where there are classes."""

    def __init__(self, matrix: torch.Tensor, classes: int = 0) -> None:
        d, k = matrix.shape
        self.matrix = matrix
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(k,))})
        names = Classes(names=tuple(map(str, range(classes)))) if classes else None
        self.space = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(d,))}, y=names)

    def decode(self, z, *, y=None):
        x = z @ self.matrix.T
        return x if y is None else x * (1 + y)[:, None]


MATRIX = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.5]])


def test_straight_ways():
    """E |A (b - a)|^2 = 2 |A|^2."""
    each = path_lengths(Linear(MATRIX), points, 4000, rng=0, walk=linear, epsilon=0.1)
    truth = 2 * float(MATRIX.square().sum())
    assert abs(float(each.mean()) - truth) < 4 * float(each.std()) / 4000**0.5


def test_great_circles():
    """On a circle of angle w the speed is w times the length: of the identity in two dimensions between equally long
    codes, w^2 |z|^2, which is found at any place of the way."""
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    t = torch.tensor([0.2, 0.201])
    z = spherical(a, b, t)[0]
    assert float((z[1] - z[0]).norm() / 0.001) == pytest.approx(math.pi / 2, rel=1e-3)
    each = path_lengths(Linear(torch.eye(512)), points, 200, rng=1)
    # in many dimensions codes are 512^(1/2) long and a right angle apart
    assert float(each.mean()) == pytest.approx((math.pi / 2) ** 2 * 512, rel=0.03)


def test_each_way_has_its_class():
    plain = path_lengths(Linear(MATRIX), points, 6, rng=2)
    classes = path_lengths(Linear(MATRIX, classes=3), points, 6, rng=2)
    torch.testing.assert_close(classes, plain * torch.tensor([1.0, 4.0, 9.0] * 2).double(), rtol=0.02, atol=0)


def test_a_figure_with_its_interval():
    figure = path_length(Linear(MATRIX), points, n=600, rng=Rng(5))
    assert figure.interval[0] < figure.value < figure.interval[1]
    assert (figure.extractor, figure.seed, figure.n) == ("points", 5, 600)
    assert path_length(Linear(MATRIX), points, n=100).interval is None


def test_what_can_be_walked():
    model = Linear(MATRIX)
    assert walkable(model)
    model.latent = Space(fields={"z": Categorical(k=5, shape=(3,))})
    assert not walkable(model)
    assert not walkable(object())
    with pytest.raises(ValueError, match="path length"):
        path_lengths(object(), points, 5, rng=0)
