"""A run that meets a number that is not finite stops with the last good weights, and says which turn broke."""

from __future__ import annotations

import pytest
import torch
from small_models import Mean, SmallGAN, SmallVAE, ring

from simulacra.core.batch import Loss
from simulacra.nets.norm import BatchNorm
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.training.state import weights_and_averages


def settings(**changes):
    return Training(**{"steps": 40, "batch": 32, "log_every": 5, **changes})


class Breaking(SmallGAN):
    """Its generator's loss is poisoned at one step: the value itself, or only its gradient."""

    def __init__(self, at, poison):
        super().__init__(norm=BatchNorm)
        self.at, self.poison, self.step = at, poison, 0

    def generator_loss(self, batch, rng):
        loss = super().generator_loss(batch, rng)
        self.step += 1
        return loss if self.step - 1 != self.at else Loss(self.poison(loss.total), loss.weight, loss.terms)


def infinite_slope(total):
    """The same value, but its gradient is inf x 0 = not a number."""
    return total + (total - total.detach()).abs().sqrt()


def all_of(trained):
    return weights_and_averages(trained.model, trained.averaged)


@pytest.mark.parametrize("poison", [lambda t: t * float("nan"), lambda t: t * float("inf"), infinite_slope])
@pytest.mark.parametrize("at", [0, 13, 14, 15])
def test_the_last_good_weights_are_kept_and_the_turn_is_named(poison, at):
    broken = train(Breaking(at, poison), ring(), settings(), device="cpu")
    good = 5 * (at // 5)
    assert (broken.ended, broken.steps) == ("stopped", good)
    (verdict,) = broken.verdicts
    assert (verdict.name, verdict.level) == ("non-finite", "stop")
    if good:
        plain = train(SmallGAN(norm=BatchNorm), ring(), settings(steps=good), device="cpu")
        truth, found = all_of(plain), all_of(broken)
    else:
        truth, found = SmallGAN(norm=BatchNorm).state_dict(), broken.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in truth.items())
    assert [row["step"] for row in broken.log] == list(range(5, good + 1, 5))


def test_it_says_which_turn_at_which_step():
    broken = train(Breaking(13, lambda t: t * float("nan")), ring(), settings(), device="cpu")
    assert "at step 14: the loss of turn 'generator'" in broken.verdicts[0].text
    assert "weights of step 10 are kept" in broken.verdicts[0].text


def test_no_checkpoint_of_broken_weights_is_written(tmp_path):
    train(Breaking(13, infinite_slope), ring(), settings(save_seconds=0.0), device="cpu", folder=tmp_path)
    (state,) = (tmp_path / "resume").iterdir()
    # the gradient was poisoned in step 14: what step 13 left is the last good state
    assert state.name == "step-13"
    again = train(
        SmallGAN(norm=BatchNorm), ring(), settings(save_seconds=0.0), device="cpu", folder=tmp_path, resume=True
    )
    plain = train(SmallGAN(norm=BatchNorm), ring(), settings(), device="cpu")
    truth, found = all_of(plain), all_of(again)
    assert all(torch.equal(found[name], value) for name, value in truth.items())


def test_a_batch_of_no_weight_changes_nothing():
    class Masked(Mean):
        def loss(self, batch, rng):
            loss = super().loss(batch, rng)
            return Loss(loss.total * 0, 0.0 if self.python else torch.zeros(()))

    for python in (True, False):
        for parts in (1, 2):
            model = Masked()
            model.python = python
            trained = train(model, ring(), settings(steps=5, accumulate=parts), device="cpu")
            assert trained.ended == "budget"
            assert model.net.weight.abs().max() == 0


def test_bfloat16_keeps_float32_weights_and_learns():
    model = SmallVAE(lr=1e-2)
    trained = train(model, ring(), settings(steps=200, precision="bfloat16"), device="cpu")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert trained.log[-1]["elbo"] < trained.log[0]["elbo"] / 2


@pytest.mark.slow
def test_compiling_changes_nothing_but_rounding():
    ends = []
    for compiled in (False, True):
        model = SmallVAE()
        train(model, ring(), settings(steps=10, precision="float64", compile=compiled), device="cpu")
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert (ends[0] - ends[1]).abs().max() < 1e-10
