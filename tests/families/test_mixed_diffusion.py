"""Diffusion of mixed columns: its noise, and what is learnt of a table that is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.families.mixed_diffusion import MixedDiffusion, MixedDiffusionConfig
from simulacra.modalities.mixed import Mixed
from simulacra.nets.denoisers import Dense
from simulacra.training.loop import train
from simulacra.training.settings import Training

WORLD = Mixed()
SPACE = replace(WORLD.space, missing=())


def small() -> MixedDiffusion:
    return MixedDiffusion(MixedDiffusionConfig(backbone=Dense(width=64, depth=2)), SPACE, rng=0)


def test_all_is_lost_at_the_highest_level_and_nothing_at_the_lowest():
    config = MixedDiffusionConfig()
    ends = config.lost(torch.tensor([config.low, config.high], dtype=torch.float64))
    assert torch.allclose(ends, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-12)


def test_the_rate_is_the_slope_of_what_is_lost():
    config = MixedDiffusionConfig()
    log_level = torch.linspace(-5, 4, 30, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(config.lost(log_level.exp()).sum(), log_level)
    assert torch.allclose(config.rate(log_level.detach().exp()), slope, atol=1e-12)


def test_as_many_are_masked_as_are_lost():
    model, n = small(), 20_000
    level = torch.full((n,), 0.7)
    x, symbols = torch.zeros(n, 2), torch.zeros(n, 2, dtype=torch.int64)
    noisy, masked = model._noised(x, symbols, level, Rng(0))
    lost = float(model.config.lost(torch.tensor(0.7)))
    assert abs(float(masked.double().mean()) - lost) < 5 * math.sqrt(0.25 / (2 * n))
    assert abs(float(noisy.std()) - 0.7) < 5 * 0.7 / math.sqrt(4 * n)


def test_a_new_models_beliefs_are_uniform_and_its_bound_knows_it():
    """What masked categories cost before anything is learnt is log k of each: the integral of the share is 1."""
    model = small()
    x = {"job": torch.zeros(2000, dtype=torch.int64), "u": torch.zeros(2000), "v": torch.zeros(2000),
         "home": torch.zeros(2000, dtype=torch.int64)}  # fmt: skip
    alone = MixedDiffusion(model.config, Space(fields={n: SPACE.fields[n] for n in "uv"}), rng=0)
    both = model.log_likelihood(x, rng=0, draws=64).nats
    numbers = alone.log_likelihood({n: x[n] for n in "uv"}, rng=0, draws=64).nats
    cost = (numbers - both).double()
    assert abs(float(cost.mean()) - math.log(3) - math.log(2)) < 5 * float(cost.std()) / math.sqrt(2000)
    assert float(cost.std()) / math.sqrt(2000) < 0.02


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ValueError, match="needs a column of numbers; for categories alone use discrete_diffusion"):
        MixedDiffusion(MixedDiffusionConfig(), Space(fields={"a": Categorical(k=2)}))
    with pytest.raises(ValueError, match="needs complete rows"):
        MixedDiffusion(MixedDiffusionConfig(), WORLD.space)


@pytest.mark.slow
def test_it_learns_a_table_that_is_known():
    """Its bound lies below the exact value, by little; categories, numbers and completions are near."""
    data = Stored(space=SPACE, x=WORLD.sample(20_000, rng=0).x)
    model = train(small(), data, Training(steps=2500, batch=256)).averaged
    test = WORLD.sample(2000, rng=1).x
    apart = WORLD.log_likelihood(test).nats - model.log_likelihood(test, rng=0, draws=64).nats
    error = float(apart.std()) / math.sqrt(2000)
    assert -4 * error < float(apart.mean()) < 0.4
    drawn = model.sample(4000, rng=0).x
    exact = WORLD.sample(40_000, rng=5).x
    for job in range(3):
        here, there = drawn["job"] == job, exact["job"] == job
        share, wanted = float(here.double().mean()), float(there.double().mean())
        assert abs(share - wanted) < 0.04
        for name in "uv":
            assert abs(float(drawn[name][here].mean() - exact[name][there].mean())) < 0.12
        pair = torch.corrcoef(torch.stack([drawn["u"][here], drawn["v"][here]]))[0, 1]
        assert abs(float(pair) - (0.8, -0.5, 0.0)[job]) < 0.12
    known = {name: torch.full((4000,), name in ("u", "home")) for name in drawn}
    x = {
        "job": torch.zeros(4000).long(),
        "u": torch.full((4000,), -1.5),
        "v": torch.zeros(4000),
        "home": torch.zeros(4000).long(),
    }
    ours, theirs = model.complete(x, known, rng=0).x, WORLD.complete(x, known, rng=0).x
    assert abs(float(ours["v"].mean() - theirs["v"].mean())) < 0.3  # approximate, and labelled so
