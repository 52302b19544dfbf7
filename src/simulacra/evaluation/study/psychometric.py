"""How right answers rise with exposure: a logistic psychometric function of log time, and its threshold.

    P(right | t) = 1/2 + (1/2 - lapse) / (1 + exp(-(log t - log alpha) / beta))

Guessing is right half the time, because half of the trials show something real. The lapse rate is fitted within
0 .. 0.06: fixed at 0 it biases the slope (Wichmann & Hill 2001, "The psychometric function I").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from simulacra.evaluation.intervals import Interval, none, normal
from simulacra.evaluation.study.shares import LEAST_RATERS

Floats = NDArray[np.float64]
GUESS = 0.5
MOST_LAPSES = 0.06  # Wichmann & Hill 2001, section on lapses
WIDTHS = (0.03, 3.0)  # of the rise, in units of log time


@dataclass(frozen=True, kw_only=True)
class Psychometric:
    """A fitted function: the midpoint alpha, ms; the width beta, log units; the lapse rate; the log-likelihood."""

    alpha: float
    beta: float
    lapse: float
    log_likelihood: float

    def probability(self, ms: Floats) -> Floats:
        """P(right) after these exposures."""
        return _probability(np.array([math.log(self.alpha), math.log(self.beta), self.lapse]), np.log(ms))

    def threshold(self, share: float = 0.75) -> float:
        """The exposure, ms, at which this share of answers is right; ValueError for a share it never reaches."""
        rise = (share - GUESS) / (1 - GUESS - self.lapse)
        if not 0 < rise < 1:
            raise ValueError(f"a threshold's share lies between {GUESS} and {1 - self.lapse:.3g}; got {share:g}")
        return self.alpha * math.exp(self.beta * math.log(rise / (1 - rise)))


def fit(ms: Floats, right: Floats) -> Psychometric:
    """Maximum likelihood of answers (n,), 0 or 1, after exposures (n,) in ms. ValueError for fewer than 10 answers."""
    if len(ms) < 10:
        raise ValueError(f"a psychometric function needs at least 10 answers; got {len(ms)}")
    times, index = np.unique(np.log(ms), return_inverse=True)
    hits, counts = np.bincount(index, right), np.bincount(index).astype(np.float64)

    def loss(theta: Floats) -> float:
        p = _probability(theta, times)
        return float(-(hits * np.log(p) + (counts - hits) * np.log1p(-p)).sum())

    # the midpoint may lie outside what was shown, not far: nothing is known there
    bounds = [(times[0] - 1.5, times[-1] + 1.5), (math.log(WIDTHS[0]), math.log(WIDTHS[1])), (0.0, MOST_LAPSES)]
    starts = [(float(q), math.log(0.3), 0.02) for q in np.quantile(times, [0.2, 0.5, 0.8])]
    best = min(
        (optimize.minimize(loss, s, method="L-BFGS-B", bounds=bounds) for s in starts), key=lambda found: found.fun
    )
    a, b, lapse = best.x
    return Psychometric(alpha=math.exp(a), beta=math.exp(b), lapse=float(lapse), log_likelihood=-float(best.fun))


def threshold_interval(
    curve: Psychometric, ms: Floats, right: Floats, raters: NDArray[np.int64], share: float
) -> Interval:
    """Where the threshold lies, ms: a sandwich clustered by rater of its logarithm, by Student's t.

    A lapse rate at an end of its range is taken as known. ``bench/study.py`` simulates it.
    """
    _, group = np.unique(raters, return_inverse=True)
    clusters = int(group.max()) + 1
    if clusters < LEAST_RATERS:
        return none(f"{clusters} raters, the sandwich holds from {LEAST_RATERS} on")
    theta = np.array([math.log(curve.alpha), math.log(curve.beta), curve.lapse])
    free = [0, 1, 2] if 1e-4 < curve.lapse < MOST_LAPSES - 1e-4 else [0, 1]
    if not WIDTHS[0] * 1.01 < curve.beta < WIDTHS[1] / 1.01:
        return none("the rise is steeper or flatter than these exposures can tell")
    log_ms, step = np.log(ms), 1e-4

    def moved(*changes: tuple[int, float]) -> Floats:
        at = theta.copy()
        for i, change in changes:
            at[i] += change * step
        return at

    def each(at: Floats) -> Floats:
        p = _probability(at, log_ms)
        return right * np.log(p) + (1 - right) * np.log1p(-p)

    scores = np.stack([(each(moved((i, 1))) - each(moved((i, -1)))) / (2 * step) for i in free], 1)
    information = -np.array([
        [
            (each(moved((i, 1), (j, 1))) - each(moved((i, 1), (j, -1))) - each(moved((i, -1), (j, 1)))
             + each(moved((i, -1), (j, -1)))).sum() / (4 * step**2)
            for j in free
        ]
        for i in free
    ])  # fmt: skip
    slope = np.array(
        [(_log_threshold(moved((i, 1)), share) - _log_threshold(moved((i, -1)), share)) / (2 * step) for i in free]
    )
    by_rater = np.zeros((clusters, len(free)))
    np.add.at(by_rater, group, scores)
    try:
        way = np.linalg.solve(information, slope)
    except np.linalg.LinAlgError:
        return none("the answers leave the rise undetermined")
    variance = float(((by_rater @ way) ** 2).sum() * clusters / (clusters - 1))
    plain = normal(_log_threshold(theta, share), math.sqrt(variance), "sandwich by rater", freedom=clusters - 1)
    assert plain.bounds is not None
    return Interval(bounds=(math.exp(plain.bounds[0]), math.exp(plain.bounds[1])), method=f"{plain.method}, of its log")


def _log_threshold(theta: Floats, share: float) -> float:
    rise = (share - GUESS) / (1 - GUESS - theta[2])
    return float(theta[0] + math.exp(theta[1]) * math.log(rise / (1 - rise)))


def _probability(theta: Floats, log_ms: Floats) -> Floats:
    rise = 1 / (1 + np.exp(-np.clip((log_ms - theta[0]) / math.exp(theta[1]), -500, 500)))
    return np.clip(GUESS + (1 - GUESS - theta[2]) * rise, 1e-12, 1 - 1e-12)
