"""Moments merged from parts are those of the whole."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.frechet import frechet_distance
from simulacra.mathematics.moments import Moments, frechet_between


def rows(n: int, d: int = 5, seed: int = 0) -> torch.Tensor:
    return Rng(seed)("x").normal((n, d), dtype=torch.float64) * torch.linspace(1, 2, d, dtype=torch.float64) + 7


def merged(x: torch.Tensor, cuts: list[int]) -> Moments:
    parts = [Moments.of(p) for p in x.tensor_split(cuts)]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.merge(part)
    return whole


@pytest.mark.parametrize("cuts", [[], [1], [30, 31], [0, 50], list(range(1, 90))])
def test_any_division_gives_the_whole(cuts):
    x = rows(90)
    found = merged(x, cuts)
    assert found.count == 90
    torch.testing.assert_close(found.mean, x.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(found.covariance, x.T.cov().tril(), rtol=0, atol=1e-13)


def test_far_from_the_origin_no_digits_are_lost():
    x = rows(200)
    far = merged(x + 1e7, [50, 100, 150])
    torch.testing.assert_close(far.covariance, x.T.cov().tril(), rtol=0, atol=1e-7)


def test_distance_of_moments_is_that_of_the_rows():
    x, y = rows(90), rows(70, seed=1) * 1.2
    assert frechet_between(merged(x, [20]), merged(y, [5, 9])) == pytest.approx(frechet_distance(x, y), rel=1e-10)


def test_what_cannot_be_merged_is_said():
    with pytest.raises(ValueError, match="of 5 and of 4 features cannot be merged"):
        Moments.of(rows(9)).merge(Moments.of(rows(9, 4)))
    with pytest.raises(ValueError, match="at least 2 examples; got 1"):
        _ = Moments.of(rows(1)).covariance
