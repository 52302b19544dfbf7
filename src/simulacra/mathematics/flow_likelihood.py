"""log p by the probability flow: the instantaneous change of variables along dx/dl = D(x, s) - x, l = -log s.

log p(x at s_low) = log N(x at s_high) + int div(dx/dl) dl from l(s_low) back to l(s_high) (Chen et al. 2018, "Neural
ordinary differential equations", eq. 8; Song et al. 2021, eq. 39), with div = tr dD/dx - d.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.divergences import log_normal
from simulacra.mathematics.solvers import Denoise

# (denoise, x, s, probes) -> (D (b, *event), tr dD/dx (b,)); probes as the trace asked for them
Trace = Callable[[Denoise, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
# (x (b, *event), where) -> how x moves there, and the divergence of that (b,)
Slope = Callable[[Tensor, float], tuple[Tensor, Tensor]]
grad: Any = torch.autograd.grad


def exact_trace(denoise: Denoise, x: Tensor, level: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """The trace of the Jacobian by one backward pass an element: exact, and d times as dear as D."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        d = denoise(x, level)
        flat = d.flatten(1)
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for i in range(flat.shape[1]):
            (row,) = grad(flat[:, i].sum(), x, retain_graph=i + 1 < flat.shape[1])
            total = total + row.flatten(1)[:, i]
    return d.detach(), total.detach()


def hutchinson(denoise: Denoise, x: Tensor, level: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """e^T J e for probes e of independent signs: the trace in expectation (Hutchinson 1989; Grathwohl et al. 2019)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        d = denoise(x, level)
        (pulled,) = grad((d * probes).sum(), x)
    return d.detach(), (pulled * probes).flatten(1).sum(1).detach()


def signs(x: Tensor, rng: Rng) -> Tensor:
    """Probes of independent signs, like x (b, *event): drawn once an example, so that what they see stays smooth."""
    up = rng("probes").bernoulli(torch.full((len(x), x[0].numel()), 0.5)).to(x.device).reshape(x.shape)
    return 2 * up.to(x.dtype) - 1


def gather(slope: Slope, x: Tensor, *, first: float, step: float, steps: int) -> tuple[Tensor, Tensor]:
    """Where x (b, *event) is carried in so many steps, and the divergence met on the way, nats (b,) in float64.

    Classical Runge-Kutta of fourth order for both (Hairer, Norsett & Wanner 1993, section II.1).
    """
    gathered, at, h = torch.zeros(len(x), dtype=torch.float64, device=x.device), first, step
    for _ in range(steps):
        k1, d1 = slope(x, at)
        k2, d2 = slope(x + 0.5 * h * k1, at + 0.5 * h)
        k3, d3 = slope(x + 0.5 * h * k2, at + 0.5 * h)
        k4, d4 = slope(x + h * k3, at + h)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        gathered += h / 6 * (d1 + 2 * d2 + 2 * d3 + d4).double()
        at += h
    return x, gathered


@torch.no_grad()
def flow_log_prob(
    denoise: Denoise,
    x: Tensor,
    *,
    low: float,
    high: float,
    prior: float,
    steps: int,
    trace: Trace,
    rng: Rng,
) -> Tensor:
    """log p of x (b, *event), nats (b,), by classical Runge-Kutta of fourth order in l with this many steps.

    low, high  noise levels between which the flow is followed; x is taken to be at ``low``.
    prior      standard deviation of the Gaussian at ``high``.
    rng        of the probes, drawn once an example: the integrand stays smooth.
    """
    count = x[0].numel()
    probes = signs(x, rng)
    at, h = -math.log(low), (math.log(low) - math.log(high)) / steps

    def slope(point: Tensor, where: float) -> tuple[Tensor, Tensor]:
        level = torch.full((len(point),), math.exp(-where), dtype=point.dtype, device=point.device)
        d, traced = trace(denoise, point, level, probes)
        return d - point, traced.double() - count

    x, gathered = gather(slope, x, first=at, step=h, steps=steps)
    ends = log_normal(x.double(), 0.0, math.log(prior)).flatten(1).sum(1)
    return (ends + gathered).to(x.dtype)
