"""Following a velocity dx/dt = v(x, t) between data at t = 0 and noise N(0, I) at t = 1, and what it says of log p.

``times`` are (k + 1,) decreasing from noise to data, or increasing from data to noise; each integrator goes from x at
times[0] to times[-1] in k steps and returns x there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.divergences import log_normal
from simulacra.mathematics.flow_likelihood import Trace, gather, signs

Velocity = Callable[[Tensor, Tensor], Tensor]  # (x (b, *event), t (b,)) -> like x
Integrator = Callable[[Velocity, Tensor, Tensor], Tensor]  # (v, x at times[0], times) -> x at times[-1]


def even_times(steps: int, *, first: float = 1.0, last: float = 0.0) -> Tensor:
    """steps + 1 evenly spaced times, float64; ValueError for no steps."""
    return torch.linspace(first, last, _some(steps) + 1, dtype=torch.float64)


def euler(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """First order; exact in one step where the lines are straight."""
    for t, h in _steps(times):
        x = x + h * velocity(x, _at(t, x))
    return x


def midpoint(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """Second order, two looks a step, none of them at the last time."""
    for t, h in _steps(times):
        half = x + 0.5 * h * velocity(x, _at(t, x))
        x = x + h * velocity(half, _at(t + 0.5 * h, x))
    return x


def runge_kutta(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """Fourth order, four looks a step: the classical method."""
    for t, h in _steps(times):
        k1 = velocity(x, _at(t, x))
        k2 = velocity(x + 0.5 * h * k1, _at(t + 0.5 * h, x))
        k3 = velocity(x + 0.5 * h * k2, _at(t + 0.5 * h, x))
        k4 = velocity(x + h * k3, _at(t + h, x))
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


@torch.no_grad()
def log_prob(velocity: Velocity, x: Tensor, *, steps: int, trace: Trace, rng: Rng, last: float = 0.0) -> Tensor:
    """log p of x (b, *event) at t = ``last``, nats (b,): log N(x at 1; 0, I) + the integral of div v up to 1.

    Chen et al. 2018, "Neural ordinary differential equations", eq. 8. ValueError for no steps.
    """
    probes, h = signs(x, rng), (1.0 - last) / _some(steps)
    x, gathered = gather(lambda u, t: trace(velocity, u, _at(t, u), probes), x, first=last, step=h, steps=steps)
    return (log_normal(x.double()).flatten(1).sum(1) + gathered).to(x.dtype)


def _steps(times: Tensor) -> Iterator[tuple[float, float]]:
    """Where each step begins, and how far it goes."""
    known = cast("list[float]", times.double().tolist())  # pyright: ignore
    yield from ((now, then - now) for now, then in pairwise(known))


def _some(steps: int) -> int:
    if steps < 1:
        raise ValueError(f"a flow is followed in at least 1 step; got {steps}")
    return steps


def _at(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)
