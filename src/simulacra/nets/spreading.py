"""Learnt and noisy ways of spreading pictures over points: settings that build a ``Dequantiser`` for a field.

``Variational`` learns where in its cell a value is best put, q(u | x), so that the density need not be flat there; it
tightens the bound (Ho et al. 2019, Flow++, section 3.1). ``Noisy`` adds Gaussian noise that may leave the cell, which
smooths what is learnt (Zhai et al. 2024, TarFlow); what bounds log P(x) then also tells the level back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous
from simulacra.mathematics.divergences import log_normal
from simulacra.nets.dequantise import Dequantiser
from simulacra.nets.invertible import Affine
from simulacra.nets.picture_flow import soft_clip

EDGE = 12.0  # the largest logit of a place: 6e-6 of a cell's width from its end


@dataclass(frozen=True, kw_only=True)
class Variational:
    """Where in its cell a pixel is put depends on the picture, by a flow of couplings between chequered pixels.

    steps  couplings, alternating between the two colours of the board.
    width  channels of their networks.
    """

    steps: int = 4
    width: int = 32

    def __post_init__(self) -> None:
        if min(self.steps, self.width) < 1:
            raise ValueError(f"steps and width must be at least 1; got {self.steps} and {self.width}")

    def __call__(self, f: Continuous) -> Dequantiser:
        """A module for pictures of this field; ValueError where it has no levels."""
        return Places(f, self)


class Places(nn.Module):
    """q(u | x): u = sigmoid(e), softly short of the ends, e from N(0, I) by couplings that see the picture x."""

    board: Tensor

    def __init__(self, f: Continuous, setting: Variational) -> None:
        super().__init__()
        if f.levels is None:
            raise ValueError("pictures without levels have no cells to be spread over; use uniformly")
        channels, height, width = f.shape
        self.couplings = nn.ModuleList(Affine(2 * channels, channels, setting.width, 0) for _ in range(setting.steps))
        board = (torch.arange(height)[:, None] + torch.arange(width)) % 2
        self.register_buffer("board", board[..., None].to(torch.get_default_dtype()), persistent=False)

    def forward(self, f: Continuous, index: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Level indices (b, c, h, w) -> u in (0, 1), alike, and log q(u | index), nats (b,)."""
        e = rng.normal(index.shape, dtype=index.dtype, device=index.device)
        log_q = log_normal(e).flatten(1).sum(1)
        x = (2 * index / ((f.levels or 2) - 1) - 1).permute(0, 2, 3, 1)
        e = e.permute(0, 2, 3, 1)
        for number, affine in enumerate(self.couplings):
            seen = self.board if number % 2 else 1 - self.board
            shift, log_scale = affine(torch.cat([x, e * seen], dim=-1), None)
            log_scale = log_scale * (1 - seen)
            e = e * torch.exp(log_scale) + shift * (1 - seen)
            log_q = log_q - log_scale.flatten(1).sum(1)
        e = e.permute(0, 3, 1, 2)
        place = soft_clip(e, EDGE)
        # log of the slopes of the clip, sech^2, and of the sigmoid
        away = (e / EDGE).abs()
        slopes = 2 * (math.log(2) - away - F.softplus(-2 * away)) + F.logsigmoid(place) + F.logsigmoid(-place)
        return torch.sigmoid(place), log_q - slopes.flatten(1).sum(1)


@dataclass(frozen=True, kw_only=True)
class Noisy:
    """Gaussian noise of one deviation, in the field's own units. It needs a chart without ends (``Standardised``).

    With v = x + sigma e and any P(x | v), log P(x) >= E [log p(v) + log P(x | v) - log N(v; x, sigma^2)]; here P(x | v)
    is the share of N(v, sigma^2), cut to the range, that lies in the cell of x.
    """

    sigma: float = 0.05  # Zhai et al. 2024, for ImageNet 64x64 in [-1, 1]

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive; got {self.sigma}")

    def __call__(self, f: Continuous) -> Dequantiser:
        """A noise for pictures of this field; ValueError where it has no levels."""
        if f.levels is None:
            raise ValueError("pictures without levels are points already; use uniformly")
        return Noise(self.sigma)


@dataclass(frozen=True)
class Noise:
    """What ``Noisy`` builds."""

    sigma: float

    def __call__(self, f: Continuous, index: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Level indices (b, c, h, w) -> u, alike, cells being 1 wide, and log q(u | index) - log P(index | u), (b,)."""
        e = rng.normal(index.shape, dtype=index.dtype, device=index.device)
        sigma = self.sigma / f.spacing
        # in float64: the shares are differences of a distribution function
        v, x = (index + sigma * e).double(), index.double()
        told = _share(x - 0.5, x + 0.5, v, sigma) - _share(-0.5, (f.levels or 2) - 0.5, v, sigma)
        log_q = log_normal(e) - math.log(sigma)
        return 0.5 + sigma * e, (log_q - told.to(log_q.dtype)).flatten(1).sum(1)


def _share(low: Tensor | float, high: Tensor | float, mean: Tensor, sigma: float) -> Tensor:
    """log P(low < N(mean, sigma^2) < high), taken on whichever side of the mean the interval lies."""
    a, b = (low - mean) / sigma, (high - mean) / sigma
    a, b = torch.where(a + b > 0, -b, a), torch.where(a + b > 0, -a, b)
    return (torch.special.ndtr(b) - torch.special.ndtr(a)).log()
