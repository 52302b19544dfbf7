"""Epsilon of noisy training: against the exact curve of one Gaussian, closed forms of the pair, and Opacus's PRV."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.stats import norm

from simulacra.mathematics.privacy import epsilon, noise_for


def exact(noise, delta):
    """Epsilon of one Gaussian mechanism of sensitivity 1: Balle & Wang 2018, theorem 8."""

    def excess(e):
        a, b = 0.5 / noise - e * noise, -0.5 / noise - e * noise
        return norm.cdf(a) - math.exp(e + norm.logcdf(b)) - delta

    return optimize.brentq(excess, 0.0, 5 + 1 / noise**2 + 20 / noise, xtol=1e-12)


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0, 50.0])
def test_one_full_batch_is_the_exact_gaussian_mechanism_from_above(noise, delta):
    found, truth = epsilon(noise, 1.0, 1, delta), exact(noise, delta)
    assert truth <= found <= 1.002 * truth + 1e-5


@pytest.mark.parametrize("steps", [7, 1000])
def test_full_batches_compose_to_a_gaussian_of_less_noise(steps):
    noise = 0.8 * math.sqrt(steps)
    found, truth = epsilon(noise, 1.0, steps, 1e-5), exact(0.8, 1e-5)
    assert truth <= found <= 1.002 * truth


@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.01), (0.6, 0.2), (2.0, 0.5)])
def test_one_sampled_step_is_the_integral_of_its_pair(noise, rate):
    """delta(epsilon) of either order of the pair by quadrature: the larger is delta at the epsilon that was found."""
    delta = 1e-4
    found = epsilon(noise, rate, 1, delta)

    def without(x):
        return norm.pdf(x, 0, noise)

    def present(x):
        return (1 - rate) * norm.pdf(x, 0, noise) + rate * norm.pdf(x, 1, noise)

    x = np.linspace(-12 * noise, 1 + 12 * noise, 400_001)
    deltas = [
        integrate.simpson((p(x) - math.exp(found) * q(x)).clip(min=0), x=x)
        for p, q in ((present, without), (without, present))
    ]
    assert max(deltas) == pytest.approx(delta, rel=5e-3)
    assert max(deltas) <= delta


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [(1.0, 0.01, 1000), (0.7, 256 / 60_000, 2000), (1.5, 2048 / 60_000, 1500), (4.0, 0.2, 500), (0.6, 0.001, 10_000)],
)
def test_epsilon_is_at_most_that_of_opacus_and_above_its_lower_bound(noise, rate, steps):
    accountants = pytest.importorskip("opacus.accountants")
    accountant = accountants.PRVAccountant()
    accountant.history = [(noise, rate, steps)]
    found = epsilon(noise, rate, steps, 1e-5)
    # Opacus returns the upper end of an interval of twice this width
    near = accountant.get_epsilon(1e-5, eps_error=1e-3)
    assert near - 2e-3 <= found <= near
    assert found <= 1.02 * accountant.get_epsilon(1e-5)


def test_a_rarer_example_a_shorter_run_and_more_noise_give_less_away():
    base = epsilon(1.0, 0.02, 200, 1e-5)
    assert epsilon(1.0, 0.01, 200, 1e-5) < base
    assert epsilon(1.0, 0.02, 100, 1e-5) < base
    assert epsilon(1.2, 0.02, 200, 1e-5) < base
    assert epsilon(1.0, 0.02, 200, 1e-4) < base
    assert epsilon(1.0, 0.02, 0, 1e-5) == 0.0


@pytest.mark.parametrize(("wanted", "rate", "steps"), [(10.0, 0.03, 500), (0.1, 1.0, 1)])
def test_the_noise_for_an_epsilon_reaches_it_and_is_hardly_more_than_needed(wanted, rate, steps):
    noise = noise_for(wanted, rate, steps, 1e-5)
    assert epsilon(noise, rate, steps, 1e-5) <= wanted < epsilon(0.99 * noise, rate, steps, 1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="noise multiplier must be positive; got 0"):
        epsilon(0.0, 0.1, 1, 1e-5)
    with pytest.raises(ValueError, match="probability"):
        epsilon(1.0, 1.5, 1, 1e-5)
    with pytest.raises(ValueError, match="delta must lie"):
        epsilon(1.0, 0.1, 1, 0.0)
    with pytest.raises(ValueError, match="epsilon must be positive"):
        noise_for(-1.0, 0.1, 1, 1e-5)
    with pytest.raises(ValueError, match="no noise"):
        noise_for(1e-4, 1.0, 10_000_000, 1e-5)
