"""A logistic model with raters and stimuli as crossed random effects, by Laplace's approximation.

    logit P(y = 1) = beta_system + u_rater + v_stimulus,   u ~ N(0, sigma_r^2),   v ~ N(0, sigma_s^2)

Raters and stimuli are both samples: what is wanted is how a system fares with others of both. The random effects are
integrated out at their mode to second order (Breslow & Clayton 1993, section 2.1; what lme4's glmer does with one
point), and the two deviations maximise what is left. The approximation is good for many answers a rater, and takes
deviations a little too small for few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FLAT = 1e-6  # precision of the fixed effects' prior: keeps a system that never failed from running to infinity
LARGEST = 4.0  # deviation on the logit scale: with more, a rater always gives one answer
MOST_EFFECTS = 3000  # unknowns: their square is held in memory


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Fixed effects (k,), log-odds for a typical rater and stimulus, their covariance, the two deviations."""

    values: Floats
    covariance: Floats
    sd_rater: float
    sd_item: float
    log_likelihood: float


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

    def at(deviations: Floats) -> tuple[float, Floats, Floats]:
        """The Laplace log-likelihood, the mode, and the negative Hessian there."""
        nonlocal start
        precision = np.full(k + r + s, FLAT)
        precision[k : k + r], precision[k + r :] = deviations[0] ** -2, deviations[1] ** -2
        mode, hessian, value = _mode(y, index, precision, start)
        start = mode
        # log N(0 | sd) of each effect less half the log-determinant of the random part alone
        inner = np.linalg.slogdet(hessian[k:, k:])[1]
        return value + 0.5 * float(np.log(precision[k:]).sum()) - 0.5 * float(inner), mode, hessian

    found = optimize.minimize(
        lambda logs: -at(np.exp(logs))[0],
        np.log([0.5, 0.5]),
        method="Nelder-Mead",
        bounds=[(np.log(1e-2), np.log(LARGEST))] * 2,
        options={"xatol": 1e-3, "fatol": 1e-4, "maxfev": 120},
    )
    deviations = np.exp(found.x)
    value, mode, hessian = at(deviations)
    return Mixed(
        values=mode[:k],
        covariance=np.asarray(np.linalg.inv(hessian)[:k, :k], np.float64),
        sd_rater=float(deviations[0]),
        sd_item=float(deviations[1]),
        log_likelihood=value,
    )


def _mode(y: Floats, index: Ints, precision: Floats, start: Floats) -> tuple[Floats, Floats, float]:
    """The most probable effects, minus the Hessian there, and the penalised log-likelihood."""
    at = start.copy()
    size = len(at)

    def value(theta: Floats) -> float:
        eta = theta[index].sum(1)
        return float((y * eta - np.logaddexp(0, eta)).sum() - 0.5 * (precision * theta**2).sum())

    now, hessian = value(at), np.diag(precision)
    for _ in range(50):
        p = 1 / (1 + np.exp(-at[index].sum(1)))
        gradient = np.zeros(size)
        hessian = np.diag(precision)
        weight = p * (1 - p)
        for a in range(3):
            gradient += np.bincount(index[:, a], y - p, size)
            for b in range(3):
                np.add.at(hessian, (index[:, a], index[:, b]), weight)
        gradient -= precision * at
        step = np.linalg.solve(hessian, gradient)
        while value(at + step) < now - 1e-12 * abs(now) and float(np.abs(step).max()) > 1e-12:
            step = step / 2
        at = at + step
        now = value(at)
        if float(np.abs(step).max()) < 1e-9:
            break
    return at, hessian, now
