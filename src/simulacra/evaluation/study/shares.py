"""Shares and means of answers that come in clusters: a rater's answers resemble one another.

An interval that takes answers as independent is too narrow by the root of the design effect 1 + (m - 1) rho (Kish 1965,
section 5.4), for m answers a rater with correlation rho. What is resampled here is raters.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simulacra.core.randomness import Rng
from simulacra.evaluation.intervals import LEVEL, Interval, none, normal, of_share

REPEATS = 2000
LEAST_RATERS = 20  # ``bench/study.py``: with fewer, the bootstrap of raters holds the truth too seldom
SHARES = (0.05, 0.95)  # ``bench/study.py``: nearer to an end, intervals of 20 raters hold the truth too seldom
Floats = NDArray[np.float64]


def wilson(hits: int, n: int) -> Interval:
    """A share by Wilson's score as though all answers were independent: right for one answer a rater."""
    return of_share(hits, n)


def totals(raters: NDArray[np.int64], values: Floats) -> tuple[Floats, Floats]:
    """Each rater's sum of values and number of answers, (raters,) both."""
    _, index = np.unique(raters, return_inverse=True)
    return np.bincount(index, values).astype(np.float64), np.bincount(index).astype(np.float64)


def by_rater(sums: Floats, counts: Floats, rng: Rng, *, always: bool = False) -> Interval:
    """The mean of all answers, by the bootstrap of whole raters (Davison & Hinkley 1997, section 3.8), percentiles.

    sums, counts  each rater's sum of values and number of answers.
    always        takes the interval with however few raters: for the simulation that finds how many are needed.
    """
    groups = len(sums)
    if groups < LEAST_RATERS and not always:
        return none(f"{groups} raters, the bootstrap of raters holds from {LEAST_RATERS} on")
    if groups == 0 or float(np.ptp(sums / counts)) == 0.0:
        return none("all raters answered alike, so that resampling them shows no spread")
    drawn = rng("raters").integers(groups, (REPEATS, groups)).numpy()
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(bounds=(float(low), float(high)), method="bootstrap of raters")


def share_by_rater(sums: Floats, counts: Floats, *, always: bool = False) -> Interval:
    """A share of all answers, by the linearised variance of its log-odds with raters as clusters, and Student's t.

    Near 0 and 1 the bootstrap of raters holds the truth too seldom (88 % at a share of 0.1 and 20 raters); on the scale
    of log-odds the spread is even. ``bench/study.py`` simulates both.
    """
    groups, share = len(sums), float(sums.sum() / counts.sum())
    if groups < LEAST_RATERS and not always:
        return none(f"{groups} raters, the method holds from {LEAST_RATERS} on")
    if not SHARES[0] <= share <= SHARES[1]:
        return none(f"too near an end of its range, the method is known to hold from {SHARES[0]} to {SHARES[1]}")
    if float(np.ptp(sums / counts)) == 0.0:
        return none("all raters answered alike, so that they show no spread")
    error = math.sqrt(groups / (groups - 1) * float(((sums - share * counts) ** 2).sum())) / counts.sum()
    odds, scale = math.log(share / (1 - share)), share * (1 - share)
    plain = normal(odds, float(error) / scale, "log-odds, clustered by rater", freedom=groups - 1)
    assert plain.bounds is not None
    low, high = (1 / (1 + math.exp(-b)) for b in plain.bounds)
    return Interval(bounds=(low, high), method=plain.method)


def of_statistic(
    groups: int, statistic: Callable[[NDArray[np.int64]], float | None], rng: Rng, *, repeats: int = 400
) -> Interval:
    """Any statistic of raters by their bootstrap: ``statistic`` takes the numbers of the raters drawn, with repeats.

    It may return None where a resample has no value; with a twentieth or more of those there is no interval.
    """
    if groups < LEAST_RATERS:
        return none(f"{groups} raters, the bootstrap of raters holds from {LEAST_RATERS} on")
    drawn = rng("raters").integers(groups, (repeats, groups)).numpy()
    found = [v for v in map(statistic, drawn) if v is not None]
    if len(found) < 0.95 * repeats:
        return none(f"{repeats - len(found)} of {repeats} resamples of the raters have no value")
    low, high = np.quantile(found, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(bounds=(float(low), float(high)), method="bootstrap of raters")


def design_effect(sums: Floats, counts: Floats, square_sum: float) -> float:
    """How many times larger the variance of the mean is than of as many independent answers; 1 with one rater.

    square_sum  the sum of the squared values. By the linearised variance of a ratio (Cochran 1977, section 6.3).
    """
    groups, n = len(sums), counts.sum()
    mean = sums.sum() / n
    plain = (square_sum / n - mean**2) / n
    if groups < 2 or plain <= 0:
        return 1.0
    clustered = groups / (groups - 1) * ((sums - mean * counts) ** 2).sum() / n**2
    return float(clustered / plain)
