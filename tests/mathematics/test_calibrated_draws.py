"""Calibration of draws against what is known of it: right, too narrow and biased ones."""

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.laws.sampling import multinomial_p
from simulacra.mathematics.calibrated_draws import central_coverage, rank_histogram

N, K = 4000, 400
TRUTH = Rng(0)("truth").normal((N,), dtype=torch.float64)
DRAWS = Rng(0)("draws").normal((K, N), dtype=torch.float64)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_right_draws_hold_the_truth_as_often_as_they_say(level):
    error = math.sqrt(level * (1 - level) / N)
    assert abs(central_coverage(DRAWS, TRUTH, level) - level) < 4 * error + 1 / K


def test_draws_of_half_the_width_hold_it_as_often_as_the_normal_says():
    expected = math.erf(1.6449 / 2 / math.sqrt(2))  # P(|z| < 1.6449 / 2)
    assert abs(central_coverage(DRAWS / 2, TRUTH) - expected) < 0.03


def test_ranks_are_flat_where_draws_are_right_and_lean_where_they_are_not():
    flat = torch.full((10,), 0.1).numpy()
    assert multinomial_p(rank_histogram(DRAWS, TRUTH).numpy(), flat) > 1e-6
    narrow, biased = rank_histogram(DRAWS / 2, TRUTH), rank_histogram(DRAWS + 1, TRUTH)
    assert min(narrow[0], narrow[9]) > 2 * narrow[5]
    assert biased[0] > 3 * biased[9]
    assert int(narrow.sum()) == N


def test_equal_values_rank_in_the_middle():
    assert rank_histogram(torch.zeros(9, 1), torch.zeros(1), bins=3).tolist() == [0, 1, 0]


def test_a_level_is_a_share():
    with pytest.raises(ValueError, match="level"):
        central_coverage(DRAWS, TRUTH, 1.0)
