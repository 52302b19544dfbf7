"""What the covariances of several normals may be, fitted to moments: an object each, to be passed to a mixture.

Each shrinks by ``prior`` rows' worth of the average variances, so that a component of few rows stays a density: the
posterior mode under an inverse-Wishart prior but for the constant (Fraley & Raftery 2007, section 3).
"""

# torch.linalg comes without types
# pyright: basic
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from simulacra.mathematics import gaussians
from simulacra.mathematics.gaussians import Moments, Normals

SWEEPS = 30  # between loadings and what is left, in each fit of factors
FLOOR = 1e-6  # of variances, in units of the data's own


@runtime_checkable
class Covariances(Protocol):
    """How the covariances of k normals of d coordinates are kept, fitted and counted."""

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """Extents of the tensor that holds them."""
        ...

    def normals(self, mean: Tensor, spread: Tensor) -> Normals:
        """The normals of means (k, d) and that tensor."""
        ...

    def fit(self, moments: Moments) -> Tensor:
        """That tensor, fitted to moments whose squares are as ``normals`` give them."""
        ...

    def parameters(self, k: int, d: int) -> int:
        """How many numbers are free in it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Full:
    """Any covariance, each component its own."""

    prior: float = 1.0

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def normals(self, mean: Tensor, spread: Tensor) -> Normals:
        return gaussians.Dense(mean, spread)

    def fit(self, moments: Moments) -> Tensor:
        return shrunk(moments, self.prior)

    def parameters(self, k: int, d: int) -> int:
        return k * d * (d + 1) // 2


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Any covariance, the same for all components."""

    prior: float = 1.0

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def normals(self, mean: Tensor, spread: Tensor) -> Normals:
        return gaussians.Dense(mean, spread)

    def fit(self, moments: Moments) -> Tensor:
        share = (moments.weight / moments.weight.sum())[:, None, None]
        together = (share * moments.square).sum(0, keepdim=True)
        whole = Moments(moments.weight.sum()[None], moments.mean[:1], together)
        return shrunk(whole, self.prior).expand_as(moments.square).clone()

    def parameters(self, k: int, d: int) -> int:
        return d * (d + 1) // 2


@dataclass(frozen=True, kw_only=True)
class Independent:
    """Variances only: coordinates are independent within a component."""

    prior: float = 1.0

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d)

    def normals(self, mean: Tensor, spread: Tensor) -> Normals:
        return gaussians.Diagonal(mean, spread)

    def fit(self, moments: Moments) -> Tensor:
        n, average = moments.weight[:, None], _average(moments, moments.square)
        return ((n * moments.square + self.prior * average) / (n + self.prior)).clamp_min(FLOOR)

    def parameters(self, k: int, d: int) -> int:
        return k * d


@dataclass(frozen=True, kw_only=True)
class Factors:
    """A few factors and independent noise, W W^T + Psi: a mixture of factor analysers (Ghahramani & Hinton 1996).

    rank   number of factors of each component.
    """

    rank: int = 4
    prior: float = 1.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"a covariance of factors needs at least one; got rank={self.rank}")

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def normals(self, mean: Tensor, spread: Tensor) -> Normals:
        return gaussians.Dense(mean, spread)

    def fit(self, moments: Moments) -> Tensor:
        """Maximum likelihood: given the noise the loadings are a scaled eigenvalue problem (Lawley & Maxwell 1971)."""
        square = shrunk(moments, self.prior)
        total = square.diagonal(dim1=1, dim2=2)
        noise, common = 0.5 * total, torch.zeros_like(square)
        for _ in range(SWEEPS):
            root = noise.sqrt()
            values, axes = torch.linalg.eigh(square / root[:, :, None] / root[:, None])
            values, axes = values[:, -self.rank :], axes[:, :, -self.rank :]
            loadings = root[:, :, None] * axes * (values - 1).clamp_min(0).sqrt()[:, None]
            common = loadings @ loadings.mT
            noise = (total - common.diagonal(dim1=1, dim2=2)).maximum(0.005 * total)  # a noise of nothing is no density
        return common + noise.diag_embed()

    def parameters(self, k: int, d: int) -> int:
        rank = min(self.rank, d)
        return k * (d * (rank + 1) - rank * (rank - 1) // 2)


def shrunk(moments: Moments, prior: float) -> Tensor:
    """Covariances (k, d, d) of that many rows more, which have the components' average variances and nothing common."""
    n, average = moments.weight[:, None, None], _average(moments, moments.square).diagonal(dim1=1, dim2=2)
    found = (n * moments.square + prior * average.diag_embed()) / (n + prior)
    return found + FLOOR * torch.eye(found.shape[1], dtype=found.dtype, device=found.device)


def _average(moments: Moments, square: Tensor) -> Tensor:
    share = (moments.weight / moments.weight.sum()).reshape(-1, *[1] * (square.ndim - 1))
    return (share * square).sum(0, keepdim=True)
