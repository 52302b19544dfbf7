"""A logistic model with raters and stimuli as crossed random effects, by Laplace's approximation.

    logit P(y = 1) = beta_system + u_rater + v_stimulus,   u ~ N(0, sigma_r^2),   v ~ N(0, sigma_s^2)

Raters and stimuli are both samples: what is wanted is how a system fares with others of both. What is integrated out is
so at its mode to second order (Breslow & Clayton 1993, section 2.1). The two deviations maximise what is left without
random and fixed effects (a restricted likelihood: otherwise they come out too small), the fixed effects what is left
without the random ones (at the mode of all together they lie too near nought). ``bench/study.py`` simulates it: with
four to twenty answers a stimulus, deviations come out up to a sixth too small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from simulacra.evaluation.intervals import Interval, none, normal

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FLAT = 1e-6  # precision of the fixed effects' prior: keeps a system that never failed from running to infinity
LARGEST = 4.0  # deviation on the logit scale: with more, a rater always gives one answer
LEAST = 20  # raters and stimuli: with fewer it was not simulated
MOST_EFFECTS = 3000  # unknowns: their square is held in memory


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Fixed effects (k,), log-odds for a typical rater and stimulus, their covariance, the two deviations.

    freedom  degrees of freedom of their error: raters or stimuli, whichever are fewer, less one.
    """

    values: Floats
    covariance: Floats
    sd_rater: float
    sd_item: float
    log_likelihood: float
    freedom: int

    def interval(self, i: int) -> Interval:
        """The log-odds of system i, by Wald; ``bench/study.py`` simulates it."""
        if self.freedom + 1 < LEAST:
            return none(f"{self.freedom + 1} raters or stimuli, the method holds from {LEAST} on")
        error = math.sqrt(self.covariance[i, i])
        return normal(float(self.values[i]), error, "Wald, of the mixed model", freedom=self.freedom)


def logistic_mixed(y: Floats, systems: Ints, raters: Ints, items: Ints, k: int) -> Mixed:
    """Fit answers y (n,), 0 or 1, to systems in 0 .. k - 1; raters and items are any numbers that tell them apart.

    ValueError for more raters and stimuli than are held in memory.
    """
    _, rater = np.unique(raters, return_inverse=True)
    _, item = np.unique(items, return_inverse=True)
    r, s = int(rater.max()) + 1, int(item.max()) + 1
    if k + r + s > MOST_EFFECTS:
        raise ValueError(f"{r + s:,} raters and stimuli; the mixed model takes at most {MOST_EFFECTS - k:,}")
    index = np.stack([systems, k + rater, k + r + item], 1)
    start = np.zeros(k + r + s)

    def at(deviations: Floats, values: Floats | None = None) -> tuple[float, Floats, Floats]:
        """The Laplace log-likelihood, the mode, the negative Hessian there; values None: fixed effects go out too."""
        nonlocal start
        precision = np.full(k + r + s, FLAT)
        precision[k : k + r], precision[k + r :] = deviations[0] ** -2, deviations[1] ** -2
        if values is not None:
            start = np.concatenate([values, start[k:]])
        mode, hessian, value = _mode(y, index, precision, start, first=0 if values is None else k)
        start = mode
        # log N(0 | sd) of each effect less half the log-determinant of what is integrated out
        out = 0 if values is None else k
        inner = np.linalg.slogdet(hessian[out:, out:])[1]
        return value + 0.5 * float(np.log(precision[k:]).sum()) - 0.5 * float(inner), mode, hessian

    found = optimize.minimize(
        lambda logs: -at(np.exp(logs))[0],
        np.log([0.5, 0.5]),
        method="Nelder-Mead",
        bounds=[(math.log(1e-2), math.log(LARGEST))] * 2,
        options={"xatol": 1e-3, "fatol": 1e-4, "maxfev": 120},
    )
    deviations = np.exp(found.x)
    fixed = optimize.minimize(
        lambda values: -at(deviations, values)[0], at(deviations)[1][:k], method="L-BFGS-B", options={"maxiter": 50}
    )
    value, mode, hessian = at(deviations, fixed.x)
    return Mixed(
        values=mode[:k],
        covariance=np.asarray(np.linalg.inv(hessian)[:k, :k], np.float64),
        sd_rater=float(deviations[0]),
        sd_item=float(deviations[1]),
        log_likelihood=value,
        freedom=min(r, s) - 1,
    )


def _mode(y: Floats, index: Ints, precision: Floats, start: Floats, first: int = 0) -> tuple[Floats, Floats, float]:
    """The most probable effects, minus the Hessian there, and the penalised log-likelihood; those before first stay."""
    at = start.copy()
    size = len(at)

    def value(theta: Floats) -> float:
        eta = theta[index].sum(1)
        return float((y * eta - np.logaddexp(0, eta)).sum() - 0.5 * (precision * theta**2).sum())

    now, hessian = value(at), np.diag(precision)
    for _ in range(50):
        p = 1 / (1 + np.exp(-at[index].sum(1)))
        gradient = np.bincount(index.T.ravel(), np.tile(y - p, 3), size) - precision * at
        hessian = _information(index, p * (1 - p), size)
        hessian[np.diag_indices(size)] += precision
        step = np.zeros(size)
        step[first:] = np.linalg.solve(hessian[first:, first:], gradient[first:])
        while value(at + step) < now - 1e-12 * abs(now) and float(np.abs(step).max()) > 1e-12:
            step = step / 2
        at = at + step
        now = value(at)
        if float(np.abs(step).max()) < 1e-9:
            break
    return at, hessian, now


def _information(index: Ints, weight: Floats, size: int) -> Floats:
    """Sum over answers of weight times the outer product of their three indicators, (size, size)."""
    whole = np.zeros((size, size))
    whole[np.diag_indices(size)] = np.bincount(index.T.ravel(), np.tile(weight, 3), size)
    edges = [0, *(index[:, :2].max(0) + 1).tolist(), size]  # systems, raters and stimuli lie in blocks, in this order
    for a, b in ((0, 1), (0, 2), (1, 2)):
        rows, columns = edges[a + 1] - edges[a], edges[b + 1] - edges[b]
        flat = (index[:, a] - edges[a]) * columns + index[:, b] - edges[b]
        block = np.bincount(flat, weight, rows * columns).reshape(rows, columns)
        whole[edges[a] : edges[a + 1], edges[b] : edges[b + 1]] = block
        whole[edges[b] : edges[b + 1], edges[a] : edges[a + 1]] = block.T
    return whole
