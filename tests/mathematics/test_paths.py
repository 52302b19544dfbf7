"""Paths are one process in other units, and parameterisations one denoiser in other coordinates."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.mathematics import preconditioning
from simulacra.mathematics.paths import Cosine, Path, Rectified, VarianceExploding, VariancePreserving, level

PATHS: list[Path] = [VariancePreserving(), Cosine(), VarianceExploding(), Rectified()]
T = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_time_is_the_inverse_of_the_level(path: Path):
    torch.testing.assert_close(path.time(level(path, T)), T, rtol=1e-10, atol=1e-12)
    assert bool((level(path, T).diff() > 0).all())


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_derivatives_are_those_of_autograd(path: Path):
    t = T.clone().requires_grad_()
    (alpha,) = torch.autograd.grad((path.alpha(t) + 0 * t).sum(), t)
    (sigma,) = torch.autograd.grad((path.sigma(t) + 0 * t).sum(), t)
    said = path.derivatives(T)
    torch.testing.assert_close(said[0], alpha, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(said[1], sigma, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("path", [VariancePreserving(), Cosine()], ids=lambda p: type(p).__name__)
def test_variance_is_preserved(path: Path):
    torch.testing.assert_close(path.alpha(T) ** 2 + path.sigma(T) ** 2, torch.ones_like(T))


def test_the_linear_schedule_is_the_limit_of_the_thousand_steps():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)  # Ho et al. 2020, section 4
    kept = (1 - betas).cumprod(0).sqrt()
    t = (torch.arange(1000, dtype=torch.float64) + 1) / 1000
    assert float((VariancePreserving().alpha(t) - kept).abs().max()) < 3e-3


def test_zero_terminal_signal():
    end = torch.ones((), dtype=torch.float64)
    assert float(Rectified().time(torch.tensor(math.inf))) == 1.0
    assert abs(float(Cosine().alpha(end))) < 1e-15
    assert float(VariancePreserving().alpha(end)) > 1e-3  # not quite: something of the data is left


S = torch.logspace(-3, 2, 40, dtype=torch.float64)
D = torch.tensor(0.5, dtype=torch.float64)


def test_edm_has_input_and_target_of_unit_variance_and_a_weight_of_one():
    c = preconditioning.edm(S, D)
    torch.testing.assert_close(c.into.square() * (D**2 + S**2), torch.ones_like(S))
    # the target (x_0 - c_skip x) / c_out, x = x_0 + s n
    target = ((1 - c.skip) ** 2 * D**2 + c.skip**2 * S**2) / c.out**2
    torch.testing.assert_close(target, torch.ones_like(S))
    torch.testing.assert_close(preconditioning.uniform_edm(S, D) * c.out**2, torch.ones_like(S))


@pytest.mark.parametrize("name", ["epsilon", "clean", "v", "velocity", "edm"])
def test_the_right_answer_of_the_network_gives_the_clean_example(name: str):
    x0, n = torch.randn(2, len(S), dtype=torch.float64)
    x = x0 + S * n
    c = getattr(preconditioning, name)(S, D)
    alpha = (1 + S**2).rsqrt()
    answer = {
        "epsilon": n,
        "clean": x0,
        "v": alpha * n - S * alpha * x0,
        "velocity": n - x0,
        "edm": (x0 - c.skip * x) / c.out,
    }[name]
    torch.testing.assert_close(c.skip * x + c.out * answer, x0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "weight"), [("epsilon", "uniform_epsilon"), ("velocity", "uniform_velocity"), ("edm", "uniform_edm")]
)
def test_uniform_weights_are_the_targets_own(name: str, weight: str):
    ours = getattr(preconditioning, weight)(S, D)
    torch.testing.assert_close(ours, preconditioning.per_target(getattr(preconditioning, name))(S, D))


def test_min_snr_is_the_smaller_and_the_soft_one_lies_below_both_limits():
    hard, soft = preconditioning.min_snr(S, D), preconditioning.soft_min_snr(S, D)
    assert float(hard.max()) == 5 / float(D) ** 2
    torch.testing.assert_close(hard[S > 1], 1 / S[S > 1] ** 2)
    assert bool((soft < 1 / S**2).all())
    assert bool((soft < 1 / D**2).all())


def test_levels_are_log_normal_and_finite_at_the_ends_of_the_shares():
    data = torch.tensor(0.5)
    share = torch.cat([torch.zeros(1), (torch.arange(4_000) + 0.5) / 4_000, torch.ones(1) - 2.0**-24])
    level = preconditioning.LogNormal(mean=-1.2, spread=1.2)(share, data)
    assert bool(level.isfinite().all())
    assert float(level.min()) > 0
    inner = level[1:-1].log()
    assert abs(float(inner.mean()) + 1.2) < 1e-3
    assert abs(float(inner.std()) - 1.2) < 1e-2
    torch.testing.assert_close(
        preconditioning.LogNormal()(share, 2 * data), 2 * preconditioning.LogNormal()(share, data)
    )
