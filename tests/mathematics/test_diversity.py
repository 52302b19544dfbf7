"""Vendi score and distances within and between classes: closed forms and brute force."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.diversity import class_spreads, cross_spread, effective_number, pair_spread, vendi_score


def test_vendi_score_counts_what_differs():
    """n orthogonal rows count n, n copies one, two groups of shares p and 1 - p the exponential of their entropy."""
    assert vendi_score(3 * torch.eye(7)) == pytest.approx(7)
    assert vendi_score(torch.ones(9, 4)) == pytest.approx(1)
    groups = torch.eye(5)[torch.tensor([0] * 3 + [2] * 9)] * 2.5
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert vendi_score(groups) == pytest.approx(math.exp(entropy))


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, math.inf])
@pytest.mark.parametrize(("n", "d"), [(12, 4), (4, 12)])
def test_either_gram_matrix_gives_the_same(n, d, order):
    x = Rng(0)("x").normal((n, d), dtype=torch.float64)
    unit = torch.nn.functional.normalize(x, dim=1)
    values = torch.linalg.eigvalsh(unit @ unit.T / n).clamp(min=0)
    expected = effective_number(values / values.sum(), order=order)
    assert vendi_score(x, order=order) == pytest.approx(expected, rel=1e-6)


def test_orders_of_the_effective_number():
    """Shares 1/2, 1/4, 1/4: three of them, 2^1.5 by entropy, 8/3 by squares, 2 by the largest."""
    p = torch.tensor([0.5, 0.25, 0.25])
    found = [effective_number(p, order=q) for q in (0, 1, 2, math.inf)]
    assert found == pytest.approx([3, 2**1.5, 8 / 3, 2])
    with pytest.raises(ValueError, match="at least 0; got -1"):
        effective_number(p, order=-1)


def test_rows_without_direction_are_refused():
    with pytest.raises(ValueError, match="2 of 3 are"):
        vendi_score(torch.tensor([[1.0, 0], [0, 0], [0, 0]]))


def test_spreads_are_means_over_pairs(monkeypatch):
    x, y = Rng(0)("x").normal((9, 3), dtype=torch.float64), Rng(0)("y").normal((5, 3), dtype=torch.float64)
    expected = sum(float((a - b).norm()) for a, b in itertools.combinations(x, 2)) / 36
    monkeypatch.setattr("simulacra.mathematics.diversity.CELLS", 12)
    assert pair_spread(x).value == pytest.approx(expected, rel=1e-12)
    both = sum(float((a - b).norm()) for a, b in itertools.product(x, y)) / 45
    assert cross_spread(x, y) == pytest.approx(both, rel=1e-12)


def test_the_error_of_a_spread_is_that_of_repetition():
    found = [pair_spread(Rng(s)("x").normal((60, 4), dtype=torch.float64)) for s in range(200)]
    values, errors = torch.tensor([f.value for f in found]), torch.tensor([f.error for f in found])
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.2)
    # |x - y| of N(0, I) in 4 dimensions is sqrt 2 times a chi of 4: 2 Gamma(5/2) / Gamma(2)
    truth = 2 * math.gamma(2.5)
    assert abs(float(values.mean()) - truth) < 4 * float(values.std()) / math.sqrt(200)


def test_classes_that_lie_apart():
    """Three points on a line a class: 4/3 within; the classes 10 apart, which moves nothing else."""
    line = torch.tensor([[0.0], [1.0], [2.0]])
    x, y = torch.cat([line, line + 10, torch.zeros(2, 1)]), torch.tensor([0, 0, 0, 4, 4, 4, 7, 7])
    within, between = class_spreads(x, y)
    assert (within, between) == pytest.approx((4 / 3, 10))
    assert math.isnan(class_spreads(line, torch.zeros(3).long())[1])
    with pytest.raises(ValueError, match="the 2 rows have none"):
        class_spreads(line[:2], torch.zeros(2).long())


def test_copies_lie_at_no_distance_however_far_from_the_origin():
    x = torch.full((5, 3), 0.1, dtype=torch.float64)
    assert pair_spread(x).value == 0
    far = Rng(0)("x").normal((6, 3), dtype=torch.float64)
    assert pair_spread(far + 1e6).value == pytest.approx(pair_spread(far).value, rel=1e-8)
    twice = torch.cat([far, far])
    assert pair_spread(twice).value == pytest.approx(pair_spread(far).value * 2 * 12 * 5 * 6 / (6 * 12 * 11), rel=1e-12)
