"""The loop: what it computes has closed forms."""

from __future__ import annotations

import copy

import pytest
import torch
from small_models import Mean, SmallGAN, SmallVAE, ring

from simulacra.training.engine import Engine
from simulacra.training.feed import Feed
from simulacra.training.loop import train
from simulacra.training.settings import Training


def test_first_step_of_adam_moves_by_the_learning_rate_against_the_gradients_sign():
    data, model = ring(), Mean(lr=0.1)
    train(model, data, Training(steps=1, batch=256), device="cpu")
    assert torch.allclose(model.net.weight.detach().squeeze(1), 0.1 * data.x.mean(0).sign(), atol=1e-5)


def test_least_squares_finds_the_mean():
    data, model = ring(), Mean(lr=0.02)
    trained = train(model, data, Training(steps=400, batch=256), device="cpu")
    assert torch.allclose(model.net.weight.detach().squeeze(1), data.x.mean(0), atol=2e-3)
    assert trained.log[-1]["fit"] == pytest.approx(float(data.x.var(0, correction=0).sum() / 2), abs=1e-3)
    assert trained.log[-1]["fit/distance"] == pytest.approx(2 * trained.log[-1]["fit"], rel=1e-6)


@pytest.mark.parametrize(
    ("budget", "steps"), [({"steps": 7}, 7), ({"examples": 65}, 9), ({"steps": 7, "examples": 24}, 3)]
)
def test_the_budget_reached_first_ends_the_run(budget, steps):
    trained = train(Mean(), ring(), Training(**budget, batch=8), device="cpu")
    assert (trained.steps, trained.examples, trained.ended) == (steps, 8 * steps, "budget")


def test_a_budget_in_minutes_is_kept():
    trained = train(Mean(), ring(), Training(minutes=0.3 / 60), device="cpu")
    assert 0.3 <= trained.seconds < 0.5


@pytest.mark.parametrize("every", [1, 3])
def test_after_is_called_once_a_turn_taken(every):
    model = Mean(every=every)
    train(model, ring(), Training(steps=7, batch=8, accumulate=2), device="cpu")
    assert int(model.count) == len(range(0, 7, every))


def test_an_epoch_sees_every_example_once_and_a_new_order_each_time():
    data = ring(10)
    feed = Feed(data, Training(steps=1, batch=4), Engine(device="cpu"))
    seen = torch.cat([feed.numbers(first, 4) for first in range(0, 20, 4)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    again = Feed(data, Training(steps=1, batch=4), Engine(device="cpu"))
    assert torch.equal(again.numbers(13, 5), seen[13:18])


@pytest.mark.parametrize("make", [SmallVAE, lambda: SmallGAN(gamma=1.0)])
def test_accumulation_does_not_change_the_run(make):
    ends = []
    for parts in (1, 4):
        model = make()
        train(model, ring(), Training(steps=20, batch=32, accumulate=parts, precision="float64"), device="cpu")
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert (ends[0] - ends[1]).abs().max() < 1e-11


def test_only_the_turns_player_moves_and_learns():
    class Watched(SmallGAN):
        def generator_loss(self, batch, rng):
            assert all(p.requires_grad for p in self.generator.parameters())
            assert not any(p.requires_grad for p in self.critic.parameters())
            self.before = copy.deepcopy(self.critic.state_dict())
            return super().generator_loss(batch, rng)

        def r1(self, batch, rng):
            now = self.critic.state_dict()
            assert all(torch.equal(before, now[name]) for name, before in self.before.items())
            return super().r1(batch, rng)

    model = Watched(gamma=1.0)
    train(model, ring(), Training(steps=2), device="cpu")
    assert all(p.requires_grad for p in model.parameters())


def test_the_average_is_the_one_of_the_formula():
    data, model = ring(), Mean(lr=0.1)
    path = []

    class Watch:
        every = 1

        def __call__(self, moment):
            path.append(moment.model.net.weight.detach().clone())

    settings = Training(steps=30, batch=16, average_half_life=64.0, average_warmup=0.5)
    trained = train(model, data, settings, hooks=[Watch()], device="cpu")
    average = torch.zeros(2, 1)
    for step, weight in enumerate(path, 1):
        keep = 0.5 ** (16 / min(64, 0.5 * 16 * step))
        average = keep * average + (1 - keep) * weight
    assert torch.allclose(trained.averaged.net.weight, average, atol=1e-6)
    assert int(trained.averaged.count) == 30  # what is not averaged follows
    assert not torch.equal(trained.averaged.net.weight, trained.model.net.weight)


def test_without_averages_the_copy_is_the_model():
    trained = train(Mean(average=False), ring(), Training(steps=5), device="cpu")
    assert torch.equal(trained.averaged.net.weight, trained.model.net.weight)


def test_clipping_bounds_the_gradient():
    norms = []

    class Watched(Mean):
        def after(self, terms):
            norms.append(float(self.net.weight.grad.norm()))

    data = ring()
    data.x.add_(10)
    train(Watched(), data, Training(steps=3, batch=8, clip=0.5), device="cpu")
    assert norms == pytest.approx([0.5] * 3, rel=1e-4)


def test_the_seed_decides_everything():
    ends = []
    for seed in (0, 0, 1):
        model = SmallVAE()
        train(model, ring(), Training(steps=10, seed=seed), device="cpu")
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_fitter_is_fitted_first():
    class Fitted(Mean):
        def fit(self, data):
            assert int(self.count) == 0
            self.count += 100

    assert int(train(Fitted(), ring(), Training(steps=3), device="cpu").model.count) == 103

    class Closed:
        def fit(self, data):
            self.mean = data.x.mean(0)

    closed = train(Closed(), ring(), Training(steps=1), device="cpu")
    assert torch.equal(closed.averaged.mean, ring().x.mean(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "budget"),
        ({"steps": 0}, "steps must be positive"),
        ({"steps": 1, "clip": -1.0}, "clip must be positive"),
        ({"steps": 1, "save_seconds": -1.0}, "save_seconds"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Training(**settings)


def test_what_cannot_be_trained_is_refused_by_name():
    with pytest.raises(ValueError, match="dict cannot be trained"):
        train({}, ring(), Training(steps=1))
    with pytest.raises(ValueError, match="multiple of processes x accumulate = 3; got 128"):
        train(Mean(), ring(), Training(steps=1, accumulate=3), device="cpu")
