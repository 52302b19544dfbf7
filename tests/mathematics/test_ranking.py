"""Areas under the curve: counted pairs, and an error that is that of repetition."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.ranking import auc


def test_it_is_the_share_of_pairs_in_order_ties_counted_half():
    low, high = Rng(0)("low").integers(5, (37,)), Rng(0)("high").integers(7, (23,))
    pairs = (high[:, None] > low).double() + 0.5 * (high[:, None] == low)
    assert auc(low, high)[0] == pytest.approx(float(pairs.mean()), abs=1e-12)
    assert auc(high, low)[0] == pytest.approx(1 - float(pairs.mean()), abs=1e-12)
    assert auc(high, low)[1] == pytest.approx(auc(low, high)[1], abs=1e-12)


def test_the_ends():
    low, high = torch.arange(5.0), torch.arange(5.0) + 10
    assert auc(low, high) == (1.0, 0.0)
    assert auc(high, low) == (0.0, 0.0)
    assert auc(low, low)[0] == 0.5


def test_two_normals_have_the_area_in_closed_form_and_the_error_of_repetition():
    shift, repeats = 0.7, 200
    exact = 0.5 * (1 + math.erf(shift / 2))  # P(N(shift, 1) > N(0, 1)) = Phi(shift / sqrt 2)
    found = [
        auc(Rng(i)("low").normal((80,), dtype=torch.float64), shift + Rng(i)("high").normal((60,), dtype=torch.float64))
        for i in range(repeats)
    ]
    values, errors = torch.tensor(found, dtype=torch.float64).T
    spread = float(values.std())
    assert abs(float(values.mean()) - exact) < 4 * spread / math.sqrt(repeats)
    assert float(errors.mean()) == pytest.approx(spread, rel=4 / math.sqrt(2 * repeats))


def test_one_value_is_no_ranking():
    with pytest.raises(ValueError, match="at least 2 values on each side; got 1 and 3"):
        auc(torch.zeros(1), torch.zeros(3))
