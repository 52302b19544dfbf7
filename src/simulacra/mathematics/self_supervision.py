"""Losses that teach an encoder from two views of the same examples, without labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Vicreg:
    """Variance, invariance and covariance (Bardes, Ponce & LeCun 2022, eqs. 1 to 6), a mean over examples.

    Views of one example agree, every feature keeps a deviation of at least one, and no two features tell the same.
    Squared differences are averaged over features, so that the weights mean the same at every size.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    def __call__(self, a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        loss = self.invariance * (a - b).square().mean()
        for z in (a, b):
            centred = z - z.mean(0)
            deviation = (centred.square().sum(0) / (len(z) - 1) + 1e-4).sqrt()
            cov = centred.T @ centred / (len(z) - 1)
            beside = cov.square().sum() - cov.diagonal().square().sum()
            loss = loss + self.variance * F.relu(1 - deviation).mean() + self.covariance * beside / z.shape[1]
        return loss


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """SimCLR's normalised cross-entropy (Chen et al. 2020, eq. 1): each view finds its partner among all others."""

    temperature: float = 0.5

    def __call__(self, a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        n = len(a)
        z = F.normalize(torch.cat([a, b]), dim=1)
        alike = (z @ z.T / self.temperature).fill_diagonal_(-torch.inf)
        partner = torch.arange(2 * n, device=z.device).roll(n)
        return F.cross_entropy(alike, partner)
