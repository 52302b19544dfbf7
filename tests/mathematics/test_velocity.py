"""Integrators of a velocity, of their order, and the density that one leads to."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics import velocity
from simulacra.mathematics.flow_likelihood import exact_trace, hutchinson
from simulacra.mathematics.velocity import Integrator, even_times

MEAN, SPREAD = torch.tensor([1.5, -0.5], dtype=torch.float64), 0.4


def gaussian(x: Tensor, t: Tensor) -> Tensor:
    """The velocity of N(MEAN, SPREAD^2) with independent noise, E[n - x_0 | x_t]: all are jointly normal."""
    t = t[:, None]
    variance = (1 - t).square() * SPREAD**2 + t.square()
    return -MEAN + (t - (1 - t) * SPREAD**2) / variance * (x - (1 - t) * MEAN)


def carried(z: Tensor, t: float = 0.0) -> Tensor:
    """Where that flow has carried z at time t: it keeps the ratio to the standard deviation."""
    return (1 - t) * MEAN + math.hypot((1 - t) * SPREAD, t) * z


@pytest.mark.parametrize(
    ("integrator", "order"), [(velocity.euler, 1), (velocity.midpoint, 2), (velocity.runge_kutta, 4)]
)
def test_errors_fall_with_the_order(integrator: Integrator, order: int):
    # dx/dt = x^2 cos t has the solution 1 / (c - sin t); the Gaussian's flow would flatter the midpoint by an order
    z = 0.5 * Rng(0).uniform((50, 1), dtype=torch.float64)
    truth = 1 / (1 / z + math.sin(1))
    bent: Callable[[Tensor, Tensor], Tensor] = lambda x, t: x.square() * t[:, None].cos()  # noqa: E731
    errors = [float((integrator(bent, z, even_times(k)) - truth).abs().max()) for k in (32, 64)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_a_gaussian_s_flow_keeps_the_ratio_to_the_deviation():
    z = Rng(0).normal((50, 2), dtype=torch.float64)
    torch.testing.assert_close(velocity.runge_kutta(gaussian, z, even_times(128)), carried(z), atol=1e-7, rtol=0)


@pytest.mark.parametrize("integrator", [velocity.euler, velocity.midpoint, velocity.runge_kutta])
def test_straight_lines_take_one_step(integrator: Integrator):
    z = Rng(0).normal((5, 2), dtype=torch.float64)
    straight: Callable[[Tensor, Tensor], Tensor] = lambda x, t: torch.ones_like(x) * torch.tensor([2.0, -1.0])  # noqa: E731
    torch.testing.assert_close(integrator(straight, z, even_times(1)), z - torch.tensor([2.0, -1.0]).double())


def test_there_and_back():
    x = carried(Rng(0).normal((50, 2), dtype=torch.float64))
    z = velocity.runge_kutta(gaussian, x, even_times(64, first=0.0, last=1.0))
    torch.testing.assert_close(velocity.runge_kutta(gaussian, z, even_times(64)), x, atol=1e-7, rtol=0)


@pytest.mark.parametrize("trace", [exact_trace, hutchinson])
@pytest.mark.parametrize("last", [0.0, 0.1])
def test_log_p_is_the_gaussian_s(trace: Callable[..., tuple[Tensor, Tensor]], last: float):
    # the Jacobian is a multiple of the identity, so that a probe of signs is exact
    x = carried(Rng(0).normal((50, 2), dtype=torch.float64), last)
    spread = math.hypot((1 - last) * SPREAD, last)
    truth = torch.distributions.Normal((1 - last) * MEAN, spread).log_prob(x).sum(1)
    found = velocity.log_prob(gaussian, x, steps=64, trace=trace, rng=Rng(1), last=last)
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=0)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        even_times(0)
