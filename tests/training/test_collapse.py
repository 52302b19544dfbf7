"""Mode collapse noticed: planted generators of one kind, of three and of half of them; what the figures are worth."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pytest
import torch
from small_models import PLANE, Mean

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Space
from simulacra.modalities import toys
from simulacra.training.collapse import ModeCollapse
from simulacra.training.hooks import Verdict
from simulacra.training.loop import train
from simulacra.training.settings import Training

LONG = Training(steps=10_000, batch=8)  # of which the first hundredths are seen
RING = toys.ring(8, radius=2.0, sigma=0.1)


def drawn(kinds, n, rng):
    """n points of some of the ring's modes."""
    return toys.GaussianMixture(RING.means[kinds], RING.covariances[kinds]).sample(n, rng=rng).x


class Planted(Mean):
    """A model whose samples are a function (n, rng, number of the look) of how often it was asked."""

    def __init__(self, make):
        super().__init__()
        count = itertools.count(1)  # a function's own: the average that is looked at is a copy of this model
        self.make = lambda n, rng: make(n, rng, next(count))

    def criticise(self, x, *, y=None):
        return x[:, 0]

    def sample(self, n, *, y=None, rng):
        return Batch(x=self.make(n, Rng.of(rng)))


class Halt:
    """Ends the run at a step."""

    def __init__(self, at):
        self.every = at

    def __call__(self, moment):
        return [Verdict(name="halt", level="stop", text="enough", step=moment.step)]


def said(make, *, data=RING, until=201, training=LONG, watch=None):
    watch = watch or ModeCollapse(every=100, n=256)
    trained = train(Planted(make), data, training, hooks=[watch, Halt(until)], device="cpu")
    return [v for v in trained.verdicts if v.name == "mode collapse" and v.level == "attention"]


@pytest.mark.parametrize("kinds", [[3], [0, 3, 5], [0, 1, 2, 3]])
def test_a_planted_collapse_is_noticed_within_200_steps_of_a_long_run(kinds):
    (verdict,) = said(lambda n, rng, looks: drawn(kinds, n, rng))
    assert verdict.step <= 200
    assert "the model has collapsed; " in verdict.text
    assert "Pack(2)" in verdict.text or "Relativistic" in verdict.text


def test_good_samples_are_not_accused():
    assert not said(lambda n, rng, looks: drawn(list(range(8)), n, rng), until=501)


def test_a_young_generator_that_grows_is_not_accused():
    """It begins as one blot in the middle and spreads, a fifth at each look."""
    short = Training(steps=600, batch=8)
    make = lambda n, rng, looks: min(1.0, 0.2 * looks) * drawn(list(range(8)), n, rng)  # noqa: E731
    assert not said(make, until=2_000, training=short)
    # and one that stays as it was is
    assert said(lambda n, rng, looks: 0.1 * drawn(list(range(8)), n, rng), until=2_000, training=short)


def test_samples_that_repeat_themselves_are_counted_by_their_coincidences():
    """Of 100 points, 512 samples show 512 x 511 / 2 / 100 pairs alike: the support that is told is about 100."""
    watch = ModeCollapse(every=100)
    (verdict,) = said(
        lambda n, rng, looks: drawn(list(range(8)), 100, 7)[rng("which").integers(100, (n,))], watch=watch
    )
    assert "the model has collapsed" in verdict.text
    assert watch.last is not None
    pairs = 512 * 511 / 2 / 100
    assert watch.last.support == pytest.approx(100, rel=4 / math.sqrt(pairs))


def test_classes_that_samples_lack_are_named():
    space = Space(fields=PLANE.fields, y=Classes(names=tuple("abcdefgh")), measure="plane")
    y = torch.arange(800) % 8
    x = (RING.means[y] + 0.1 * Rng(1)("noise").normal((800, 2), dtype=torch.float64)).float()
    data = Stored(space=space, x=x, y=y, name="ring")
    (verdict,) = said(lambda n, rng, looks: drawn([0, 1, 2, 3], n, rng), data=data)
    assert "hardly any of class e, f, g, h" in verdict.text


def test_what_it_has_seen_survives_a_stop():
    watch, again = ModeCollapse(every=100), ModeCollapse(every=100)
    said(lambda n, rng, looks: drawn([0, 1], n, rng), until=101, watch=watch)
    again.restore(watch.state())
    assert again.state() == watch.state()
    # what runs of before kept of it
    again.restore({"seen": 1, "told": False, "last": ""})
    assert again.state() == {**watch.state(), "seen": 1, "told": False, "last": ""}
    assert again.suspicion.seen == 1


def test_what_was_measured_stands_beside_what_is_said():
    kinds = [0]
    (verdict,) = said(lambda n, rng, looks: drawn(kinds, n, rng))
    rows = {what: (value, worth) for what, value, worth in verdict.measured}
    value, worth = rows["how far apart two samples are, beside two training examples"]
    assert worth == "a fault below 40 %"
    assert 0 <= float(value.removesuffix(" %")) < 40
    assert Verdict(**json.loads(json.dumps(dataclasses.asdict(verdict)))) == verdict
