"""The interval of an area under the curve holds the truth as often as it says, where it is printed."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.evaluation.intervals import of_auc
from simulacra.mathematics.ranking import auc

REPEATS = 400


def covered(shift: float, spread: float, n: int, m: int) -> tuple[float, float]:
    exact = 0.5 * (1 + math.erf(shift / math.sqrt(2 * (1 + spread**2))))
    hits = printed = 0
    for i in range(REPEATS):
        low = Rng(i)("low").normal((n,), dtype=torch.float64)
        high = shift + spread * Rng(i)("high").normal((m,), dtype=torch.float64)
        bounds = of_auc(*auc(low, high), n, m).bounds
        if bounds is not None:
            printed += 1
            hits += bounds[0] <= exact <= bounds[1]
    return hits / max(printed, 1), printed / REPEATS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "spread", "n", "m"),
    [(0.0, 1.0, 100, 100), (1.0, 1.0, 100, 400), (1.5, 3.0, 300, 100), (2.5, 1.0, 200, 200), (-2.0, 0.5, 1000, 100)],
)
def test_it_holds_the_truth_92_to_98_times_in_a_hundred(shift, spread, n, m):
    share, printed = covered(shift, spread, n, m)
    assert printed > 0.9
    assert 0.92 <= share <= 0.98


def test_it_stays_within_its_range_and_is_left_out_where_it_is_not_known_to_hold():
    bounds = of_auc(0.975, 0.02, 100, 100).bounds
    assert bounds is not None
    low, high = bounds
    assert 0 < low < 0.975 < high < 1
    assert "from 100 on" in of_auc(0.7, 0.01, 99, 1000).method
    assert "end of its range" in of_auc(0.999, 0.001, 1000, 1000).method
