"""Consistency functions: f(x, s) takes any point of a trajectory of the probability flow to where that ends, at once.

Song et al. 2023, "Consistency models": f is found by asking it to be the same at two neighbouring points of one
trajectory, ``far`` at the higher noise level and ``near`` at the lower, and to be the identity at the lowest level of
all. A curriculum says which two levels; how one gets from far to near is one step of the flow of a denoiser that is
known (distillation), or the same noise on the same example (training from data alone). Levels are those of x_0 + s n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from simulacra.mathematics.preconditioning import Coefficients, quantile
from simulacra.mathematics.solvers import Denoise


class Pair(NamedTuple):
    """Two noise levels of each example, near < far, (b,)."""

    near: Tensor
    far: Tensor


# (uniform shares in [0, 1) (b,), share of the run that is done (), deviation of the data (), lowest, highest level)
Curriculum = Callable[[Tensor, Tensor, Tensor, float, float], Pair]
Stride = Callable[[Denoise, Tensor, Pair], Tensor]  # (denoise, x (b, *event) at far, levels) -> x at near


def anchored(c: Coefficients, level: Tensor, low: float) -> Coefficients:
    """Coefficients of x + (low - s) / s (x - D): the flow from s to ``low`` in one straight step along a denoiser's.

    At s = low they are 1 and 0 exactly, so that f(x, low) = x whatever the network says (Song et al. 2023, eq. 5); a
    denoiser's network begins as the straight step. Kim et al. 2024, "Consistency trajectory models", section 3.1, with
    their g = D. With the ``edm`` coefficients c_out is that of Song et al. 2023, appendix C, itself.
    """
    kept = low / level
    return Coefficients(kept + (1 - kept) * c.skip, (1 - kept) * c.out, c.into, c.noise)


@dataclass(frozen=True, kw_only=True)
class Refining:
    """Neighbours on a grid of levels that grows finer by doublings: Song & Dhariwal 2024, sections 3.4 and 3.5.

    first, last   intervals of the grid, evenly spaced in s^(1 / 7), at the start and at the end; equal ones stay.
    mean, spread  log s ~ N(mean, spread^2) within the grid's ends, for data of deviation 1/2; cells are as likely as
                  they hold of that.
    """

    first: int = 10  # s_0 and s_1 of Song & Dhariwal 2024, table 1, and their noise schedule
    last: int = 1280
    mean: float = -1.1
    spread: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise ValueError(f"first and last need 1 <= first <= last; got {self.first} and {self.last}")

    def __call__(self, share: Tensor, fraction: Tensor, data: Tensor, low: float, high: float) -> Pair:
        # N(k) = min(s_0 2^floor(k / K'), s_1), K' a share of the training as long as every other
        stages = math.log2(self.last / self.first) + 1
        cells = (self.first * 2 ** (fraction.double() * stages).floor()).clamp(max=self.last)
        centre = self.mean + (2 * data.double()).log()
        wide = math.sqrt(2) * self.spread
        below, above = (torch.erf((math.log(end) - centre) / wide) for end in (low, high))
        within = below + (above - below) * (share.double() + 2.0**-25)  # half a step of the shares: never at an end
        level = (centre + wide * torch.erfinv(within)).exp()
        ends = low ** (1 / 7), high ** (1 / 7)  # rho = 7: Karras et al. 2022, eq. 5
        cell = ((level ** (1 / 7) - ends[0]) / (ends[1] - ends[0]) * cells).floor().clamp(min=0).minimum(cells - 1)
        near, far = ((ends[0] + (cell + side) / cells * (ends[1] - ends[0])) ** 7 for side in (0, 1))
        return Pair(near.to(share), far.to(share))


@dataclass(frozen=True, kw_only=True)
class Shrinking:
    """near = far (1 - n(far) / q^stage), n(s) = 1 + k sigmoid(-b s): Geng et al. 2024, "Consistency models made easy".

    The gap to the lower level shrinks from all of it, where f is taught as a denoiser is, to almost none. Their
    section 3.2 and appendix A; levels for data of deviation 1/2.

    q, k, b       how much a stage divides the gap by, and how much larger it is where there is little noise.
    stages        in which the training is divided.
    mean, spread  log s ~ N(mean, spread^2) of the farther level.
    """

    q: float = 2.0
    k: float = 8.0
    b: float = 1.0
    stages: int = 8
    mean: float = -1.1
    spread: float = 2.0

    def __post_init__(self) -> None:
        if not (self.q > 1 and self.k >= 0 and self.stages >= 1):
            raise ValueError(
                f"shrinking needs q > 1, k >= 0 and stages of at least 1; got {self.q}, {self.k} and {self.stages}"
            )

    def __call__(self, share: Tensor, fraction: Tensor, data: Tensor, low: float, high: float) -> Pair:
        scale = 2 * data.to(share)
        # twice the lowest level is the least: at the lowest there is nothing to learn
        far = ((self.mean + self.spread * quantile(share)).exp() * scale).clamp(2 * low, high)
        stage = (fraction * self.stages).floor().clamp(max=self.stages - 1) + 1
        gap = (1 + self.k * torch.sigmoid(-self.b * far / scale)) / self.q ** stage.to(share)
        return Pair((far * (1 - gap)).clamp(min=low), far)


def pseudo_huber(a: Tensor, b: Tensor, scale: float | Tensor) -> Tensor:
    """sqrt(|a - b|^2 + c^2) - c of each example, c = scale sqrt(its size), (b,): Song & Dhariwal 2024, section 3.3."""
    c = scale * math.sqrt(math.prod(a.shape[1:]))
    return ((a - b).square().flatten(1).sum(1) + c**2).sqrt() - c


def euler_stride(denoise: Denoise, x: Tensor, pair: Pair) -> Tensor:
    """One straight step of the flow, each example between levels of its own: first order, one look."""
    return x + _wide(pair.near - pair.far, x) * _slope(denoise, x, pair.far)


def heun_stride(denoise: Denoise, x: Tensor, pair: Pair) -> Tensor:
    """One step of Heun's method: second order, two looks (Karras et al. 2022, algorithm 1)."""
    slope, gap = _slope(denoise, x, pair.far), _wide(pair.near - pair.far, x)
    return x + 0.5 * gap * (slope + _slope(denoise, x + gap * slope, pair.near))


def _slope(denoise: Denoise, x: Tensor, level: Tensor) -> Tensor:
    return (x - denoise(x, level.to(x.dtype))) / _wide(level, x)


def _wide(level: Tensor, like: Tensor) -> Tensor:
    return level.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
