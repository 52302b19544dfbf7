"""Mean and covariance of rows that come in parts: from batches, from processes, merged exactly.

    S_ab = S_a + S_b + n_a n_b / n (m_a - m_b)(m_a - m_b)^T           Chan, Golub & LeVeque 1983, eq. 2.1

Scatter matrices are held by their lower triangles (``symmetric``), in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from simulacra.mathematics.frechet import frechet_distance_of_moments
from simulacra.mathematics.symmetric import covariance


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Number, mean (d,) and scatter (d, d) of the rows seen: the sum of outer products of the centred rows."""

    count: int
    mean: Float[Tensor, " d"]
    scatter: Float[Tensor, "d d"]

    @staticmethod
    def of(rows: Float[Tensor, "n d"]) -> Moments:
        """Those of some rows, one or more."""
        if len(rows) < 2:
            mean = rows.double().sum(0)
            return Moments(count=len(rows), mean=mean, scatter=mean.new_zeros(len(mean), len(mean)))
        mean, cov = covariance(rows)
        return Moments(count=len(rows), mean=mean, scatter=cov * (len(rows) - 1))

    def merge(self, other: Moments) -> Moments:
        """Those of the rows of both. ValueError where they count different features."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {len(self.mean)} and of {len(other.mean)} features cannot be merged: use one extractor"
            )
        n = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        apart = other.mean - self.mean
        return Moments(
            count=n,
            mean=self.mean + apart * (other.count / n),
            scatter=self.scatter + other.scatter + (self.count * other.count / n) * torch.outer(apart, apart).tril(),
        )

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Lower triangle of the covariance, divisor n - 1. ValueError for fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 examples; got {self.count}")
        return self.scatter / (self.count - 1)


def frechet_between(a: Moments, b: Moments) -> float:
    """Frechet distance of two sets of rows of which only the moments were kept."""
    return frechet_distance_of_moments(a.mean, a.covariance, b.mean, b.covariance)
