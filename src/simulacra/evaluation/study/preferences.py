"""Strengths of systems from pairwise preferences: Bradley and Terry's model, with ties as Davidson (1970) has them.

    P(i beats j) = pi_i / D,   P(tie) = nu sqrt(pi_i pi_j) / D,   D = pi_i + pi_j + nu sqrt(pi_i pi_j)

With lambda = log pi and delta = log nu the three outcomes have the scores lambda_i, lambda_j and delta + (lambda_i +
lambda_j) / 2: a conditional logit, whose likelihood is concave, so Newton's method finds its one maximum. The
covariance is the sandwich with a rater's gradients added up: raters are independent, their answers are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse.csgraph import connected_components

from simulacra.evaluation.intervals import LEVEL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FIRST, TIE, SECOND = 0, 1, 2
STEPS, SMALL = 100, 1e-12


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """Log strengths (k,) with mean 0; their covariance (k, k), clustered by rater; log nu, None without ties."""

    values: Floats
    covariance: Floats
    tie: float | None
    log_likelihood: float

    def beats(self, i: int, j: int, freedom: float) -> tuple[float, tuple[float, float]]:
        """P(i is preferred to j | no tie) and its interval by Student's t with so many degrees of freedom."""
        gap = self.values[i] - self.values[j]
        error = np.sqrt(self.covariance[i, i] + self.covariance[j, j] - 2 * self.covariance[i, j])
        reach = stats.t.ppf(0.5 + LEVEL / 2, freedom) * error
        one, low, high = 1 / (1 + np.exp(-np.array([gap, gap - reach, gap + reach])))
        return float(one), (float(low), float(high))


def unidentified(first: Ints, second: Ints, outcome: Ints, k: int) -> list[int]:
    """The systems, if any, that keep the strengths from having a finite estimate.

    It exists only where from every system every other is reached by "beat or tied with" (Ford 1957; Davidson 1970,
    section 3): these are the systems of the smallest group that nobody outside, or nobody inside, ever beat.
    """
    won = np.zeros((k, k))
    for a, b, kind in ((first, second, FIRST), (second, first, SECOND), (first, second, TIE), (second, first, TIE)):
        np.add.at(won, (a[outcome == kind], b[outcome == kind]), 1)
    count, part = connected_components(won, directed=True, connection="strong")
    if count == 1:
        return []
    sizes = np.bincount(part)
    return np.flatnonzero(part == int(sizes.argmin())).tolist()


def davidson(first: Ints, second: Ints, outcome: Ints, raters: Ints, k: int) -> Strengths:
    """Maximum likelihood of comparisons (n,): systems first and second in 0 .. k - 1, outcome FIRST, TIE or SECOND.

    Without a single tie the model is Bradley and Terry's. ValueError where no finite estimate exists.
    """
    if bad := unidentified(first, second, outcome, k):
        raise ValueError(f"systems {bad} won or lost against all others throughout: strengths have no finite estimate")
    ties = outcome == TIE
    if ties.all():
        raise ValueError("every answer is a tie: strengths have no finite estimate")
    n, with_ties = len(outcome), bool(ties.any())
    scores = np.zeros((n, 3, k + 1))
    rows = np.arange(n)
    scores[rows, FIRST, first] = 1
    scores[rows, SECOND, second] = 1
    scores[rows, TIE, first] = scores[rows, TIE, second] = 0.5
    scores[:, TIE, k] = 1
    if not with_ties:
        scores, outcome = scores[:, [FIRST, SECOND], :k], np.where(outcome == SECOND, 1, 0)
    # strengths are known to a constant: the basis leaves it out, symmetrically
    basis = np.zeros((scores.shape[2], scores.shape[2] - 1))
    basis[:k, : k - 1] = np.linalg.qr(np.c_[np.ones(k), np.eye(k)[:, : k - 1]])[0][:, 1:]
    if with_ties:
        basis[k, k - 1] = 1
    x = scores @ basis
    chosen = x[rows, outcome]
    theta, value = np.zeros(x.shape[2]), -np.inf
    for _ in range(STEPS):
        value, gradient, information, _ = _at(theta, x, chosen)
        step = np.linalg.solve(information, gradient)
        # concave but not quadratic: a step that overshoots is halved
        while _value(theta + step, x, chosen) < value - SMALL * abs(value):
            step /= 2
        theta = theta + step
        if float(np.abs(step).max()) < SMALL:
            break
    value, _, information, residuals = _at(theta, x, chosen)
    _, group = np.unique(raters, return_inverse=True)
    clusters = np.zeros((group.max() + 1, x.shape[2]))
    np.add.at(clusters, group, residuals)
    bread = np.linalg.inv(information)
    correction = len(clusters) / max(len(clusters) - 1, 1)
    full = basis @ (bread @ (clusters.T @ clusters) @ bread * correction) @ basis.T
    whole = basis @ theta
    return Strengths(
        values=whole[:k], covariance=full[:k, :k], tie=float(whole[k]) if with_ties else None, log_likelihood=value
    )


def _value(theta: Floats, x: Floats, chosen: Floats) -> float:
    logits = x @ theta
    top = logits.max(1, keepdims=True)
    return float((chosen @ theta - top[:, 0] - np.log(np.exp(logits - top).sum(1))).sum())


def _at(theta: Floats, x: Floats, chosen: Floats) -> tuple[float, Floats, Floats, Floats]:
    """Log-likelihood, its gradient, minus its Hessian, and each answer's gradient (n, p)."""
    logits = x @ theta
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    mean = np.einsum("no,nop->np", p, x)
    residuals = chosen - mean
    information = np.einsum("no,nop,noq->pq", p, x, x) - mean.T @ mean
    return _value(theta, x, chosen), residuals.sum(0), information, residuals
