"""Annealing towards densities whose integral is known."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.annealing import Annealing, Place, forward, linear, reverse, sigmoidal, transition, tuned

F64 = torch.float64
MEAN, LOG_Z = torch.tensor([1.5, -0.5], dtype=F64), 3.0
SCALE = torch.tensor([0.3, 0.8], dtype=F64)


def gaussian(u: torch.Tensor) -> torch.Tensor:
    """exp(LOG_Z) N(u; MEAN, SCALE^2)."""
    each = -0.5 * ((u - MEAN) / SCALE).square() - SCALE.log() - 0.5 * math.log(2 * math.pi)
    return each.sum(-1) + LOG_Z


def bimodal(u: torch.Tensor) -> torch.Tensor:
    """exp(LOG_Z) times half a Gaussian at 1 and half at -1, deviation 0.5 each."""
    at = [-0.5 * ((u - m) / 0.5).square().sum(-1) - 2 * math.log(0.5) - math.log(2 * math.pi) for m in (-1.0, 1.0)]
    return torch.stack(at).logsumexp(0) - math.log(2) + LOG_Z


def start(b: int, c: int, seed: int = 0) -> torch.Tensor:
    return Rng(seed)("u").normal((b, c, 2), dtype=F64)


@pytest.mark.parametrize("schedule", [linear, sigmoidal])
def test_schedules_rise_from_0_to_1(schedule):
    betas = schedule(37)
    assert betas.shape == (38,)
    assert float(betas[0]) == 0
    assert float(betas[-1]) == 1
    assert bool((betas.diff() > 0).all())
    assert torch.allclose(betas + betas.flip(0), torch.ones(38, dtype=F64))


@pytest.mark.parametrize("f", [gaussian, bimodal])
def test_weights_are_unbiased_both_ways(f):
    """E w = Z forwards and E 1/w = 1/Z backwards, however few the temperatures."""
    settings, n = Annealing(steps=12, leapfrog=3), 3000
    steps = tuned(f, start(1, 500, 5), settings, Rng(6))
    forth = (forward(f, start(1, n), steps, settings, Rng(1)).log_weights[0] - LOG_Z).exp()
    assert float(forth.mean()) == pytest.approx(1, abs=5 * float(forth.std()) / math.sqrt(n))
    exact = MEAN + SCALE * start(1, n, 3)
    if f is bimodal:
        exact = 0.5 * start(1, n, 3) + torch.where(Rng(4).bernoulli(torch.full((1, n, 1), 0.5)), 1.0, -1.0)
    back = (LOG_Z - reverse(f, exact, steps, settings, Rng(2)).log_weights[0]).exp()
    assert float(back.mean()) == pytest.approx(1, abs=5 * float(back.std()) / math.sqrt(n))


def test_bounds_lie_on_their_sides_and_close_with_more_temperatures():
    gaps = []
    for steps in (5, 20, 80):
        settings = Annealing(steps=steps, leapfrog=3)
        sizes = tuned(gaussian, start(1, 200, 5), settings, Rng(6))
        low = forward(gaussian, start(1, 600), sizes, settings, Rng(1)).log_weights[0] - LOG_Z
        high = reverse(gaussian, MEAN + SCALE * start(1, 600, 3), sizes, settings, Rng(2)).log_weights[0] - LOG_Z
        assert float(low.mean()) < 3 * float(low.std()) / math.sqrt(600)
        assert float(high.mean()) > -3 * float(high.std()) / math.sqrt(600)
        gaps.append(float(high.mean() - low.mean()))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


def test_step_sizes_are_tuned_to_the_acceptance():
    settings = Annealing(steps=150, leapfrog=3, accept=0.8)
    sizes = tuned(gaussian, start(1, 300, 5), settings, Rng(6))
    walk = forward(gaussian, start(1, 300), sizes, settings, Rng(1))
    assert float(walk.acceptance[50:].mean()) == pytest.approx(0.8, abs=0.03)


def test_where_the_target_is_the_start_every_weight_is_exact():
    normal = lambda u: -0.5 * u.square().sum(-1) - math.log(2 * math.pi) + LOG_Z  # noqa: E731
    settings = Annealing(steps=9)
    sizes = torch.full((8, 2), 0.3, dtype=F64)
    found = forward(normal, start(2, 3), sizes, settings, Rng(1)).log_weights
    assert torch.allclose(found, torch.full((2, 3), LOG_Z, dtype=F64))


def test_a_transition_leaves_its_density_unchanged():
    n = 20_000
    u = MEAN + SCALE * start(1, n)
    slope = -(u - MEAN) / SCALE.square()
    moved, share = transition(gaussian, Place(u, gaussian(u), slope), 1.0, torch.full((1,), 0.3, dtype=F64), 3, Rng(1))
    assert 0.3 < float(share) < 0.99  # or else the test would see nothing
    assert bool(((moved.u[0].mean(0) - MEAN).abs() < 5 * SCALE / math.sqrt(n)).all())
    assert bool(((moved.u[0].std(0) / SCALE - 1).abs() < 5 / math.sqrt(2 * n)).all())
    assert float((moved.u - u).abs().mean()) > 0.1


def test_problems_do_not_see_each_other():
    settings = Annealing(steps=10, leapfrog=2)
    f = lambda u: gaussian(u)  # noqa: E731
    u = start(4, 3)
    whole = forward(f, u, tuned(f, u, settings, Rng(1)), settings, Rng(2)).log_weights
    alone = forward(f, u[2:3], tuned(f, u[2:3], settings, Rng(1).rows(2)), settings, Rng(2).rows(2)).log_weights
    assert torch.allclose(whole[2:3], alone)


def test_a_step_into_nothing_is_refused():
    cliff = lambda u: torch.where(u.abs().amax(-1) < 1, 0.0, math.nan) + 0 * u.sum(-1)  # noqa: E731
    settings = Annealing(steps=20, leapfrog=4)
    walk = forward(cliff, 0.1 * start(1, 50), torch.full((19, 1), 1.0, dtype=F64), settings, Rng(1))
    assert bool(walk.log_weights.isfinite().all())
    assert float(walk.u.abs().max()) < 1


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"leapfrog": 0}, {"accept": 1.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        Annealing(**wrong)
