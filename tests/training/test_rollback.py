"""Going back: weights and averages are those of the last healthy look, and a resumed run does the same."""

from __future__ import annotations

import dataclasses

import torch
from small_models import Mean, ring

from simulacra.training.hooks import Verdict
from simulacra.training.looks import Remembering, Suspicion
from simulacra.training.loop import train
from simulacra.training.rollback import Rollback
from simulacra.training.settings import Training

SHORT = Training(steps=60, batch=16, log_every=10)


class Script(Remembering):
    """A monitor that is content at some steps and accuses at others."""

    def __init__(self, ill):
        self.every, self.ill, self.suspicion = 10, ill, Suspicion("script", patience=2)

    def __call__(self, moment):
        return self.suspicion.look(moment, moment.step in self.ill, "ill", "well")


class Recorder:
    """The weight, and its average, after each tenth step."""

    every = 10

    def __init__(self):
        self.seen = {}

    def __call__(self, moment):
        self.seen[moment.step] = (moment.model.net.weight.clone(), moment.averaged().net.weight.clone())


def test_the_weights_are_those_of_the_last_healthy_look():
    model, before, after = Mean(), Recorder(), Recorder()
    trained = train(model, ring(), SHORT, hooks=[before, Rollback(model, Script({30, 40})), after], device="cpu")
    for part in (0, 1):
        assert torch.equal(after.seen[40][part], before.seen[20][part])
        assert not torch.equal(before.seen[40][part], before.seen[20][part])
        assert torch.equal(after.seen[20][part], before.seen[20][part])
    texts = [v.text for v in trained.verdicts if v.name == "rollback"]
    assert texts == ["back to the weights of step 20, where all was well (1 of at most 3)"]


def test_it_goes_back_no_more_often_than_it_is_told():
    model = Mean()
    back = Rollback(model, Script(set(range(20, 61))), most=1)
    trained = train(model, ring(), SHORT, hooks=[back], device="cpu")
    assert [v.name for v in trained.verdicts if v.level == "attention"].count("rollback") == 1


class Stop:
    """Ends the run at a step."""

    def __init__(self, at):
        self.every = at

    def __call__(self, moment):
        return [Verdict(name="stop", level="stop", text="enough", step=moment.step)]


def test_a_resumed_run_goes_back_to_the_same_weights(tmp_path):
    """Stopped between the healthy look and the accusation, it still has what it is to go back to."""
    whole, parts = Mean(), Mean()
    train(whole, ring(), SHORT, hooks=[Rollback(whole, Script({30, 40}))], device="cpu")
    train(parts, ring(), SHORT, hooks=[Rollback(parts, Script({30, 40})), Stop(35)], folder=tmp_path, device="cpu")
    again = Mean()
    settings = dataclasses.replace(SHORT)
    train(
        again, ring(), settings, hooks=[Rollback(again, Script({30, 40}))], folder=tmp_path, resume=True, device="cpu"
    )
    assert torch.equal(again.net.weight, whole.net.weight)
