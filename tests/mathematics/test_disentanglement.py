"""Measures of disentanglement against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics import disentanglement as m

F64 = torch.float64


def grid(*values: int) -> torch.Tensor:
    """Every combination of factors with so many values, once."""
    return torch.cartesian_prod(*[torch.arange(v) for v in values])


def test_bins_are_of_equal_width():
    z = torch.tensor([[0.0, 5.0], [1.0, 5.0], [2.49, 5.0], [2.51, 5.0], [10.0, 5.0]], dtype=F64)
    assert m.discretised(z, 4).tolist() == [[0, 0], [0, 0], [0, 0], [1, 0], [3, 0]]


def test_information_of_a_function_is_its_entropy_and_of_the_unrelated_nothing():
    v = grid(3, 4, 5)
    assert torch.allclose(m.entropies(v), torch.tensor([3.0, 4.0, 5.0], dtype=F64).log())
    both = torch.stack([v[:, 0], v[:, 1] // 2, v[:, 0] * 4 + v[:, 1]], 1)
    expected = torch.tensor([[math.log(3), 0, 0], [0, math.log(2), 0], [math.log(3), math.log(4), 0]], dtype=F64)
    assert torch.allclose(m.mutual_information(both, v), expected, atol=1e-12)


def test_the_gap_is_that_of_the_two_best_dimensions():
    v = grid(3, 4)
    entropy = m.entropies(v)
    perfect = m.mutual_information(v, v)
    assert m.information_gap(perfect, entropy) == pytest.approx(1)
    twice = m.mutual_information(torch.cat([v, v], 1), v)
    assert m.information_gap(twice, entropy) == pytest.approx(0)
    # half of a factor of four values is told by a second dimension
    half = m.mutual_information(torch.cat([v, v[:, 1:] // 2], 1), v)
    assert m.information_gap(half, entropy) == pytest.approx((1 + 0.5) / 2)


def test_modularity_of_dimensions_that_tell_of_one_or_of_all():
    assert m.modularity(torch.tensor([[2.0, 0, 0], [0, 0, 1.0]], dtype=F64)) == pytest.approx(1)
    assert m.modularity(torch.ones(4, 3, dtype=F64)) == pytest.approx(0)
    # 1 - (1/2)^2 / 2 = 7/8, and a dimension that tells nothing does not count
    assert m.modularity(torch.tensor([[2.0, 1.0, 0], [0, 0, 0]], dtype=F64)) == pytest.approx(7 / 8)
    assert m.modularity(torch.zeros(4, 3, dtype=F64)) == 0


def test_shares_of_importance():
    assert m.share_out(torch.eye(3, dtype=F64)) == pytest.approx((1, 1))
    assert m.share_out(torch.ones(3, 3, dtype=F64)) == pytest.approx((0, 0))
    # two dimensions for one factor: each is of one factor, but the factor is in two places
    split = torch.tensor([[0.5, 0], [0.5, 0], [0, 1.0], [0, 0]], dtype=F64)
    assert m.share_out(split) == pytest.approx((1, (1 - math.log(2) / math.log(4) + 1) / 2))
    assert m.share_out(torch.zeros(3, 3, dtype=F64)) == (0, 0)


def test_separability_is_squared_correlation_or_accuracy_above_chance():
    v = grid(4, 3)
    z = torch.stack([-2.0 * v[:, 0] + 5, v[:, 1].double().square(), torch.full((12,), 7.0)], 1).double()
    table = m.separability(z, v, [True, False])
    assert torch.allclose(table[:, 0], torch.tensor([1.0, 0.0, 0.0], dtype=F64), atol=1e-12)
    assert torch.allclose(table[:, 1], torch.tensor([0.0, 1.0, 0.0], dtype=F64))
    # means 2, 1 and 5: the first value is told wrong throughout, so 2/3 is right, half way from chance to certainty
    skew = torch.tensor([[0.0], [1.0], [5.0], [4.0], [1.0], [5.0]], dtype=F64)
    assert float(m.separability(skew, torch.tensor([[0], [1], [2]] * 2), [False])[0, 0]) == pytest.approx(0.5)
    # of a regression on v + w with w of the same spread: half
    pair = grid(5, 5)
    assert float(m.separability(pair.sum(1, keepdim=True), pair, [True, True])[0, 0]) == pytest.approx(0.5)


def test_groups_agree_in_their_factor_and_in_nothing_else():
    v = grid(3, 4, 5)[Rng(0)("rows").integers(60, (4000,))]
    factor, anchor = Rng(1)("f").integers(3, (50,)), Rng(1)("a").integers(4000, (50,))
    rows = m.alike(v, factor, anchor, 200, Rng(2))
    for group, f, a in zip(rows, factor, anchor, strict=True):
        assert bool((v[group, f] == v[a, f]).all())
        other = (f + 1) % 3
        share = v[group, other].bincount(minlength=int(other) + 3).double() / 200
        assert bool(((share - 1 / (int(other) + 3)).abs() < 5 * math.sqrt(0.25 / 200)).all())
    assert len(rows.unique()) > 2500


def test_the_steadiest_dimension_is_relative_and_alive():
    z = Rng(0)("z").normal((300, 3), dtype=F64) * torch.tensor([10.0, 1.0, 0.01], dtype=F64)
    rows = torch.stack([z[:, j].abs().argsort()[:50] for j in (0, 1, 2)])  # one dimension near 0 in each
    assert m.steadiest(z, rows, torch.tensor([True, True, True])).tolist() == [0, 1, 2]
    assert m.steadiest(z, rows, torch.tensor([True, True, False])).tolist()[:2] == [0, 1]


def test_majority_learns_from_the_first_votes():
    votes, factor = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([2, 2, 0, 1, 1])
    fresh, truth = torch.tensor([0, 1, 1, 0]), torch.tensor([2, 1, 0, 0])
    assert m.majority_accuracy(votes, factor, fresh, truth, d=2, k=3) == 0.5
