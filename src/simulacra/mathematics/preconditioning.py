"""What a network is shown and asked for: D(x, s) = c_skip x + c_out F(c_in x, c_noise), an estimate of the clean x_0.

x = x_0 + s n at noise level s. Every parameterisation in use is a choice of the four coefficients (Karras et al. 2022,
eq. 7 and table 1), and every training loss a weight on |D - x_0|^2; both are functions of s and of the data's standard
deviation ``data``, handed to a model as such.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from simulacra.mathematics import paths


class Coefficients(NamedTuple):
    """c_skip, c_out, c_in and c_noise at each noise level, of the levels' shape."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


Preconditioning = Callable[[Tensor, Tensor], Coefficients]  # (s, data) -> coefficients
Weighting = Callable[[Tensor, Tensor], Tensor]  # (s, data) -> weight of |D - x_0|^2
Levels = Callable[[Tensor, Tensor], Tensor]  # (uniform shares in [0, 1), data) -> the levels s to train at


def edm(level: Tensor, data: Tensor) -> Coefficients:
    """Input and target of unit variance at every level: Karras et al. 2022, table 1 and appendix B.6."""
    total = level.square() + data.square()
    return Coefficients(data.square() / total, level * data / total.sqrt(), total.rsqrt(), level.log() / 4)


def epsilon(level: Tensor, data: Tensor) -> Coefficients:
    """F predicts the noise n from x / sqrt(1 + s^2), as on a variance-preserving path: Ho et al. 2020, eq. 11-12."""
    return Coefficients(torch.ones_like(level), -level, (1 + level.square()).rsqrt(), level.log() / 4)


def clean(level: Tensor, data: Tensor) -> Coefficients:
    """F predicts the clean x_0 itself: Salimans & Ho 2022, section 4."""
    into = (1 + level.square()).rsqrt()
    return Coefficients(torch.zeros_like(level), torch.ones_like(level), into, level.log() / 4)


def v(level: Tensor, data: Tensor) -> Coefficients:
    """F predicts alpha n - sigma x_0 with alpha^2 + sigma^2 = 1: Salimans & Ho 2022, section 4."""
    alpha = (1 + level.square()).rsqrt()
    return Coefficients(alpha.square(), -level * alpha, alpha, level.log() / 4)


def velocity(level: Tensor, data: Tensor) -> Coefficients:
    """F predicts n - x_0 from (1 - t) x_0 + t n, t = s / (1 + s): Liu et al. 2023, eq. 1."""
    into = 1 / (1 + level)
    return Coefficients(into, -level * into, into, level.log() / 4)


def per_target(preconditioning: Preconditioning) -> Weighting:
    """1 / c_out^2: the network's own target counts the same at every level (lambda of Karras et al. 2022, table 1)."""

    def weighting(level: Tensor, data: Tensor) -> Tensor:
        return preconditioning(level, data).out.square().reciprocal()

    return weighting


def uniform_edm(level: Tensor, data: Tensor) -> Tensor:
    """(s^2 + d^2) / (s d)^2: lambda c_out^2 = 1 for the ``edm`` coefficients, Karras et al. 2022, table 1."""
    return (level.square() + data.square()) / (level * data).square()


def uniform_epsilon(level: Tensor, data: Tensor) -> Tensor:
    """1 / s^2: the squared error of the noise, Ho et al. 2020, eq. 14."""
    return level.square().reciprocal()


def uniform_velocity(level: Tensor, data: Tensor) -> Tensor:
    """((1 + s) / s)^2: the squared error of the velocity n - x_0 (Lipman et al. 2023, eq. 23)."""
    return (1 + 1 / level).square()


def min_snr(level: Tensor, data: Tensor) -> Tensor:
    """min(1 / s^2, 5 / d^2): the noise's error, the signal-to-noise ratio clipped at 5 (Hang et al. 2023, sec. 3.4)."""
    return torch.minimum(level.square().reciprocal(), 5 / data.square())  # gamma = 5, their section 4


def soft_min_snr(level: Tensor, data: Tensor) -> Tensor:
    """1 / (s^2 + d^2): a clipping without a corner (Crowson et al. 2024, "Scalable high-resolution pixel-space")."""
    return (level.square() + data.square()).reciprocal()


def quantile(share: Tensor) -> Tensor:
    """Standard normal quantiles of shares in [0, 1) that are multiples of 2**-24: finite, as half a step is added."""
    # in float32 the largest share and half a step would round to 1
    return (math.sqrt(2) * torch.erfinv(2 * (share.double() + 2.0**-25) - 1)).to(share.dtype)


@dataclass(frozen=True, kw_only=True)
class LogNormal:
    """Trained at levels with log s ~ N(mean, spread^2), for data of deviation 1/2: Karras et al. 2022, table 1.

    For data of another deviation d all levels are 2 d times as high, which leaves the network's task as it was.
    """

    mean: float = -1.2
    spread: float = 1.2

    def __call__(self, share: Tensor, data: Tensor) -> Tensor:
        return (self.mean + self.spread * quantile(share)).exp() * (2 * data)


@dataclass(frozen=True, kw_only=True)
class AlongPath:
    """Trained at the levels of a path at uniform times in [first, last] (``mathematics.paths``)."""

    path: paths.Path
    first: float = 1e-3
    last: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.first < self.last < 1:
            raise ValueError(
                f"times need 0 < first < last < 1; got {self.first} and {self.last}: at the ends of a path nothing is"
                " left of the noise or of the data (zero terminal signal-to-noise ratio), and nothing to be learnt"
            )

    def __call__(self, share: Tensor, data: Tensor) -> Tensor:
        return paths.level(self.path, self.first + (self.last - self.first) * share)
