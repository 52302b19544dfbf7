"""How varied a set of examples is: the Vendi score, and distances within and between classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

linalg: Any = torch.linalg  # its functions carry no types
EPS = torch.finfo(torch.float64).eps
CELLS = 1 << 21  # distances held at a time


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean distance of two different rows, and the standard error of that mean."""

    value: float
    error: float


def vendi_score(x: Float[Tensor, "n d"], *, order: float = 1.0) -> float:
    """The effective number of different rows, 1 .. n: exp of the entropy of the eigenvalues of K / n, K_ij cosines.

    Friedman & Dieng 2023, "The Vendi score", definition 3.1; other orders are Renyi's entropy (Pasarkar & Dieng 2024,
    eq. 4), infinity counts the largest eigenvalue alone. ValueError for rows of length nought, which have no direction.
    """
    rows = x.double()
    length = rows.square().sum(1, keepdim=True).sqrt()
    if bool((length == 0).any()):
        raise ValueError(f"a Vendi score needs rows that are not nought; {int((length == 0).sum())} of {len(x)} are")
    unit = rows / length
    # K / n = U U^T / n and U^T U / n have the same eigenvalues but for noughts
    gram = unit @ unit.T if len(x) <= x.shape[1] else unit.T @ unit
    return effective_number(linalg.eigvalsh(gram / len(x)), order=order)


def effective_number(shares: Float[Tensor, " k"], *, order: float = 1.0) -> float:
    """exp of the Renyi entropy of shares that sum to one (Hill 1973, eq. 2)."""
    if order < 0:
        raise ValueError(f"the order of an entropy is at least 0; got {order}")
    p = shares.double().clamp(min=0)
    p = p / p.sum()
    if order == 1:
        return float((-torch.xlogy(p, p).sum()).exp())
    if math.isinf(order):
        return 1 / float(p.max())
    p = p[p > torch.finfo(p.dtype).eps * len(p)]  # rounding of nought counts for as much as a share at order 0
    return float(p.pow(order).sum().pow(1 / (1 - order)))


def pair_spread(x: Float[Tensor, "n d"]) -> Spread:
    """Mean Euclidean distance over pairs of different rows, with the error of a U-statistic of degree two.

    Hoeffding 1948, eq. 5.13: the variance is 4 / n times that of a row's own mean distance, to first order.
    """
    n = len(x)
    if n < 3:
        raise ValueError(f"a spread needs at least 3 rows; got {n}")
    means = _sums(x, x) / (n - 1)  # the distance of a row to itself is nought
    return Spread(value=float(means.mean()), error=2 * float(means.std()) / math.sqrt(n))


def cross_spread(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """Mean Euclidean distance between a row of one set and a row of the other."""
    return float(_sums(x, y).mean()) / len(y)


def class_spreads(x: Float[Tensor, "n d"], y: Int[Tensor, " n"]) -> tuple[float, float]:
    """Mean distance within a class (mean over the classes with three rows or more), and between different classes.

    The second is the mean over pairs of those classes of the mean distance between their rows; nan where there is
    but one. ValueError where no class has three rows.
    """
    counts = torch.bincount(y - y.min())
    groups = [x[y - y.min() == c] for c in range(len(counts)) if int(counts[c]) > 2]
    if not groups:
        raise ValueError(f"distances within classes need a class of at least 3 rows; the {len(x)} rows have none")
    within = sum(pair_spread(g).value for g in groups) / len(groups)
    pairs = [cross_spread(a, b) for i, a in enumerate(groups) for b in groups[i + 1 :]]
    return within, sum(pairs) / len(pairs) if pairs else math.nan


def _sums(x: Tensor, y: Tensor) -> Tensor:
    """For each row of x, the sum of its distances to all rows of y, (n,)."""
    centre = y.double().mean(0)  # far from the origin |x|^2 + |y|^2 - 2 x.y cancels
    a, b = x.double() - centre, y.double() - centre
    a2, b2 = a.square().sum(1), b.square().sum(1)
    step, found = max(1, CELLS // len(y)), list[Tensor]()
    for i in range(0, len(a), step):
        lengths = a2[i : i + step, None] + b2
        squared = lengths - 2 * (a[i : i + step] @ b.T)
        # what is left of a row and its copy is rounding, whose root would be far from small
        found.append(torch.where(squared > 64 * EPS * lengths, squared, 0.0).sqrt().sum(1))
    return torch.cat(found)
