"""Annealed importance sampling (Neal 2001) by Hamiltonian Monte Carlo: an integral from below, and from above.

Wanted is Z = integral of exp f(u) du, u in R^d. A chain walks from N(0, I) to exp f / Z through the densities

    f_t(u) = (1 - beta_t) log N(u; 0, I) + beta_t f(u),   0 = beta_0 < beta_1 < ... < beta_T = 1,

leaving each f_t unchanged at its turn, and gathers log w = sum_t (beta_t - beta_{t-1}) (f - log N)(u_{t-1}) on its way
(Neal 2001, eq. 11). E w = Z, so that log w is a lower bound of log Z in expectation. The same walk backwards, from an
exact draw of exp f / Z, has E 1/w = 1/Z: an upper bound (Grosse, Ghahramani & Adams 2015, "Sandwiching the marginal
likelihood using bidirectional Monte Carlo", section 3.2). Both need step sizes that the chain itself did not choose:
``tuned`` finds them on chains of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.divergences import log_normal

LogDensity = Callable[[Tensor], Tensor]  # f: u (..., d) -> (...), nats, differentiable
Schedule = Callable[[int], Tensor]

FIRST_STEP = 0.5  # a quarter of the longest leapfrog step that is stable in N(0, I)
GAIN = 0.3  # a step changes by at most this share a temperature, too little to follow one unlucky transition
JITTER = 0.4  # steps are multiplied by U(1 - JITTER, 1 + JITTER): equal ones may carry a chain round to its start


def linear(steps: int) -> Tensor:
    """Inverse temperatures 0 = beta_0 < ... < beta_steps = 1, evenly spaced, float64 (steps + 1,)."""
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def sigmoidal(steps: int) -> Tensor:
    """Inverse temperatures close together at both ends, where the densities change fastest, float64 (steps + 1,).

    A sigmoid over [-4, 4], stretched to reach 0 and 1: its first step is a seventh of an even one.
    """
    s = torch.sigmoid(4 * torch.linspace(-1, 1, steps + 1, dtype=torch.float64))
    return (s - s[0]) / (s[-1] - s[0])


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """How a chain walks.

    steps     number of temperatures T; twice as many about halve what the bounds miss.
    leapfrog  leapfrog steps of each transition, and so evaluations of f and its slope.
    schedule  T -> inverse temperatures.
    accept    share of proposals to be accepted, which the step sizes are tuned to (Neal 2011: 0.65 at the optimum).
    """

    steps: int = 500
    leapfrog: int = 10
    schedule: Schedule = sigmoidal
    accept: float = 0.65

    def __post_init__(self) -> None:
        if self.steps < 1 or self.leapfrog < 1:
            raise ValueError(f"steps and leapfrog must be at least 1; got {self.steps} and {self.leapfrog}")
        if not 0 < self.accept < 1:
            raise ValueError(f"accept is a share between 0 and 1; got {self.accept}")


class Walk(NamedTuple):
    """What came of chains (b, c): b problems, c chains each.

    log_weights  log w, nats, float64 (b, c).
    u            where they ended, (b, c, d).
    step_sizes   of each temperature but the last, (steps - 1, b).
    acceptance   share of proposals accepted at each of them, mean over chains, (steps - 1, b).
    """

    log_weights: Tensor
    u: Tensor
    step_sizes: Tensor
    acceptance: Tensor


class Place(NamedTuple):
    """A point u (b, c, d), f there (b, c), and its slope (b, c, d)."""

    u: Tensor
    f: Tensor
    slope: Tensor


def tuned(f: LogDensity, u: Tensor, settings: Annealing, rng: Rng) -> Tensor:
    """Step sizes for each temperature but the last, (steps - 1, b), learned on a walk from u (b, c, d) ~ N(0, I)."""
    return _walk(f, u, settings, rng, None).step_sizes


def forward(f: LogDensity, u: Tensor, step_sizes: Tensor, settings: Annealing, rng: Rng) -> Walk:
    """From draws u (b, c, d) of N(0, I) to f: E exp(log_weights) = Z."""
    return _walk(f, u, settings, rng, step_sizes)


def reverse(f: LogDensity, u: Tensor, step_sizes: Tensor, settings: Annealing, rng: Rng) -> Walk:
    """From draws u (b, c, d) of exp f / Z back to N(0, I): E exp(-log_weights) = 1 / Z."""
    betas = settings.schedule(settings.steps)
    place, total = _look(f, u), torch.zeros(u.shape[:-1], dtype=torch.float64, device=u.device)
    shares: list[Tensor] = []
    for t in range(settings.steps, 0, -1):
        total += float(betas[t] - betas[t - 1]) * _difference(place)
        if t > 1:
            place, share = transition(
                f, place, float(betas[t - 1]), step_sizes[t - 2], settings.leapfrog, rng("back", t)
            )
            shares.append(share)
    return Walk(total, place.u, step_sizes, _stacked(shares[::-1], u))


def _walk(f: LogDensity, u: Tensor, settings: Annealing, rng: Rng, step_sizes: Tensor | None) -> Walk:
    """Forward; where no step sizes are given they follow the acceptance from one temperature to the next."""
    betas = settings.schedule(settings.steps)
    place, total = _look(f, u), torch.zeros(u.shape[:-1], dtype=torch.float64, device=u.device)
    step = torch.full(u.shape[:1], FIRST_STEP, dtype=u.dtype, device=u.device)
    steps: list[Tensor] = []
    shares: list[Tensor] = []
    for t in range(1, settings.steps + 1):
        total += float(betas[t] - betas[t - 1]) * _difference(place)
        if t == settings.steps:
            break  # what lies behind the last weight moves the chain, not the estimate
        step = step if step_sizes is None else step_sizes[t - 1]
        place, share = transition(f, place, float(betas[t]), step, settings.leapfrog, rng("forth", t))
        steps.append(step)
        shares.append(share)
        if step_sizes is None:
            step = step * torch.exp(GAIN * (share - settings.accept))
    return Walk(total, place.u, _stacked(steps, u), _stacked(shares, u))


def transition(f: LogDensity, place: Place, beta: float, step: Tensor, leapfrog: int, rng: Rng) -> tuple[Place, Tensor]:
    """One Hamiltonian move (Neal 2011, section 5.3) that leaves (1 - beta) log N + beta f unchanged.

    step (b,). Returns where the chains are now, and the share of proposals that would be accepted on average, (b,).
    """
    u = place.u
    shape = u.shape[:2]
    like: dict[str, Any] = {"dtype": u.dtype, "device": u.device}
    stretch = 1 - JITTER + 2 * JITTER * rng("jitter").uniform(shape, **like)
    length = (step[:, None] * stretch)[..., None]
    momentum = rng("momentum").normal(u.shape, **like)
    now, force = place, _force(place, beta)
    p = momentum + 0.5 * length * force
    for i in range(leapfrog):
        now = _look(f, now.u + length * p)
        force = _force(now, beta)
        p = p + (length if i < leapfrog - 1 else 0.5 * length) * force
    gain = _height(now, beta) - _height(place, beta) - 0.5 * (p.square() - momentum.square()).sum(-1)
    gain = torch.where(gain.isfinite(), gain, -math.inf)  # a step that runs off to infinity is refused
    chance = rng("accept").uniform(shape, dtype=torch.float64, device=u.device) + 2.0**-25
    taken = chance.log() < gain
    moved = Place(
        torch.where(taken[..., None], now.u, place.u),
        torch.where(taken, now.f, place.f),
        torch.where(taken[..., None], now.slope, place.slope),
    )
    return moved, gain.clamp(max=0).exp().mean(1)


def _look(f: LogDensity, u: Tensor) -> Place:
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        value = f(u)
        (slope,) = torch.autograd.grad(value.sum(), [u])
    return Place(u.detach(), value.detach(), slope)


def _difference(place: Place) -> Tensor:
    """f - log N(u; 0, I), float64."""
    return place.f.double() - log_normal(place.u.double()).sum(-1)


def _height(place: Place, beta: float) -> Tensor:
    return (1 - beta) * -0.5 * place.u.square().sum(-1) + beta * place.f


def _force(place: Place, beta: float) -> Tensor:
    return beta * place.slope - (1 - beta) * place.u


def _stacked(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(parts) if parts else torch.empty((0, len(like)), dtype=like.dtype, device=like.device)
