"""Divergences against numerical integration, closed forms and one another."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from simulacra.core.randomness import Rng
from simulacra.mathematics.divergences import (
    decompose,
    importance_bound,
    kl_gaussians,
    kl_standard,
    log_normal,
    stratified,
    weighted,
)

F64 = torch.float64


def draws(name: str, *shape: int) -> torch.Tensor:
    return Rng(4)(name).normal(shape, dtype=F64)


def test_kl_to_the_standard_normal_is_torchs():
    mean, log_scale = draws("mean", 7, 3), draws("scale", 7, 3)
    want = kl_divergence(Normal(mean, log_scale.exp()), Normal(torch.zeros(7, 3, dtype=F64), 1.0)).sum(-1)
    assert torch.allclose(kl_standard(mean, log_scale), want, rtol=1e-12)


def test_kl_of_gaussians_is_torchs_and_reduces_to_the_standard_one():
    a, b, c, d = (draws(n, 7, 3) for n in "abcd")
    want = kl_divergence(Normal(a, b.exp()), Normal(c, d.exp())).sum(-1)
    assert torch.allclose(kl_gaussians(a, b, c, d), want, rtol=1e-12)
    zero = torch.zeros_like(a)
    assert torch.allclose(kl_gaussians(a, b, zero, zero), kl_standard(a, b), rtol=1e-12)
    assert float(kl_gaussians(a, b, a, b).abs().max()) == 0


def test_kl_near_its_zero_is_second_order():
    # KL(N(0, e^{2s}) || N(0, 1)) = s^2 + O(s^3): an expression with exp(2s) - 1 in float32 would lose it
    s = torch.tensor([1e-4], dtype=torch.float32)
    assert math.isclose(float(kl_standard(torch.zeros(1), s)), 1e-8, rel_tol=1e-2)


def test_log_normal_is_torchs():
    z, mean, log_scale = (draws(n, 5, 2) for n in ("z", "mean", "scale"))
    assert torch.allclose(log_normal(z, mean, log_scale), Normal(mean, log_scale.exp()).log_prob(z), rtol=1e-12)
    assert torch.allclose(log_normal(z), Normal(0.0, 1.0).log_prob(z), rtol=1e-12)


@pytest.mark.parametrize("weights", [weighted, stratified])
def test_the_three_parts_are_the_whole(weights):
    mean, log_scale = draws("mean", 16, 4), draws("scale", 16, 4)
    z = mean + log_scale.exp() * draws("noise", 16, 4)
    parts = decompose(z, mean, log_scale, weights(16, 16, 100, z))
    whole = (log_normal(z, mean, log_scale) - log_normal(z)).sum(-1)
    assert torch.allclose(sum(parts), whole, atol=1e-10)


@pytest.mark.parametrize("weights", [weighted, stratified])
def test_rows_of_a_shared_batch_are_the_rows_of_the_whole(weights):
    """A process that holds rows 4 .. 9 of a batch of 16 and sees the others' posteriors finds the same parts."""
    mean, log_scale = draws("mean", 16, 4), draws("scale", 16, 4)
    z = mean + log_scale.exp() * draws("noise", 16, 4)
    whole = decompose(z, mean, log_scale, weights(16, 16, 100, z))
    part = decompose(z[4:10], mean, log_scale, weights(6, 16, 100, z, first=4), first=4)
    for a, b in zip(whole, part, strict=True):
        assert torch.allclose(a[4:10], b, atol=1e-12)


def test_the_whole_data_as_one_batch_is_exact():
    """With batch = data, stratified weights are 1/n and q(z) is the true mixture: so is every part."""
    n = 12
    mean, log_scale = draws("mean", n, 2), draws("scale", n, 2) * 0.3
    weights = stratified(n, n, n, mean)
    assert torch.allclose(weights.exp().sum(1), torch.ones(n, dtype=F64))
    z = mean + log_scale.exp() * draws("noise", n, 2)
    parts = decompose(z, mean, log_scale, weights)
    component = Normal(mean, log_scale.exp()).log_prob(z[:, None]).sum(-1)
    log_q = torch.logsumexp(component, 1) - math.log(n)
    assert torch.allclose(parts.mutual_information, component.diagonal() - log_q, atol=1e-12)


def test_the_total_correlation_of_a_correlated_gaussian():
    """q(z) with covariance [[1, r], [r, 1]] has total correlation -1/2 log(1 - r^2)."""
    n, r, small = 1000, 0.8, 0.2
    inner = torch.tensor([[1 - small**2, r], [r, 1 - small**2]], dtype=F64)
    mean = draws("mean", n, 2) @ torch.linalg.cholesky(inner).T
    log_scale = torch.full((n, 2), math.log(small), dtype=F64)
    z = mean + small * draws("noise", n, 2)
    parts = decompose(z, mean, log_scale, stratified(n, n, n, z))
    # a mixture of n narrow components rests on the components, so compare with the density it is drawn from loosely
    want = MultivariateNormal(torch.zeros(2, dtype=F64), inner + small**2 * torch.eye(2, dtype=F64))
    each = Normal(0.0, 1.0).log_prob(z).sum(-1)
    assert abs(float((want.log_prob(z) - each).mean()) + 0.5 * math.log(1 - r**2)) < 0.05
    assert abs(float(parts.total_correlation.mean()) + 0.5 * math.log(1 - r**2)) < 0.15
    assert abs(float(parts.dimensionwise.mean())) < 0.05


def test_stratified_weights_are_unbiased():
    """E over batches that hold example 0 of sum_j w_j f_j is 1/n sum_j f_j, for any f: here by all batches."""
    from itertools import combinations

    n, b = 6, 3
    f = draws("f", n).exp()
    weights = stratified(1, b, n, f).exp()[0]
    estimates = [float(weights @ f[[0, *rest]]) for rest in combinations(range(1, n), b - 1)]
    assert math.isclose(sum(estimates) / len(estimates), float(f.mean()), rel_tol=1e-12)


def test_stratified_weights_refuse_a_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="5 of 4"):
        stratified(5, 5, 4, torch.zeros(1))
    with pytest.raises(ValueError, match="1 of 4"):
        stratified(1, 1, 4, torch.zeros(1))


def test_importance_bound_of_equal_weights_is_the_weight():
    w = draws("w", 1, 5)
    assert torch.allclose(importance_bound(w.expand(9, 5)), w[0])
    assert torch.allclose(importance_bound(torch.tensor([[0.0], [-math.inf]])), torch.tensor([-math.log(2.0)]))
