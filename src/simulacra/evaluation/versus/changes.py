"""What is hidden of test examples and what is done to them, by the same draws at every strength."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.core.randomness import Rng


def at_random(x: Tensor, share: float, rng: Rng) -> Tensor:
    """Known, bool like x: of each example the same number of features hidden, chosen at random; never all of them."""
    flat = x.flatten(1)
    d = flat.shape[1]
    rank = rng.uniform(flat.shape, dtype=torch.float64).argsort(1).argsort(1)
    return (rank >= min(round(share * d), d - 1)).view(x.shape)


def lower_rows(x: Tensor, share: float, rng: Rng) -> Tensor:
    """Known, bool like pictures (n, c, h, w): the lowest rows hidden, two at a time; the top two are known."""
    height = x.shape[-2]
    rows = 2 * min(round(share * height / 2), (height - 1) // 2)
    known = torch.arange(height, device=x.device) < height - rows
    return known[:, None].expand_as(x).clone()


def ending(x: Tensor, share: float, rng: Rng) -> Tensor:
    """Known, bool like sequences (n, t): the last part hidden; the first symbol is known."""
    t = x.shape[1]
    return (torch.arange(t, device=x.device) < max(1, t - round(share * t))).expand_as(x).clone()


def flipped(x: Tensor, share: float, rng: Rng) -> Tensor:
    """Pictures of two levels 0 and 1, each pixel turned over with that probability."""
    return torch.where(rng.uniform(x.shape, dtype=torch.float64) < share, 1 - x, x)


def misspelt(symbols: int, x: Tensor, share: float, rng: Rng) -> Tensor:
    """Sequences of 0 .. symbols-1, each symbol with that probability drawn anew from all of them alike."""
    other = rng("other").integers(symbols, x.shape)
    return torch.where(rng("which").uniform(x.shape, dtype=torch.float64) < share, other, x)
