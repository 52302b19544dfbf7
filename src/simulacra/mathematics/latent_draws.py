"""Ways of drawing a batch of standard normal latents: independently, or spread evenly over their space.

A batch of independent latents holds more of some regions than of others by chance, and players that answer each other
take that chance for news. Even ones are each standard normal too, but as a batch they leave nowhere out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from simulacra.core.randomness import Rng

MOST = 8  # dimensions: beyond, a batch is too small to be even in all of them, and neighbouring multipliers too alike


@runtime_checkable
class Draw(Protocol):
    """(rng, (n, size)) -> n latents (n, size), each N(0, 1); row r depends on the rng and r, not on n."""

    def __call__(self, rng: Rng, shape: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> Tensor: ...


def independent(rng: Rng, shape: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Each row for itself."""
    return rng.normal(shape, dtype=dtype, device=device)


def even(rng: Rng, shape: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Normal quantiles of a Kronecker sequence, row r at frac(shift + r a), whose one random shift makes each uniform.

    The shift is Cranley & Patterson's (1976); a = (1/g, 1/g^2, ...), g the positive root of g^(size + 1) = g + 1: the
    golden ratio for one dimension, and what Roberts 2018 ("The unreasonable effectiveness of quasirandom sequences")
    takes for more. ValueError above 8 dimensions.
    """
    n, size = shape
    if size > MOST:
        raise ValueError(f"even latents have at most {MOST} dimensions; got {size}: use independent ones")
    row = torch.arange(rng.first, rng.first + n, dtype=torch.float64)[:, None]
    shift = Rng(rng.seed, rng.path).uniform((1, size), dtype=torch.float64)
    u = (shift + row * multipliers(size)).frac()
    # not 0 nor 1, whose quantiles are infinite
    return (math.sqrt(2) * torch.erfinv(2 * u.clamp(2.0**-32, 1 - 2.0**-32) - 1)).to(device=device, dtype=dtype)


def multipliers(size: int) -> Tensor:
    """(size,) float64: powers of the generalised golden ratio's inverse."""
    ratio = 1.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (size + 1))  # a contraction: its derivative is below 1 / 2
    return ratio ** -torch.arange(1, size + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Truncated:
    """Normal entries within [-bound, bound], as if those beyond had been drawn again: Brock et al. 2019, section 3.1.

    By inversion: each is one uniform number u, as the quantile at Phi(-bound) + u (Phi(bound) - Phi(-bound)).
    """

    bound: float

    def __post_init__(self) -> None:
        if not self.bound > 0:
            raise ValueError(f"a truncation must be positive; got {self.bound}: 0.5 to 2 trade variety for quality")

    def __call__(self, rng: Rng, shape: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        # erf(b / sqrt 2) = Phi(b) - Phi(-b); the middle of each of 2^24 cells, so that no end is reached
        u = rng.uniform(shape, dtype=torch.float64, device=device) + 2.0**-25
        inside = math.erf(self.bound / math.sqrt(2))
        return (math.sqrt(2) * torch.erfinv((2 * u - 1) * inside)).to(dtype)
