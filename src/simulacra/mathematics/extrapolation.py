"""What a statistic that is biased in proportion to 1 / n would be at n without end.

Chong & Forsyth 2020, "Effectively unbiased FID and Inception score": a statistic taken at several numbers of rows is
fitted by a straight line in 1 / n, whose value at 0 is the answer. Here both sides are thinned by the same share, so
that the bias of either side is taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from simulacra.core.randomness import Rng

POINTS = 15  # Chong & Forsyth 2020, section 4
SMALLEST = 0.1  # the smallest share of the rows, as 5,000 of 50,000 there


@dataclass(frozen=True, kw_only=True)
class Line:
    """A statistic against the inverse of the share of the rows it was taken on.

    limit     where the line meets 0.
    slope     what the finite number of rows adds at the whole of them.
    residual  root mean square distance of the points from the line: large against the slope where it is no line.
    """

    limit: float
    slope: float
    residual: float


def straight_line(shares: Sequence[float], values: Sequence[float]) -> Line:
    """Least squares of the values over 1 / share. ValueError for fewer than two different shares."""
    if len(set(shares)) < 2 or len(shares) != len(values):
        raise ValueError(f"an extrapolation needs values at two sizes or more; got {len(set(shares))} sizes")
    along = 1 / torch.tensor(shares, dtype=torch.float64)
    up = torch.tensor(values, dtype=torch.float64)
    centred = along - along.mean()
    slope = float(centred @ up / centred.square().sum())
    limit = float(up.mean()) - slope * float(along.mean())
    residual = float((up - limit - slope * along).square().mean().sqrt())
    return Line(limit=limit, slope=slope, residual=residual)


def extrapolated(
    statistic: Callable[[Tensor, Tensor], float],
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    rng: Rng,
    smallest: float = SMALLEST,
    points: int = POINTS,
) -> Line:
    """The line of a two-sample statistic over shares from ``smallest`` to 1 of both samples, rows chosen at random."""
    if not 0 < smallest < 1:
        raise ValueError(f"the smallest share lies between 0 and 1; got {smallest}")
    shares = [smallest + (1 - smallest) * i / (points - 1) for i in range(points)]
    values: list[float] = []
    for i, share in enumerate(shares):
        a = rng("x", i).permutation(len(x), device=x.device)[: max(2, round(share * len(x)))]
        b = rng("y", i).permutation(len(y), device=y.device)[: max(2, round(share * len(y)))]
        values.append(statistic(x[a], y[b]))
    return straight_line(shares, values)
