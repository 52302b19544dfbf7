"""Significance: Holm's worked example, exact binomials, and a bootstrap that keeps its level."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.significance import binomial_p, holm, paired_bootstrap


def test_holm_raises_and_keeps_the_order():
    """Four tests, by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04, which may not fall below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_binomial_tail():
    assert binomial_p(10, 10) == pytest.approx(2**-10)
    assert binomial_p(0, 10) == 1
    assert binomial_p(8, 10) == pytest.approx((45 + 10 + 1) / 1024)
    with pytest.raises(ValueError, match="got 11 of 10"):
        binomial_p(11, 10)


def test_paired_bootstrap_of_a_plain_difference():
    d = Rng(0)("d").normal((200,), dtype=torch.float64) + 0.3
    found = paired_bootstrap(d, rng=Rng(1))
    assert found.value == pytest.approx(float(d.mean()))
    error = float(d.std()) / 200**0.5
    assert found.interval == pytest.approx((found.value - 1.97 * error, found.value + 1.97 * error), abs=0.15 * error)
    assert found.p < 0.01
    assert found == paired_bootstrap(d, rng=Rng(1))


def test_paired_bootstrap_keeps_its_level_on_skewed_differences():
    """Exponentials less their mean, n = 40, 300 repetitions: p < 0.05 in 5 %, within four deviations of 1.26 %."""
    alarms, held = 0, 0
    for i in range(300):
        d = -(1 - Rng(i)("u").uniform((40,), dtype=torch.float64)).log() - 1
        found = paired_bootstrap(d, rng=Rng(i)("b"), repeats=400)
        alarms += found.p < 0.05
        held += found.interval[0] <= 0 <= found.interval[1]
    assert alarms <= 30
    assert held >= 270


def test_no_difference_at_all_and_one_without_spread():
    assert paired_bootstrap(torch.zeros(9), rng=Rng(0)).p == 1
    certain = paired_bootstrap(torch.ones(9), rng=Rng(0), repeats=99)
    assert (certain.interval, certain.p) == ((1, 1), 0.01)
    with pytest.raises(ValueError, match="at least 2 pairs; got 1"):
        paired_bootstrap(torch.ones(1), rng=Rng(0))
