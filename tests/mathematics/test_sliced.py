"""Sliced Wasserstein distances against closed forms and SciPy's."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import wasserstein_distance

from simulacra.core.randomness import Rng
from simulacra.mathematics.sliced import directions, sliced_wasserstein, wasserstein_powers


@pytest.mark.parametrize(("n", "m"), [(20, 20), (7, 12), (30, 10), (1, 4)])
def test_first_power_is_scipy_s(n, m):
    x, y = Rng(0)("x").normal((n, 3), dtype=torch.float64), Rng(0)("y").normal((m, 3), dtype=torch.float64) + 0.4
    expected = [wasserstein_distance(x[:, j].numpy(), y[:, j].numpy()) for j in range(3)]
    assert wasserstein_powers(x, y, p=1).tolist() == pytest.approx(expected, rel=1e-12)


def test_doubled_rows_change_nothing():
    x, y = Rng(0)("x").normal((8, 4), dtype=torch.float64), Rng(0)("y").normal((6, 4), dtype=torch.float64)
    torch.testing.assert_close(wasserstein_powers(torch.cat([x, x, x]), y), wasserstein_powers(x, y))


def test_a_shift_is_spread_over_all_directions():
    """W_2^2 along u of a shift s is (u.s)^2, whose mean over the sphere is |s|^2 / d."""
    x, shift = Rng(0)("x").normal((50, 6), dtype=torch.float64), torch.arange(6.0).double()
    value, error = sliced_wasserstein(x + shift, x, rng=Rng(1), k=4000)
    truth = math.sqrt(float(shift.square().sum()) / 6)
    assert abs(value - truth) < 4 * error < 0.1 * truth
    assert sliced_wasserstein(x, x, rng=Rng(1)) == (0.0, 0.0)


def test_directions_are_of_unit_length_and_even():
    u = directions(5, 2000, Rng(0), like=torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(u.norm(dim=0), torch.ones(2000).double())
    torch.testing.assert_close(u @ u.T / 2000, torch.eye(5).double() / 5, rtol=0, atol=0.03)
