"""Random Fourier features: what lets a network of smooth layers see detail (Tancik et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng


@dataclass(frozen=True, kw_only=True)
class Fourier:
    """Sines and cosines of ``count`` random projections, set beside the values themselves.

    scale  standard deviation of the projections' weights: about one over the length of the finest detail, in units of
           the values' own spread. Larger ones see finer detail and generalise less.
    """

    count: int = 32
    scale: float = 4.0

    def __post_init__(self) -> None:
        if self.count < 1 or not self.scale > 0:
            raise ValueError(f"Fourier needs count of at least 1 and scale above 0; got {self.count} and {self.scale}")

    def build(self, size: int) -> FourierFeatures:
        """The layer for vectors of this size."""
        return FourierFeatures(size, self)


class FourierFeatures(nn.Module):
    """x (b, size) -> (b, outputs): x, sin(x W), cos(x W), with W fixed, N(0, scale^2) (Tancik et al. 2020, eq. 5)."""

    frequencies: Tensor

    def __init__(self, size: int, settings: Fourier) -> None:
        super().__init__()
        self.size, self.scale, self.outputs = size, settings.scale, size + 2 * settings.count
        self.register_buffer("frequencies", torch.empty(size, settings.count))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Draw the projections; they are not learned."""
        self.frequencies.copy_(self.scale * rng("frequencies").normal(self.frequencies.shape))

    def forward(self, x: Tensor) -> Tensor:
        angles = x @ self.frequencies
        return torch.cat([x, angles.sin(), angles.cos()], dim=1)
