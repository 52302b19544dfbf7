"""Shares of a whole: exact intervals, and shares seen through a classifier that errs."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from scipy import stats as scipy_stats  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

stats: Any = scipy_stats


def clopper_pearson(hits: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share of n independent trials (Clopper & Pearson 1934): never too narrow."""
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"hits lie in 0 .. n with n at least 1; got {hits} of {n}")
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(stats.beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def wilson(hits: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of n independent trials by its score (Wilson 1927)."""
    z = float(stats.norm.ppf(0.5 + level / 2))
    share, scale = hits / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    reach = z / scale * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    # at the ends the bound is the share itself, which rounding must not push out of the interval
    return min(share, max(0.0, middle - reach)), max(share, min(1.0, middle + reach))


def confusion(truth: Tensor, seen: Tensor, groups: int) -> Float[Tensor, "groups groups"]:
    """p(seen | truth), rows the truth; ValueError for a group without a labelled example."""
    counts = torch.bincount(truth * groups + seen, minlength=groups * groups).reshape(groups, groups).double()
    of_group = counts.sum(1, keepdim=True)
    if bool((of_group == 0).any()):
        empty = int((of_group[:, 0] == 0).nonzero()[0])
        raise ValueError(f"group {empty} has no labelled example; its confusion is unknown: leave it out or label some")
    return counts / of_group


def corrected(seen: Float[Tensor, " groups"], errs: Float[Tensor, "groups groups"]) -> Float[Tensor, " groups"]:
    """True shares p with seen = p @ errs, on the simplex (Saerens et al. 2002 by expectation-maximisation).

    The maximum-likelihood shares of what a classifier with these errors was seen to say. A direct solution of the
    linear system may be negative; these are not.
    """
    p = torch.full_like(seen, 1 / len(seen))
    for _ in range(2_000):
        joint = p[:, None] * errs
        share = joint / joint.sum(0).clamp(min=1e-300)
        new = share @ seen
        if float((new - p).abs().max()) < 1e-12:
            return new
        p = new
    return p
