"""Frechet distance against closed forms and 40-digit arithmetic; its bias and variance against repetition."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics import symmetric
from simulacra.mathematics.frechet import (
    frechet_distance,
    frechet_distance_of_moments,
    frechet_estimate,
)

F64 = torch.float64


def normal(name: str, *shape: int) -> torch.Tensor:
    return Rng(5)(name).normal(shape, dtype=F64)


def with_spectrum(name: str, n: int, basis: torch.Tensor, deviations: torch.Tensor, mean: float) -> torch.Tensor:
    """n rows whose sample covariance is exactly basis diag(deviations^2) basis^T."""
    raw = normal(name, n, len(deviations))
    q = torch.linalg.qr(raw - raw.mean(0)).Q
    return q * deviations * math.sqrt(n - 1) @ basis.T + mean


def orthogonal(d: int) -> torch.Tensor:
    return torch.linalg.qr(normal("basis", d, d)).Q


@pytest.mark.parametrize(
    ("n", "m", "d"), [(200, 300, 24), (40, 50, 60), (25, 400, 60), (400, 25, 60), (61, 61, 60), (60, 60, 60)]
)
def test_distance_of_samples_with_commuting_covariances(n, m, d):
    """|m1 - m2|^2 + sum (s1_i - s2_i)^2, whatever the numbers of rows."""
    rank = min(n, m, d + 1) - 1
    basis = orthogonal(d)[:, :rank]
    s1, s2 = torch.linspace(0.5, 2, rank, dtype=F64), torch.linspace(3, 0.1, rank, dtype=F64)
    x, y = with_spectrum("x", n, basis, s1, 0.0), with_spectrum("y", m, basis, s2, 0.3)
    expected = 0.09 * d + float((s1 - s2).square().sum())
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_rank_deficient_covariances(rank):
    """The zero eigenvalues of both covariances add nothing, though rounding makes some of them negative."""
    basis = orthogonal(24)[:, :rank]
    s1, s2 = torch.linspace(0.5, 2, rank, dtype=F64), torch.linspace(3, 1, rank, dtype=F64)
    x, y = with_spectrum("x", 200, basis, s1, 0.0), with_spectrum("y", 150, basis, s2, 0.0)
    expected = float((s1 - s2).square().sum())
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)
    c1, c2 = (basis * s.square() @ basis.T for s in (s1, s2))
    nought = torch.zeros(24, dtype=F64)
    assert frechet_distance_of_moments(nought, c1, nought, c2) == pytest.approx(expected, rel=1e-8)


def test_constant_features():
    assert frechet_distance(torch.ones(10, 3), torch.zeros(12, 3)) == pytest.approx(3.0)


def reference(x: torch.Tensor, y: torch.Tensor) -> float:
    """The distance with 40 digits, from the eigenvalues of S1 S2."""
    with mpmath.workdps(40):
        moments = []
        for t in (x, y):
            a = mpmath.matrix(t.tolist())
            n, d = a.rows, a.cols
            mean = [mpmath.fsum(a[i, j] for i in range(n)) / n for j in range(d)]
            c = mpmath.matrix(n, d)
            for i in range(n):
                for j in range(d):
                    c[i, j] = a[i, j] - mean[j]
            moments.append((mean, c.T * c / (n - 1)))
        (m1, s1), (m2, s2) = moments
        between = mpmath.fsum((p - q) ** 2 for p, q in zip(m1, m2, strict=True))
        roots = mpmath.fsum(mpmath.re(mpmath.sqrt(v)) for v in mpmath.eig(s1 * s2, left=False, right=False))
        trace = mpmath.fsum(s1[i, i] + s2[i, i] for i in range(s1.rows))
        return float(between + trace - 2 * roots)


@pytest.mark.parametrize(("scale", "n"), [(1.0, 20), (1e-3, 20), (1.0, 9)])
def test_distance_against_forty_digits(scale, n):
    """Includes covariances that hardly differ, and one with condition number 1e12."""
    x = normal("x", n, 6) * torch.logspace(0, -6, 6, dtype=F64) if scale != 1.0 else normal("x", n, 6)
    y = x[torch.arange(n - 1, -1, -1)] * (1 + 0.1 * scale) + scale * normal("y", n, 6)
    assert frechet_distance(x, y) == pytest.approx(reference(x, y), rel=1e-9)


def test_distance_of_moments_is_that_of_samples():
    x, y = normal("x", 80, 7), normal("y", 90, 7) * 1.5 + 1
    expected = frechet_distance(x, y)
    moments = [t for a in (x, y) for t in (a.mean(0), a.T.cov())]
    assert frechet_distance_of_moments(*moments) == pytest.approx(expected, rel=1e-12)


def test_distance_is_symmetric_and_invariant_under_rotation_and_nought_to_itself():
    x, y = normal("x", 90, 8), normal("y", 70, 8) * 2 + 1
    turn = orthogonal(8)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-12)
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y), rel=1e-12)
    assert frechet_distance(x, x) < 1e-12


def test_distance_without_lapack(monkeypatch):
    """The route of tensors that LAPACK cannot reach, by blocks."""
    x, y = normal("x", 60, 11), normal("y", 50, 11) @ normal("mix", 11, 11)
    whole = frechet_distance(x, y)
    monkeypatch.setattr(symmetric, "has_lapack", lambda s: False)
    monkeypatch.setattr(symmetric, "BLOCK", 4)
    monkeypatch.setattr(symmetric, "ROWS", 16)
    assert frechet_distance(x, y) == pytest.approx(whole, rel=1e-12)
    assert whole == pytest.approx(frechet_distance_of_moments(x.mean(0), x.T.cov(), y.mean(0), y.T.cov()), rel=1e-12)


def test_distance_of_points():
    """Two moments without spread: nothing but the distance between the means."""
    nought = torch.zeros(3, 3, dtype=F64)
    means = torch.zeros(3, dtype=F64), torch.tensor([1.0, 2.0, 2.0], dtype=F64)
    assert frechet_distance_of_moments(means[0], nought, means[1], nought) == pytest.approx(9.0)


def test_two_rows_a_side():
    """Rank one each: tr (S1 S2)^(1/2) = |x-difference . y-difference| / 2."""
    x, y = normal("x", 2, 5), normal("y", 2, 5)
    u, v = x[1] - x[0], y[1] - y[0]
    expected = (x.mean(0) - y.mean(0)).square().sum() + u @ u / 2 + v @ v / 2 - (u @ v).abs()
    assert frechet_distance(x, y) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("same", [False, True])
def test_limit_and_variance_are_those_of_repetition(same):
    """200 draws of few rows, so that the plain distance is mostly bias: the limit's mean is the truth, its spread the
    one predicted; the plain distance less its first-order bias alone would miss both."""
    n, m, d = 90, 60, 12
    s1 = torch.linspace(0.5, 1.5, d, dtype=F64)
    s2, shift = (s1, 0.0) if same else (s1.flip(0), 0.2)
    truth = d * shift**2 + float((s1 - s2).square().sum())
    draws = [
        frechet_estimate(
            Rng(s)("x").normal((n, d), dtype=F64) * s1, Rng(s)("y").normal((m, d), dtype=F64) * s2 + shift
        )
        for s in range(200)
    ]  # fmt: skip
    limit, variance, bias = (torch.tensor([getattr(e, f) for e in draws]) for f in ("limit", "variance", "bias"))
    spread = float(limit.std())
    assert abs(float(limit.mean()) - truth) < 3.5 * spread / math.sqrt(200)
    assert bias.mean() > 4 * spread or not same
    assert float(variance.mean().sqrt()) == pytest.approx(spread, rel=0.2)  # 4 x the 5 % to which 200 draws tell it


@pytest.mark.parametrize(("x", "y"), [((5, 6), (50, 6)), ((50, 6), (6, 6))])
def test_sampling_error_needs_more_rows_than_columns(x, y):
    with pytest.raises(ValueError, match="at least 14 rows of d=6 a side"):
        frechet_estimate(normal("x", *x), normal("y", *y))
