"""Symmetric matrices by their lower triangles, on both routes: what BLAS and LAPACK do, and what torch does."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics import symmetric

F64 = torch.float64


@pytest.fixture(params=["lapack", "torch"], autouse=True)
def route(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(symmetric, "has_lapack", lambda s: False)
    monkeypatch.setattr(symmetric, "BLOCK", 4)
    monkeypatch.setattr(symmetric, "ROWS", 7)


def normal(name: str, *shape: int) -> torch.Tensor:
    return Rng(6)(name).normal(shape, dtype=F64)


def positive(d: int) -> torch.Tensor:
    a = normal("positive", d, 2 * d)
    return a @ a.T / d


def garbled(s: torch.Tensor) -> torch.Tensor:
    """The same symmetric matrix to whom reads its lower triangle alone."""
    return s.tril() + normal("garbage", *s.shape).triu(1)


@pytest.mark.parametrize("d", [1, 4, 11])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_mean_and_covariance(d, offset):
    """Also of rows far from the origin, where x^T x - n m m^T would have lost twelve of sixteen digits."""
    x = normal("x", 30, d)
    expected = x.T.cov().reshape(d, d)
    mean, found = symmetric.covariance(x + offset)
    torch.testing.assert_close(mean, x.mean(0) + offset, rtol=1e-15, atol=1e-15)
    torch.testing.assert_close(found, expected.tril(), rtol=0, atol=1e-9 if offset else 1e-14)


def test_covariance_of_float32_rows_in_any_order_of_memory():
    x = normal("x", 30, 11).float()
    expected = x.double().T.cov().tril()
    for rows in (x, x.T.contiguous().T, torch.stack([x, x], 1)[:, 0], x.clone().requires_grad_()):
        torch.testing.assert_close(symmetric.covariance(rows)[1], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("d", [1, 4, 11])
def test_cholesky_factor(d):
    s = positive(d)
    lower = symmetric.cholesky(garbled(s))
    assert lower is not None
    assert torch.equal(lower, lower.tril())
    torch.testing.assert_close(lower @ lower.T, s, rtol=0, atol=1e-13)


def test_no_cholesky_factor_of_an_indefinite_matrix():
    s = positive(11)
    s[7, 7] = -1.0
    assert symmetric.cholesky(s) is None


@pytest.mark.parametrize("d", [1, 4, 11])
def test_congruence(d):
    s, lower = positive(d), normal("lower", d, d).tril(-1) + torch.eye(d, dtype=F64)
    before = (given := garbled(s)).clone()
    found = symmetric.congruence(lower, given)
    torch.testing.assert_close(found.tril(), (lower.T @ s @ lower).tril(), rtol=0, atol=1e-12)
    assert torch.equal(given, before)


@pytest.mark.parametrize("d", [1, 2, 11])
def test_eigenvalues_are_those_the_matrix_was_made_with(d):
    values = torch.linspace(-1.0, 3.0, d, dtype=F64)
    turn = torch.linalg.qr(normal("turn", d, d)).Q
    before = (given := garbled(turn * values @ turn.T)).clone()
    torch.testing.assert_close(symmetric.eigenvalues(given), values, rtol=0, atol=1e-14)
    assert torch.equal(given, before)


def test_square_sum_of_a_lower_triangle():
    s = positive(11)
    torch.testing.assert_close(symmetric.square_sum(garbled(s)), s.square().sum())
