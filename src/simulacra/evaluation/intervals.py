"""Confidence intervals, and where each of them is known to hold.

A method is used only where ``python -m bench coverage`` (400 repetitions against a known truth; normal, skewed and
clustered features) found that nominal 95 % intervals hold the truth 92 to 98 % of the time, or more often where the
two distributions are equal, the end of a distance's range. Elsewhere there is no interval, and ``method`` says why.
The further figures have a simulation of their own (``python -m bench coverage_further``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.frechet import FrechetEstimate, frechet_estimate
from simulacra.mathematics.shares import wilson
from simulacra.mathematics.two_sample import KernelEstimate

LEVEL = 0.95  # the one that was simulated
HALVES = 20  # subsamples behind an interval by halving; their own noise is in the quantile of t


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where the truth is believed to lie: (low, high) or nothing, and by which method or why not."""

    bounds: tuple[float, float] | None
    method: str


def none(why: str) -> Interval:
    """No interval, with the reason in words."""
    return Interval(bounds=None, method=f"none: {why}")


def normal(centre: float, error: float, method: str, *, freedom: float = math.inf) -> Interval:
    """centre +- error times the quantile of Student's t (of the normal for infinite degrees of freedom)."""
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, freedom) if math.isfinite(freedom) else stats.norm.ppf(0.5 + LEVEL / 2))
    return Interval(bounds=(centre - reach * error, centre + reach * error), method=method)


def of_mean(values: Tensor, *, least: int = 30) -> Interval:
    """The mean of independent values (n,), by Student's t; none of fewer than least."""
    n = len(values)
    if n < least:
        return none(f"{n} examples, the method holds from {least} on")
    error = float(values.double().std() / math.sqrt(n))
    return normal(float(values.double().mean()), error, "Student's t", freedom=n - 1)


def of_share(hits: int, n: int) -> Interval:
    """A share of n independent trials, by Wilson's score (Wilson 1927)."""
    return Interval(bounds=wilson(hits, n, level=LEVEL), method="Wilson's score")


def frechet_reason(fake: Tensor, real: Tensor) -> str | None:
    """Why the Frechet distance of two feature arrays has no interval; None where it has one."""
    rows, d = min(len(fake), len(real)), fake.shape[1]
    if d < 8:
        return f"{d} features, the method holds from 8 on"
    least = max(500, 15 * d)
    if rows < least:
        return f"{rows} rows for {d} features, the method holds from {least} on"
    for x in (fake, real):
        values = torch.linalg.eigvalsh(x.double().T.cov())
        if float(values[0]) <= 1e-10 * float(values[-1]):
            return "constant or dependent features"
    return None


def of_frechet(fake: Tensor, real: Tensor) -> tuple[FrechetEstimate, Interval]:
    """The distance of the distributions behind two samples, by expansion to second order; never below 0."""
    found = frechet_estimate(fake, real)
    plain = normal(found.limit, math.sqrt(found.variance), "second-order expansion")
    assert plain.bounds is not None
    return found, Interval(bounds=(max(0.0, plain.bounds[0]), max(0.0, plain.bounds[1])), method=plain.method)


def kernel_reason(n: int, m: int, d: int) -> str | None:
    """Why a kernel distance of so many rows and features has no interval; None where it has one."""
    if d < 32:
        return f"{d} features, the cubic kernel's tails are light enough from 32 on"
    if min(n, m) < 1000:
        return f"{min(n, m)} rows, the method holds from 1000 on"
    return None


def of_gaussian() -> Interval:
    """No interval of a Gaussian kernel's distance: of sets that lie near one another it held the truth too seldom."""
    return none("between sets near one another the second-order expansion holds the truth 91 % of the time")


def spread_reason(n: int, m: int) -> str | None:
    """Why a ratio of mean distances has no interval; None where it has one."""
    return f"{min(n, m)} rows, the method is known to hold from 500 on" if min(n, m) < 500 else None


def of_kernel(found: KernelEstimate) -> Interval:
    """A kernel distance, by the jackknife less its second-order excess."""
    return normal(found.value, math.sqrt(found.variance), "jackknife")


def halving_error(
    statistic: Callable[[Tensor, Tensor], Tensor], fake: Tensor, real: Tensor, rng: Rng, *, repeats: int = HALVES
) -> Tensor:
    """Standard errors of a statistic (k,) of two samples, from random halves of both (delete-half jackknife).

    A half's spread about the whole is that of the whole about the truth (Shao & Wu 1989), so nothing is rescaled.
    """
    values = []
    for i in range(repeats):
        a = rng("fake", i).permutation(len(fake))[: len(fake) // 2]
        b = rng("real", i).permutation(len(real))[: len(real) // 2]
        values.append(statistic(fake[a], real[b]))
    return torch.stack(values).var(0).sqrt()


# 90 % for 32 clustered features, 500 rows: density is a sum over neighbours that a few rows dominate
DENSITY_REASON = "halving holds the truth too seldom where features are clustered"


def share_reason(value: float, n: int, m: int, k: int) -> str | None:
    """Why precision, recall or coverage at k neighbours has no interval; None where it has one."""
    if not 0.2 <= value <= 0.92:
        return "too near an end of its range, the method is known to hold from 0.2 to 0.92"
    least = 100 * k
    return None if min(n, m) >= least else f"{min(n, m)} rows, the method holds from {least} on for k={k}"


def of_neighbourhood(value: float, error: float) -> Interval:
    """A neighbourhood statistic's expectation at these numbers of rows, by halving."""
    return normal(value, error, "halving", freedom=HALVES - 1)


def of_auc(value: float, error: float, n: int, m: int) -> Interval:
    """A ranking's area from n and m values, by DeLong's error on the log-odds, which keeps it within 0 .. 1.

    ``tests/evaluation/test_auc_interval.py`` simulates it.
    """
    if min(n, m) < 100:
        return none(f"{min(n, m)} examples, the method holds from 100 on")
    if not 0.02 <= value <= 0.98:
        return none("too near an end of its range, the method is known to hold from 0.02 to 0.98")
    odds = math.log(value / (1 - value))
    plain = normal(odds, error / (value * (1 - value)), "DeLong's error of the log-odds")
    assert plain.bounds is not None
    low, high = (1 / (1 + math.exp(-b)) for b in plain.bounds)
    return Interval(bounds=(low, high), method=plain.method)
