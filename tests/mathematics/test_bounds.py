"""Objectives against what they must be at their limits, and against one another."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.bounds import Bound, Capacity, FreeNats, WarmedUp, beta_tc, beta_tc_weighted, elbo, iwae
from simulacra.mathematics.divergences import kl_standard, log_normal

F64 = torch.float64


def bound(k: int = 3, b: int = 8, d: int = 2, beta: float = 1.0, step: int = 0, examples: int = 100) -> Bound:
    draw = lambda name, *shape: Rng(0)(name).normal(shape, dtype=F64)  # noqa: E731
    mean, log_scale = draw("mean", b, d), draw("scale", b, d)
    z = mean + log_scale.exp() * draw("z", k, b, d)
    return Bound(draw("x", k, b), z, mean, log_scale, beta, torch.tensor(step), torch.tensor(examples))


def test_elbo_is_the_reconstruction_minus_beta_times_the_kl():
    one = bound()
    kl = kl_standard(one.mean, one.log_scale)
    assert torch.allclose(elbo(one), one.log_px.mean(0) - kl)
    assert torch.allclose(elbo(replace(one, beta=4.0)), one.log_px.mean(0) - 4 * kl)


def test_the_sampled_bound_is_the_elbo_on_average():
    """E log p(z) - log q(z | x) over draws of q is minus the KL."""
    many = bound(k=100_000, b=2)
    sampled = many.log_weights - many.log_px
    error = sampled.std(0) / math.sqrt(len(sampled))
    assert bool(((sampled.mean(0) + many.kl).abs() < 4.5 * error).all())


def test_importance_bound_with_one_draw_is_the_sampled_bound():
    one = bound(k=1)
    prior, posterior = log_normal(one.z).sum(-1), log_normal(one.z, one.mean, one.log_scale).sum(-1)
    assert torch.allclose(iwae(one), (one.log_px + prior - posterior)[0])


def test_more_draws_never_loosen_the_importance_bound_on_average():
    """The bound over k draws is at least the mean of the bounds over each of them (Jensen), draw by draw."""
    many = bound(k=16)
    assert bool((iwae(many) >= many.log_weights.mean(0)).all())


@pytest.mark.parametrize("objective", [beta_tc, beta_tc_weighted])
def test_total_correlation_objective_at_beta_one_is_the_sampled_bound(objective):
    one = bound(k=1)
    assert torch.allclose(objective(one), one.log_weights[0], atol=1e-10)
    assert not torch.allclose(objective(replace(one, beta=6.0)), one.log_weights[0])


def test_total_correlation_needs_the_number_of_examples():
    with pytest.raises(ValueError, match="call fit"):
        beta_tc(bound(examples=0))


def test_capacity_rises_to_its_end_and_stays():
    schedule = Capacity(gamma=10.0, final=20.0, steps=1000)
    for step, capacity in ((0, 0.0), (500, 10.0), (1000, 20.0), (5000, 20.0)):
        at = bound(step=step)
        assert torch.allclose(schedule(at), at.log_px.mean(0) - 10 * (at.kl - capacity).abs())


def test_warm_up_begins_without_the_kl_and_ends_as_the_elbo():
    warm = WarmedUp(steps=100)
    assert torch.allclose(warm(bound(step=0)), bound().log_px.mean(0))
    assert torch.allclose(warm(bound(step=50, beta=2.0)), elbo(bound(beta=1.0)))
    assert torch.allclose(warm(bound(step=900, beta=2.0)), elbo(bound(beta=2.0)))


def test_free_nats_leave_what_says_little_alone():
    """Per dimension the mean KL of the batch or what is free; at nothing free it is the elbo; brought in by steps."""
    one = bound(d=3)
    each = 0.5 * (one.mean.square() + (2 * one.log_scale).exp() - 1) - one.log_scale
    assert torch.allclose(each.sum(1), one.kl)
    assert torch.allclose(FreeNats(nats=0.0, steps=0)(one), elbo(one))
    least, most = each.mean(0).min(), each.mean(0).max()
    free = float(least + most) / 2
    used = each.mean(0) > free
    assert bool(used.any())
    assert not bool(used.all())
    wanted = one.log_px.mean(0) - each[:, used].sum(1) - free * (~used).sum()
    assert torch.allclose(FreeNats(nats=free, steps=0)(one), wanted)
    half = replace(one, step=torch.tensor(49))
    assert torch.allclose(FreeNats(nats=0.0, steps=100)(half), elbo(replace(one, beta=0.5)))
