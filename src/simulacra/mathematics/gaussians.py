"""Several normals at once, of points of which only some coordinates are seen: densities, conditionals, moments.

Everything follows from one matrix a pattern of what is seen, S with unseen rows and columns replaced by the identity's:
its Cholesky factor gives the density of what is seen, and G = S[:, o] S[o, o]^-1 the regression of all on what is seen,

    E[u | u_o] = mean + G (u_o - mean_o),      Cov[u | u_o] = S - G S[o, :]          (Bishop 2006, eqs. 2.81, 2.82)

A coordinate may be known to lie in a cell only, uniformly around the value that is given: ``cells`` holds the variances
of those places, 0 for coordinates that are known exactly. Then densities are E log N(u), by Jensen a lower bound of the
log of the mean density.
"""

# torch.linalg comes without types
# pyright: basic
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)
NUMBERS = 1 << 22  # of a batch of matrices at a time: 32 MiB in float64


@dataclass(frozen=True)
class Moments:
    """What k normals are fitted to: weights (k,), means (k, d) and mean squares around them, (k, d) or (k, d, d)."""

    weight: Tensor
    mean: Tensor
    square: Tensor


@runtime_checkable
class Normals(Protocol):
    """k normals of d coordinates. u (b, d) holds anything where ``seen`` (b, d) is False, NaN excepted."""

    @property
    def mean(self) -> Tensor: ...

    def log_prob(self, u: Tensor, seen: Tensor, cells: Tensor) -> Tensor:
        """E log density of what is seen under each, nats (b, k); cells (d,)."""
        ...

    def expected(self, u: Tensor, seen: Tensor, share: Tensor, cells: Tensor) -> Moments:
        """The moments of u given what is seen, rows weighted by their share of each normal, (b, k)."""
        ...

    def draw(self, which: Tensor, noise: Tensor) -> Tensor:
        """A point of the normal numbered by each row, (b,), made of standard normal noise (b, d)."""
        ...

    def complete(self, u: Tensor, seen: Tensor, which: Tensor, noise: Tensor) -> Tensor:
        """u with what is unseen drawn from the conditional of the normal numbered by each row; exact."""
        ...

    def mean_given(self, u: Tensor, seen: Tensor) -> Tensor:
        """E[u | what is seen] under each, (b, k, d)."""
        ...


@dataclass(frozen=True)
class Diagonal:
    """Normals of independent coordinates: mean and variance (k, d)."""

    mean: Tensor
    variance: Tensor

    def log_prob(self, u: Tensor, seen: Tensor, cells: Tensor) -> Tensor:
        precision, s = 1 / self.variance, seen.to(u.dtype)
        u = torch.where(seen, u, 0.0)
        # |u - m|^2 / v summed over what is seen, as three products of matrices: (b, k, d) never exists
        square = (u.square() + cells * s) @ precision.T - 2 * u @ (self.mean * precision).T
        square = square + s @ (self.mean.square() * precision + self.variance.log() + LOG_TWO_PI).T
        return -0.5 * square

    def expected(self, u: Tensor, seen: Tensor, share: Tensor, cells: Tensor) -> Moments:
        s = seen.to(u.dtype)
        u, count = torch.where(seen, u, 0.0), share.sum(0)
        here = share.T @ s  # how many of each normal's rows have seen a coordinate
        first = share.T @ u + (count[:, None] - here) * self.mean
        second = share.T @ (u.square() + s * cells) + (count[:, None] - here) * (self.mean.square() + self.variance)
        mean = first / count[:, None].clamp_min(1e-300)
        return Moments(count, mean, second / count[:, None].clamp_min(1e-300) - mean.square())

    def draw(self, which: Tensor, noise: Tensor) -> Tensor:
        return self.mean[which] + self.variance[which].sqrt() * noise

    def complete(self, u: Tensor, seen: Tensor, which: Tensor, noise: Tensor) -> Tensor:
        return torch.where(seen, u, self.draw(which, noise))

    def mean_given(self, u: Tensor, seen: Tensor) -> Tensor:
        return torch.where(seen[:, None], u[:, None], self.mean)


@dataclass(frozen=True)
class Dense:
    """Normals of any covariance: mean (k, d), covariance (k, d, d)."""

    mean: Tensor
    covariance: Tensor

    def log_prob(self, u: Tensor, seen: Tensor, cells: Tensor) -> Tensor:
        found = u.new_empty(len(u), len(self.mean))
        for at, there in patterns(seen, self.covariance.numel()):
            factor = self._factor(there)
            rest = torch.where(there[:, None, None], u[at][:, :, None] - self.mean, 0.0)  # (c, r, k, d)
            solved = torch.linalg.solve_triangular(factor, rest.permute(0, 2, 3, 1), upper=False)
            constant = (
                2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) + there.sum(1).to(u.dtype)[:, None] * LOG_TWO_PI
            )
            if bool(cells.any()):
                precision = torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1)
                constant = constant + (precision * (cells * there)[:, None]).sum(-1)
            found[at] = -0.5 * (solved.square().sum(-2) + constant[..., None]).transpose(1, 2)
        return found

    def expected(self, u: Tensor, seen: Tensor, share: Tensor, cells: Tensor) -> Moments:
        k, d = self.mean.shape
        count, first, second = share.sum(0), u.new_zeros(k, d), u.new_zeros(k, d, d)
        for at, there in patterns(seen, self.covariance.numel()):
            gain, left = self._regression(there)
            weight = share[at].transpose(1, 2)  # (c, k, r)
            full = self._means(u[at], there, gain)
            first += (full * weight[:, :, None]).sum((0, 3))
            weighted = full * weight[:, :, None]
            second += torch.einsum("ckir,ckjr->kij", weighted, full)
            spread = left + (gain * (cells * there)[:, None, None]) @ gain.mT
            second += (spread * weight.sum(2)[..., None, None]).sum(0)
        mean = first / count[:, None].clamp_min(1e-300)
        square = second / count[:, None, None].clamp_min(1e-300) - mean[:, :, None] * mean[:, None]
        return Moments(count, mean, (square + square.mT) / 2)

    def draw(self, which: Tensor, noise: Tensor) -> Tensor:
        factor, found = torch.linalg.cholesky(self.covariance), torch.empty_like(noise)
        for k in which.unique().tolist():
            rows = which == k
            found[rows] = self.mean[k] + noise[rows] @ factor[k].T
        return found

    def complete(self, u: Tensor, seen: Tensor, which: Tensor, noise: Tensor) -> Tensor:
        # a draw of all coordinates, moved by the regression on what it missed of those that are seen (Matheron's rule)
        drawn = self.draw(which, noise)
        found = torch.empty_like(u)
        for k in which.unique().tolist():
            rows = (which == k).nonzero()[:, 0]
            one = Dense(self.mean[k : k + 1], self.covariance[k : k + 1])
            for at, there in patterns(seen[rows], one.covariance.numel()):
                at = rows[at]
                gain, _ = one._regression(there)
                missed = torch.where(there[:, None], u[at] - drawn[at], 0.0)
                found[at] = drawn[at] + missed @ gain[:, 0].mT
        return torch.where(seen, u, found)

    def mean_given(self, u: Tensor, seen: Tensor) -> Tensor:
        found = u.new_empty(len(u), *self.mean.shape)
        for at, there in patterns(seen, self.covariance.numel()):
            found[at] = self._means(u[at], there, self._regression(there)[0]).permute(0, 3, 1, 2)
        return torch.where(seen[:, None], u[:, None], found)

    def _means(self, u: Tensor, there: Tensor, gain: Tensor) -> Tensor:
        """E[u | what is seen], (c, k, d, r), of r rows of each of c patterns, u (c, r, d)."""
        rest = torch.where(there[:, None, None], u[:, :, None] - self.mean, 0.0).permute(0, 2, 3, 1)
        return self.mean[..., None] + gain @ rest

    def _factor(self, there: Tensor) -> Tensor:
        """Cholesky factors (c, k, d, d) of the covariances, the identity where something is unseen."""
        both = there[:, None, :, None] & there[:, None, None, :]
        one = torch.eye(there.shape[1], dtype=self.mean.dtype, device=there.device)
        return torch.linalg.cholesky(torch.where(both, self.covariance, one))

    def _regression(self, there: Tensor) -> tuple[Tensor, Tensor]:
        """G and the covariance that is left, (c, k, d, d) each."""
        across = torch.where(there[:, None, :, None], self.covariance, 0.0)  # S[o, :], zero rows elsewhere
        gain = torch.cholesky_solve(across, self._factor(there)).mT
        return gain, self.covariance - gain @ across


def patterns(seen: Tensor, numbers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows in parts, by what is seen of them: their numbers, int64 (c, r), and what r of each have seen, bool (c, d).

    Where rows are mostly alike, one pattern after another; where they are mostly unlike, many rows at once, each
    as a pattern of its own. numbers: how many a pattern's matrices hold.
    """
    if not len(seen):
        return
    different, inverse = seen.unique(dim=0, return_inverse=True)
    if 4 * len(different) > len(seen):
        for part in torch.arange(len(seen), device=seen.device).split(max(1, NUMBERS // max(numbers, 1))):
            yield part[:, None], seen[part]
        return
    order = inverse.argsort(stable=True)
    for number, rows in enumerate(order.split(inverse.bincount(minlength=len(different)).tolist())):
        for part in rows.split(max(1, NUMBERS // max(seen.shape[1], 1))):
            yield part[None], different[number : number + 1]
