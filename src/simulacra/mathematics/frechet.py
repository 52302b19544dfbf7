"""Frechet distance between the Gaussians fitted to two feature sets, and how far chance moves it.

    F = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)            Dowson & Landau 1982; Heusel et al. 2017, eq. 6

The trace of the root is never taken from a matrix square root: with S1 = A1^T A1 and S2 = A2^T A2 it is the nuclear
norm of A1 A2^T, the A being centred features where rows are few; with S1 = L L^T it is the sum of roots of the
eigenvalues of the symmetric L^T S2 L. Roots of eigenvalues are taken where their rounding cannot be seen in the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from simulacra.mathematics.symmetric import cholesky, congruence, covariance, eigenvalues, square_sum

Features = Float[Tensor, "n d"]
OtherFeatures = Float[Tensor, "m d"]
linalg: Any = torch.linalg  # its functions carry no types
EPS = torch.finfo(torch.float64).eps
TOLERANCE = 1e-10  # of the distance: what the fast route may lose to rounding before the slower one is taken


@dataclass(frozen=True, kw_only=True)
class FrechetEstimate:
    """The distance of two samples, and of the distributions they come from.

    value     the plain distance of the samples' moments. Biased upwards, about in proportion to 1 / n.
    bias      what the second-order expansion says the samples' finite size added to it.
    limit     the distance of the distributions: value - bias, freed of the next order by halving the samples.
    variance  of the limit, to second order; it does not vanish when the distributions are equal.
    """

    value: float
    bias: float
    limit: float
    variance: float


def frechet_distance(x: Features, y: OtherFeatures) -> float:
    """Frechet distance of two feature arrays (n, d) and (m, d), in squared units of the features, float64 inside.

    Covariances have divisor n - 1. Needs at least two rows a side; ranks below d are no obstacle.
    """
    if min(len(x), len(y)) > x.shape[1]:
        (mx, sx), (my, sy) = covariance(x), covariance(y)
        fast = _by_cholesky(sx, sy, float((mx - my).square().sum() + sx.trace() + sy.trace()))
        if fast is not None:
            return fast
    (mx, cx), (my, cy) = _centred(x), _centred(y)
    between = float((mx - my).square().sum())
    a, b = _factor(cx), _factor(cy)
    return _by_factors(a, b, between + float(a.square().sum() + b.square().sum()))


def frechet_distance_of_moments(
    mean1: Float[Tensor, " d"], cov1: Float[Tensor, "d d"], mean2: Float[Tensor, " d"], cov2: Float[Tensor, "d d"]
) -> float:
    """Frechet distance of N(mean1, cov1) and N(mean2, cov2); semi-definite covariances are allowed."""
    cov1, cov2 = cov1.detach().double(), cov2.detach().double()
    fixed = float((mean1.double() - mean2.double()).square().sum() + cov1.trace() + cov2.trace())
    fast = _by_cholesky(cov1, cov2, fixed)
    if fast is not None:
        return fast
    return _by_factors(_root(cov1), _root(cov2), fixed)


def frechet_estimate(x: Features, y: OtherFeatures) -> FrechetEstimate:
    """The distance of the distributions that two samples come from, with its variance; rows in exchangeable order.

    F is expanded to second order in the two samples' moments (``_expand``). What that leaves, of the order of
    1 / n^2, is taken off by Richardson's rule: the halves made of every other row have it four times as large.
    Needs more than 2 d + 1 rows a side and covariances of full rank; ValueError otherwise.
    """
    n, m, d = len(x), len(y), x.shape[1]
    if min(n, m) < 2 * d + 2:
        raise ValueError(
            f"the sampling error of a Frechet distance needs at least {2 * d + 2} rows of d={d} a side; got {n} and {m}"
        )
    whole = _expand(x, y)
    halves = [_expand(x[i::2], y[i::2]) for i in (0, 1)]
    corrected = whole.value - whole.bias
    halved = sum(h.value - h.bias for h in halves) / 2
    return FrechetEstimate(
        value=whole.value, bias=whole.bias, limit=corrected - (halved - corrected) / 3, variance=whole.variance
    )


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the rows, and the rows less it, in float64."""
    x = x.double()
    mean = x.mean(0)
    return mean, x - mean


def _factor(centred: Tensor) -> Tensor:
    """A with A^T A the covariance, of at most d rows, none of them lost to the centring."""
    n, d = centred.shape
    if n > d:
        return linalg.qr(centred / math.sqrt(n - 1), mode="r").R
    # the reflection that takes (1, ..., 1) to the first axis leaves A^T A as it is and makes the first row nought
    return (centred[1:] + centred[0] / (math.sqrt(n) - 1)) / math.sqrt(n - 1)


def _root(cov: Tensor) -> Tensor:
    """A with A^T A = cov, for a covariance that Cholesky may refuse."""
    values, vectors = linalg.eigh(cov)
    # what lies below rounding of the largest eigenvalue is nought: its root would be far from small
    kept = values > len(cov) * EPS * values[-1].clamp(min=0)
    return values[kept].sqrt()[:, None] * vectors[:, kept].T


def _by_cholesky(cov1: Tensor, cov2: Tensor, fixed: float) -> float | None:
    """The distance from the eigenvalues of L^T S2 L, or None where rounding could be seen in it."""
    size = float((square_sum(cov1) * square_sum(cov2)).sqrt())
    lower = cholesky(cov1)
    if lower is None or not math.isfinite(size):
        return None
    return _from_squares(eigenvalues(congruence(lower, cov2)), size, fixed)


def _by_factors(a: Tensor, b: Tensor, fixed: float) -> float:
    """The distance from the singular values of A1 A2^T: by their squares where these suffice, else outright."""
    cross = a @ b.T
    gram = cross @ cross.T if len(a) <= len(b) else cross.T @ cross
    fast = _from_squares(linalg.eigvalsh(gram), float(cross.square().sum()), fixed)
    # singular values are off by no more than rounding of the largest, whatever the ranks
    return max(0.0, fixed - 2 * float(linalg.svdvals(cross).sum())) if fast is None else fast


def _from_squares(values: Tensor, size: float, fixed: float) -> float | None:
    """fixed - 2 sum of roots of eigenvalues of a matrix made of parts of this size; None where that is inexact."""
    # an eigenvalue is off by at most eps times the size, its root by that over twice the root
    rounding = EPS * size
    if not len(values) or not math.isfinite(rounding) or float(values[0]) <= rounding:
        return None
    roots = values.sqrt()
    value = fixed - 2 * float(roots.sum())
    return value if rounding * float((1 / roots).sum()) <= TOLERANCE * value else None


def _influence(centred: Tensor, transported: Tensor, slope: Tensor) -> Tensor:
    """First-order influence of each row on F, less its mean: (n,)."""
    return centred @ slope + centred.square().sum(1) - transported


def _spread(w: Tensor) -> Tensor:
    """Variance over rows of w_i w_j, (d, d)."""
    return (w.square().T @ w.square() / len(w) - (w.T @ w / len(w)).square()).clamp(min=0)


@dataclass(frozen=True, kw_only=True)
class _Expansion:
    value: float
    bias: float
    variance: float


def _expand(x: Tensor, y: Tensor) -> _Expansion:
    """F, its bias and its variance, from its first two derivatives at the samples' moments.

    First order: the influence of a point c = x - m1 is 2 (m1 - m2).c + c^T (I - T) c - tr (I - T) S1, where T is the
    linear optimal transport from N(m1, S1) to N(m2, S2). Second order, in the eigenbasis of M = A S1 A^T with
    S2 = A^T A, eigenvalues l: D^2 tr M^(1/2) [K, K] = -1/2 sum_ij K_ij^2 / (a_i a_j (a_i + a_j)), a = l^(1/2).
    Fourth moments are the data's own, so nothing here assumes that features are Gaussian. The gradient is taken at
    the samples' moments, whose own error adds twice the second-order variance to that of the influences: one of the
    two is taken off again.
    """
    n, m, d = len(x), len(y), x.shape[1]
    (mx, sx), (my, sy) = covariance(x), covariance(y)
    cx, cy, between = x.double() - mx, y.double() - my, mx - my
    lower = cholesky(sx)
    if lower is None or cholesky(sy) is None:
        raise ValueError(
            f"the sampling error of a Frechet distance needs covariances of full rank {d}; drop constant or dependent"
            " features"
        )
    values, u = linalg.eigh(congruence(lower, sy))
    a = values.clamp(min=EPS * float(values[-1])).sqrt()
    # with B = L^-T U: S1 = B^-T B^-1, T = B diag(a) B^T, T^-1 = B^-T diag(1/a) B^-1
    whitened = linalg.solve_triangular(lower, cx.T, upper=False).T @ u  # rows B^T c, identity covariance
    pulled = cy @ (lower @ u)  # rows B^-1 c, covariance diag(values)
    here = _influence(cx, whitened.square() @ a, 2 * between)
    there = _influence(cy, pulled.square() @ (1 / a), -2 * between)
    first_order = float(here.var() / n + there.var() / m)
    # both perturbations of M^(1/2) in one basis: a side's K_ij has variance `spread` / its number of rows
    spread = _spread(whitened * a) / n + _spread(pulled) / m
    weight = 1 / (2 * a[:, None] * a * (a[:, None] + a))
    doubled = 4 - 2 * torch.eye(d, dtype=a.dtype, device=a.device)  # K is symmetric: off-diagonal entries count twice
    second_order = 2 * float(square_sum(sx / n + sy / m)) + float((doubled * (weight * spread).square()).sum())
    return _Expansion(
        value=max(0.0, float(between.square().sum() + sx.trace() + sy.trace()) - 2 * float(a.sum())),
        bias=float(sx.trace() / n + sy.trace() / m + (weight * spread).sum()),
        variance=max(first_order - second_order, second_order),
    )
