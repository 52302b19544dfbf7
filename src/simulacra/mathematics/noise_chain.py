"""The discrete chain of noise levels that DDPM is written in, beside the levels s that all else is a function of.

Step t = 0 .. count-1 keeps the share abar_t = prod_{i <= t} (1 - beta_i) of the signal's variance (Ho et al. 2020,
eq. 4): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) n, which is sqrt(abar_t) (x_0 + s_t n) at the level
s_t = sqrt((1 - abar_t) / abar_t). Between two steps log s is taken as linear in t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

Betas = Callable[[int, float, float], Tensor]  # (count, first, last) -> beta of every step, float64
NEAR = 1e-3  # of a step: c_noise in float32 tells steps apart to about 3e-5


def linear(count: int, first: float, last: float) -> Tensor:
    """Evenly spaced betas: Ho et al. 2020, section 4."""
    return torch.linspace(first, last, count, dtype=torch.float64)


def root_linear(count: int, first: float, last: float) -> Tensor:
    """Betas whose roots are evenly spaced: Rombach et al. 2022, released code."""
    return torch.linspace(math.sqrt(first), math.sqrt(last), count, dtype=torch.float64).square()


def squared_cosine(count: int, first: float, last: float) -> Tensor:
    """abar_t = cos^2(pi / 2 (t + 0.008) / 1.008), no beta above 0.999: Nichol & Dhariwal 2021, eq. 17."""
    t = torch.arange(count + 1, dtype=torch.float64) / count
    share = ((t + 0.008) / 1.008 * math.pi / 2).cos().square()
    return (1 - share[1:] / share[:-1]).clamp(max=0.999)


@dataclass(frozen=True, kw_only=True)
class NoiseChain:
    """A chain of ``count`` steps; as a function it is the clock of a network that was trained on it.

    betas        their course; first and last are its ends where it has such (``squared_cosine`` does not).
    """

    betas: Betas = linear
    count: int = 1000
    first: float = 1e-4  # Ho et al. 2020, section 4
    last: float = 0.02

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"a chain needs at least 2 steps; got {self.count}")
        if not 0 < self.first <= self.last < 1:
            raise ValueError(f"betas need 0 < first <= last < 1; got {self.first} and {self.last}")

    def level(self, t: Tensor) -> Tensor:
        """s at times t in [0, count - 1], whole or between two steps."""
        logs = _logs(self).to(t)
        below = t.floor().clamp(0, self.count - 2)
        index = below.long()
        return torch.lerp(logs[index], logs[index + 1], t - below).exp()

    def __call__(self, noise: Tensor) -> Tensor:
        """c_noise = log(s) / 4 -> the time t at which the chain has the level s, in [0, count - 1].

        Levels of the chain's own give whole numbers, which the rounding of c_noise would miss by a little.
        """
        logs = _logs(self).to(noise)
        wanted = (4 * noise).contiguous()
        above = torch.searchsorted(logs, wanted).clamp(1, self.count - 1)
        low, high = logs[above - 1], logs[above]
        t = (above - 1 + (wanted - low) / (high - low)).clamp(0, self.count - 1)
        return torch.where((t - t.round()).abs() < NEAR, t.round(), t)


@dataclass(frozen=True, kw_only=True)
class AlongChain:
    """Trained at the levels of a chain at uniform times: Ho et al. 2020, algorithm 1, with times between the steps."""

    chain: NoiseChain = NoiseChain()

    def __call__(self, share: Tensor, data: Tensor) -> Tensor:
        return self.chain.level(share * (self.chain.count - 1))


def unchanged(noise: Tensor) -> Tensor:
    """The clock of a network that is shown c_noise itself: Karras et al. 2022, table 1."""
    return noise


@lru_cache(maxsize=16)
def _logs(chain: NoiseChain) -> Tensor:
    """log s_t of every step, float64 (count,)."""
    # in log(1 - beta), so that the share that is lost early is not rounded away
    kept = torch.log1p(-chain.betas(chain.count, chain.first, chain.last)).cumsum(0)
    return ((-torch.expm1(kept)).log() - kept) / 2
