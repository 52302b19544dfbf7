"""Paths from data to noise, x_t = alpha(t) x_0 + sigma(t) n with n ~ N(0, I), t from 0 (data) to 1 (noise).

All of them are one process in other units: divided by alpha, x_t / alpha = x_0 + s n with the noise level
s = sigma / alpha. Solvers, guidance and likelihoods work in s (``mathematics.solvers``); a path says at which levels a
model is trained and sampled, and what its network is shown. Kingma et al. 2021, "Variational diffusion models",
section 3.3 and appendix B (equivalence); Karras et al. 2022, "Elucidating the design space", table 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Path(Protocol):
    """alpha and sigma as functions of t, their derivatives, and the time at which a noise level is reached.

    Arguments and results are tensors of one shape, t in [0, 1]; sigma / alpha increases with t.
    """

    def alpha(self, t: Tensor) -> Tensor: ...

    def sigma(self, t: Tensor) -> Tensor: ...

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha / dt, d sigma / dt)."""
        ...

    def time(self, level: Tensor) -> Tensor:
        """The t with sigma(t) / alpha(t) = level, level >= 0."""
        ...


def level(path: Path, t: Tensor) -> Tensor:
    """The noise level s = sigma / alpha at time t; infinite where alpha is 0."""
    return path.sigma(t) / path.alpha(t)


@dataclass(frozen=True, kw_only=True)
class VariancePreserving:
    """alpha^2 + sigma^2 = 1, alpha = exp(-1/2 int_0^t beta), beta rising linearly: Song et al. 2021, eq. 32-33.

    The continuous limit of the linear schedule of Ho et al. 2020 (1e-4 to 0.02 in 1000 steps).
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min < self.beta_max:
            raise ValueError(f"beta_min must lie in (0, beta_max); got {self.beta_min} and {self.beta_max}")

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t.square()

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._integral(t))

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(-self._integral(t))).sqrt()

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, beta = self.alpha(t), self.beta_min + (self.beta_max - self.beta_min) * t
        return -0.5 * beta * alpha, 0.5 * beta * alpha.square() / self.sigma(t)

    def time(self, level: Tensor) -> Tensor:
        # int beta = log(1 + s^2): the positive root of a quadratic, in the form that does not cancel
        integral = torch.log1p(level.square())
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + (self.beta_min**2 + 2 * slope * integral).sqrt())


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): Salimans & Ho 2022, section 4, after Nichol & Dhariwal 2021.

    At t = 1 nothing of the data is left (zero terminal signal-to-noise ratio).
    """

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(0.5 * math.pi * t)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * t)

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -0.5 * math.pi * self.sigma(t), 0.5 * math.pi * self.alpha(t)

    def time(self, level: Tensor) -> Tensor:
        return torch.atan(level) * (2 / math.pi)


@dataclass(frozen=True, kw_only=True)
class VarianceExploding:
    """alpha = 1, sigma rising geometrically from sigma_min to sigma_max: Song et al. 2021, eq. 30."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"sigma_min must lie in (0, sigma_max); got {self.sigma_min} and {self.sigma_max}")

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), self.sigma(t) * math.log(self.sigma_max / self.sigma_min)

    def time(self, level: Tensor) -> Tensor:
        return (level / self.sigma_min).log() / math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True, kw_only=True)
class Rectified:
    """alpha = 1 - t, sigma = t, a straight line at constant speed: Liu et al. 2023; Lipman et al. 2023."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t.clone()

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)

    def time(self, level: Tensor) -> Tensor:
        # written so that an infinite level gives 1
        return 1 / (1 + 1 / level)
