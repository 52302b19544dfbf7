"""Solvers against exact worlds: their order, their bias, and the samplers they are in other units."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics import solvers
from simulacra.mathematics.flow_likelihood import exact_trace, flow_log_prob, hutchinson
from simulacra.modalities.toys import GaussianMixture

HIGH, LOW = 80.0, 0.002


def mixture() -> GaussianMixture:
    means = torch.tensor([[-1.0, 0.5], [1.5, -0.5], [0.0, 2.0]])
    return GaussianMixture.isotropic(means, 0.4)


def gaussian(sd: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The denoiser of N(0, sd^2): x sd^2 / (sd^2 + s^2)."""
    return lambda x, s: x * (sd**2 / (sd**2 + s.square())).reshape(-1, *[1] * (x.ndim - 1))


def exact_flow(x: Tensor, sd: float, start: float, end: float) -> Tensor:
    """The probability flow of N(0, sd^2): x keeps its number of standard deviations."""
    return x * math.sqrt((sd**2 + end**2) / (sd**2 + start**2))


ORDERS = {"euler": (1.0, 0.15), "heun": (2.0, 0.15), "dpm_solver_2m": (2.0, 0.15), "dpm_solver_3m": (2.75, 0.35)}


@pytest.mark.parametrize("name", ORDERS)
def test_each_solver_has_its_order(name: str):
    solve, world = getattr(solvers, name), mixture()
    high, low = 10.0, 0.05
    x = high * Rng(0)("x").normal((16, 2), dtype=torch.float64)
    truth = solvers.dpm_solver_3m(world.denoise, x, solvers.karras(1024, low, high)[:-1])
    errors = [
        float((solve(world.denoise, x, solvers.karras(n, low, high)[:-1]) - truth).square().mean().sqrt())
        for n in (128, 256)
    ]
    slope = math.log(errors[-2] / errors[-1]) / math.log(2)
    wanted, within = ORDERS[name]
    assert abs(slope - wanted) < within, (slope, errors)


@pytest.mark.parametrize("name", ORDERS)
def test_the_flow_of_a_gaussian_is_known(name: str):
    x = HIGH * Rng(1)("x").normal((16, 3), dtype=torch.float64)
    found = getattr(solvers, name)(gaussian(0.5), x, solvers.karras(400, LOW, HIGH)[:-1])
    torch.testing.assert_close(found, exact_flow(x, 0.5, HIGH, LOW), rtol=0.02 if name == "euler" else 3e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_solver_2m", "dpm_solver_3m", "ancestral", "stochastic"])
@pytest.mark.parametrize("spacing", ["karras", "geometric"])
def test_none_is_biased_with_an_oracle_that_knows_the_answer(name: str, spacing: str):
    """With D the one point of the data, every sampler must end on it, whatever the number and spacing of its steps."""
    point = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    solve = {"ancestral": solvers.Ancestral(), "stochastic": solvers.Stochastic()}.get(name) or getattr(solvers, name)
    for steps in (1, 2, 10):
        levels = getattr(solvers, spacing)(steps, LOW, HIGH)
        x = HIGH * Rng(2)("x").normal((4, 2), dtype=torch.float64)
        found = solve(lambda x, s: point.expand_as(x), x, levels, Rng(3))
        torch.testing.assert_close(found, point.expand_as(x))


@pytest.mark.parametrize("name", ["heun", "dpm_solver_2m", "dpm_solver_3m", "ancestral", "stochastic"])
def test_the_spread_of_a_gaussian_is_kept(name: str):
    solve = {"ancestral": solvers.Ancestral(), "stochastic": solvers.Stochastic(noise=1.0)}.get(name)
    solve = solve or getattr(solvers, name)
    n, sd = 20_000, 1.0
    x = math.hypot(HIGH, sd) * Rng(4)("x").normal((n, 1), dtype=torch.float64)
    found = solve(gaussian(sd), x, solvers.karras(100, LOW, HIGH), Rng(5))
    # five standard errors of a standard deviation, and what a hundred steps of first order may lose
    assert abs(float(found.std()) - sd) < 5 * sd / math.sqrt(2 * n) + (0.04 if name == "ancestral" else 0.005)
    assert abs(float(found.mean())) < 5 * sd / math.sqrt(n)


def test_ancestral_without_noise_is_ddim_and_with_all_of_it_the_posterior():
    world, levels = mixture(), solvers.karras(12, LOW, HIGH)
    x = HIGH * Rng(6)("x").normal((5, 2), dtype=torch.float64)
    quiet = solvers.Ancestral(eta=0.0)(world.denoise, x, levels, Rng(0))
    assert torch.equal(quiet, solvers.ddim(world.denoise, x, levels)) or torch.allclose(
        quiet, solvers.ddim(world.denoise, x, levels), rtol=1e-12, atol=1e-12
    )
    # one step from s to s': N(D + (s'/s)^2 (x - D), s'^2 (1 - s'^2/s^2)), the DDPM posterior (Ho et al. 2020, eq. 7)
    now, then, n = 2.0, 1.5, 40_000
    point = torch.zeros(n, 1, dtype=torch.float64)
    drawn = solvers.Ancestral()(lambda x, s: point, point + 3.0, torch.tensor([now, then], dtype=torch.float64), Rng(7))
    mean, variance = (then / now) ** 2 * 3.0, then**2 * (1 - (then / now) ** 2)
    assert abs(float(drawn.mean()) - mean) < 5 * math.sqrt(variance / n)
    assert abs(float(drawn.var()) / variance - 1) < 5 * math.sqrt(2 / n)


def test_stochastic_without_churn_is_heun():
    world, levels = mixture(), solvers.karras(9, LOW, HIGH)
    x = HIGH * Rng(8)("x").normal((5, 2), dtype=torch.float64)
    assert torch.equal(
        solvers.Stochastic(churn=0.0)(world.denoise, x, levels, Rng(0)), solvers.heun(world.denoise, x, levels)
    )


def test_the_adaptive_solver_keeps_its_tolerance_and_each_example_steps_by_itself():
    world, levels = mixture(), solvers.karras(2, LOW, HIGH)
    x = HIGH * Rng(9)("x").normal((6, 2), dtype=torch.float64)
    truth = solvers.dpm_solver_3m(world.denoise, x, solvers.karras(400, LOW, HIGH))
    found = solvers.Adaptive(tolerance=1e-3)(world.denoise, x, levels)
    assert float((found - truth).abs().max()) < 2e-2
    alone = torch.cat([solvers.Adaptive(tolerance=1e-3)(world.denoise, x[i : i + 1], levels) for i in range(6)])
    torch.testing.assert_close(alone, found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["euler", "heun"])
def test_inversion_and_back(name: str):
    solve, world = getattr(solvers, name), mixture()
    levels = solvers.karras(600, LOW, HIGH)[:-1]
    x = world.draw(8, Rng(10)).double()
    noise = solve(world.denoise, x, levels.flip(0))
    assert 0.3 * HIGH < float(noise.std()) < 3 * HIGH
    back = solve(world.denoise, noise, levels)
    assert float((back - x).abs().max()) < (0.05 if name == "euler" else 2e-3)


def test_noise_belongs_to_its_row():
    world, levels = mixture(), solvers.karras(6, LOW, HIGH)
    x = HIGH * Rng(11)("x").normal((6, 2), dtype=torch.float64)
    for solve in (solvers.Ancestral(), solvers.Stochastic()):
        whole = solve(world.denoise, x, levels, Rng(12))
        part = solve(world.denoise, x[2:5], levels, Rng(12).rows(2))
        torch.testing.assert_close(part, whole[2:5], rtol=1e-12, atol=1e-12)


def test_flow_likelihood_of_gaussians_and_mixtures():
    means = torch.tensor([[-1.0, 0.5], [1.0, -0.5]])
    world, high = GaussianMixture.isotropic(means, 0.4), 1000.0
    x = world.draw(16, Rng(13)).double()
    spread = math.hypot(high, 0.9)
    how = {"low": LOW, "high": high, "prior": spread, "steps": 150}
    exact = flow_log_prob(world.denoise, x, trace=exact_trace, rng=Rng(14), **how)
    # after noise of 1000 the mixture is a Gaussian to about (0.9 / 1000)^2
    assert float((exact - world.log_prob(x, LOW)).abs().max()) < 1e-4
    # probes of signs: right on average, over 40 of them for the first point
    first = x[:1].expand(40, -1)
    probed = flow_log_prob(world.denoise, first, trace=hutchinson, rng=Rng(15), **how)
    assert float(probed.std()) > 0.01
    assert abs(float(probed.mean() - exact[0])) < 5 * float(probed.std()) / math.sqrt(40)
    sd = 0.7
    y = sd * Rng(15)("y").normal((8, 3), dtype=torch.float64)
    found = flow_log_prob(
        gaussian(sd), y, low=LOW, high=HIGH, prior=math.hypot(sd, HIGH), steps=200, trace=hutchinson, rng=Rng(16)
    )
    truth = torch.distributions.Normal(0.0, math.hypot(sd, LOW)).log_prob(y).sum(1)
    # a multiple of the identity has every probe agree with the trace
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("levels", [torch.tensor([1.0]), torch.tensor([1.0, 0.0, 0.5]), torch.tensor([math.nan, 1.0])])
def test_wrong_levels_are_refused(levels: Tensor):
    with pytest.raises(ValueError, match="levels must be two or more, positive but for the last"):
        solvers.euler(gaussian(1.0), torch.zeros(1, 1), levels)


def test_wrong_spacings_are_refused():
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        solvers.karras(0, LOW, HIGH)
    with pytest.raises(ValueError, match="0 < low < high; got 2.0 and 1.0"):
        solvers.geometric(3, 2.0, 1.0)
