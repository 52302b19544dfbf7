"""From noise to data: solvers of the probability flow and of its stochastic relatives, over any denoiser.

A denoiser is a function (x, s) -> E[x_0 | x] for x = x_0 + s n, with s (b,) the noise level of each example. In these
units the probability flow is dx/ds = (x - D(x, s)) / s whatever path the model was trained on (Karras et al. 2022,
eq. 1 with their sigma(t) = t), or dx/dl = D - x in l = -log s. ``levels`` are decreasing noise levels (k,), the last
may be 0; each solver goes from x at levels[0] to levels[-1] and returns x there. Increasing levels go the other way,
from data to noise, with the deterministic solvers (DDIM inversion).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from simulacra.core.randomness import Rng

Denoise = Callable[[Tensor, Tensor], Tensor]


# (denoise, x (b, *event) at levels[0], levels, rng for those that add noise) -> x at levels[-1]
Solver = Callable[[Denoise, Tensor, Tensor, Rng], Tensor]


def karras(steps: int, low: float, high: float, *, rho: float = 7.0, device: torch.device | str = "cpu") -> Tensor:
    """steps + 1 levels from high to low, evenly spaced in s^(1 / rho), and 0: Karras et al. 2022, eq. 5; float64.

    Raises ValueError unless 0 < low < high and steps >= 1. One step goes from ``high`` to 0 at once.
    """
    _check(steps, low, high)
    ends = low ** (1 / rho), high ** (1 / rho)
    share = torch.arange(steps, dtype=torch.float64, device=device) / max(steps - 1, 1)
    return torch.cat([(ends[1] + share * (ends[0] - ends[1])) ** rho, share.new_zeros(1)])


def geometric(steps: int, low: float, high: float, *, device: torch.device | str = "cpu") -> Tensor:
    """steps levels from high to low, evenly spaced in log s, and 0; float64."""
    _check(steps, low, high)
    share = torch.arange(steps, dtype=torch.float64, device=device) / max(steps - 1, 1)
    return torch.cat([high * (low / high) ** share, share.new_zeros(1)])


def _check(steps: int, low: float, high: float) -> None:
    if steps < 1:
        raise ValueError(f"a sampler takes at least 1 step; got {steps}")
    if not 0 < low < high:
        raise ValueError(f"noise levels need 0 < low < high; got {low} and {high}")


def euler(denoise: Denoise, x: Tensor, levels: Tensor, rng: Rng | None = None) -> Tensor:
    """First order: x + (s' - s) (x - D) / s. In these units it is DDIM on any path (Song et al. 2021, eq. 13)."""
    for now, then in _steps(levels):
        d = denoise(x, _at(now, x))
        x = d + (then / now) * (x - d)
    return x


ddim = euler


def heun(denoise: Denoise, x: Tensor, levels: Tensor, rng: Rng | None = None) -> Tensor:
    """Second order, two looks a step, one in a step that ends at 0: Karras et al. 2022, algorithm 1."""
    for now, then in _steps(levels):
        x = _heun_step(denoise, x, now, then)
    return x


def _heun_step(denoise: Denoise, x: Tensor, now: float, then: float) -> Tensor:
    slope = (x - denoise(x, _at(now, x))) / now
    guess = x + (then - now) * slope
    if then == 0:
        return guess
    ahead = (guess - denoise(guess, _at(then, x))) / then
    return x + (then - now) * 0.5 * (slope + ahead)


def dpm_solver_2m(denoise: Denoise, x: Tensor, levels: Tensor, rng: Rng | None = None) -> Tensor:
    """DPM-Solver++(2M): second order, one look a step (Lu et al. 2022, "DPM-Solver++", algorithm 2)."""
    before: tuple[Tensor, float] | None = None
    for now, then in _steps(levels):
        d = denoise(x, _at(now, x))
        if then == 0:
            return d
        h = math.log(now / then)
        ahead = d
        if before is not None:
            r = before[1] / h
            ahead = (1 + 1 / (2 * r)) * d - before[0] / (2 * r)
        x = math.exp(-h) * x - math.expm1(-h) * ahead
        before = d, h
    return x


def dpm_solver_3m(denoise: Denoise, x: Tensor, levels: Tensor, rng: Rng | None = None) -> Tensor:
    """Third order, one look a step: the last three D as a polynomial in l, integrated exactly.

    x(l + h) = e^-h x + int_0^h e^-(h - u) D(l + u) du, the exponential integrator of Lu et al. 2022 (eq. 8); with
    D = D_0 + D_1 u + D_2 u^2 / 2 the integral is p_1 D_0 + p_2 D_1 + p_3 D_2, p_1 = 1 - e^-h, p_2 = h - p_1,
    p_3 = h^2 / 2 - p_2. The first step knows one D, the second two.
    """
    seen: list[tuple[float, Tensor]] = []  # (l, D), the newest first
    for now, then in _steps(levels):
        d = denoise(x, _at(now, x))
        if then == 0:
            return d
        h = math.log(now / then)
        here = -math.log(now)
        seen = [(here, d), *seen[:2]]
        weights = _weights([u - here for u, _ in seen], h)
        x = math.exp(-h) * x
        for weight, (_, each) in zip(weights, seen, strict=True):
            x = x + weight * each
    return x


def _weights(nodes: Sequence[float], h: float) -> list[float]:
    """int_0^h e^-(h - u) L_i(u) du of the Lagrange polynomials L_i on at most three nodes."""
    p1 = -math.expm1(-h)
    p2 = h - p1
    p3 = 0.5 * h * h - p2
    moments = torch.tensor([p1, p2, 2 * p3], dtype=torch.float64)[: len(nodes)]  # of 1, u, u^2
    powers = torch.tensor([[u**k for u in nodes] for k in range(len(nodes))], dtype=torch.float64)
    return cast("list[float]", torch.linalg.solve(powers, moments).tolist())  # pyright: ignore


@dataclass(frozen=True, kw_only=True)
class Ancestral:
    """Draws from q(x' | x, x_0 = D): at eta = 1 the ancestral sampler of Ho et al. 2020 (eq. 6-7), at 0 DDIM.

    With s' < s the posterior is N(D + (s'/s)^2 (x - D), s'^2 (1 - s'^2 / s^2)); eta scales its standard deviation
    (Song et al. 2021, eq. 16) and the mean keeps the marginal's variance.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta lies in 0 .. 1; got {self.eta}")

    def __call__(self, denoise: Denoise, x: Tensor, levels: Tensor, rng: Rng) -> Tensor:
        for i, (now, then) in enumerate(_steps(levels)):
            d = denoise(x, _at(now, x))
            up = self.eta * then * math.sqrt(max(0.0, 1 - (then / now) ** 2))
            x = d + math.sqrt(max(0.0, then**2 - up**2)) / now * (x - d)
            if up > 0:
                x = x + up * rng("ancestral", i).normal(x.shape, dtype=x.dtype, device=x.device)
        return x


@dataclass(frozen=True, kw_only=True)
class Stochastic:
    """Heun with fresh noise before each step: Karras et al. 2022, algorithm 2.

    churn      S_churn, amount of noise over the whole run; 0 is plain Heun.
    low, high  S_tmin and S_tmax: levels between which noise is added.
    noise      S_noise, standard deviation of the fresh noise.
    """

    churn: float = 40.0
    low: float = 0.05
    high: float = 50.0
    noise: float = 1.003  # all four: Karras et al. 2022, table 5, ImageNet-64

    def __call__(self, denoise: Denoise, x: Tensor, levels: Tensor, rng: Rng) -> Tensor:
        most = min(self.churn / max(len(levels) - 1, 1), math.sqrt(2) - 1)
        for i, (now, then) in enumerate(_steps(levels)):
            up = now * (1 + most) if self.low <= now <= self.high else now
            if up > now:
                fresh = rng("churn", i).normal(x.shape, dtype=x.dtype, device=x.device)
                x = x + math.sqrt(up**2 - now**2) * self.noise * fresh
            x = _heun_step(denoise, x, up, then)
        return x


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Bogacki and Shampine's third order with its embedded second, in l = -log s; each example steps by itself.

    tolerance  largest error of a step, the root mean square over an example's elements of
               error / (1 + |x|), the higher the faster. Only the ends of ``levels`` count.
    """

    tolerance: float = 1e-3
    most: int = 1000  # steps, before it is given up

    def __call__(self, denoise: Denoise, x: Tensor, levels: Tensor, rng: Rng | None = None) -> Tensor:
        positive = levels[levels > 0]
        start, end = float(positive[0]), float(positive[-1])
        if end > start:
            raise ValueError(f"the adaptive solver goes from noise to data; got levels from {start} up to {end}")
        at = torch.full((len(x),), -math.log(start), dtype=torch.float64, device=x.device)
        goal = -math.log(end)
        h = torch.full_like(at, min(0.1, max(goal + math.log(start), 1e-12)))
        x = x.clone()
        for _ in range(self.most):
            going = (at < goal - 1e-12).nonzero()[:, 0]
            if not len(going):
                break
            step = torch.minimum(h[going], goal - at[going])
            third, error = _bogacki_shampine(denoise, x[going], at[going], step)
            size = (error.abs() / (1 + third.abs())).flatten(1).square().mean(1).sqrt().double() / self.tolerance
            good = size <= 1
            done = going[good]
            x[done], at[done] = third[good], at[done] + step[good]
            h[going] = step * (0.9 * size.clamp(min=1e-6) ** (-1 / 3)).clamp(0.2, 5.0)
        else:
            raise ValueError(f"no end after {self.most} steps; raise the tolerance ({self.tolerance:g}) or ``most``")
        return denoise(x, _at(end, x)) if float(levels[-1]) == 0 else x


def _bogacki_shampine(denoise: Denoise, x: Tensor, at: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """One step of dx/dl = D - x of a length for each example: (third order, its error by the second)."""

    def slope(point: Tensor, share: float) -> Tensor:
        return denoise(point, torch.exp(-(at + share * h)).to(point.dtype)) - point

    step = h.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    k1 = slope(x, 0.0)
    k2 = slope(x + 0.5 * step * k1, 0.5)
    k3 = slope(x + 0.75 * step * k2, 0.75)
    third = x + step * (2 * k1 + 3 * k2 + 4 * k3) / 9
    k4 = slope(third, 1.0)
    return third, step * (-5 * k1 + 6 * k2 + 8 * k3 - 9 * k4) / 72


def _steps(levels: Tensor) -> list[tuple[float, float]]:
    known = cast("list[float]", levels.double().tolist())  # pyright: ignore
    if len(known) < 2 or not all(now > 0 for now in known[:-1]) or any(math.isnan(s) for s in known):
        raise ValueError(f"levels must be two or more, positive but for the last; got {known[:4]}")
    return list(pairwise(known))


def _at(level: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), level, dtype=x.dtype, device=x.device)
