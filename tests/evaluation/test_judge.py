"""The whole judgement: of models that draw, that score, of samples alone; and copies."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from simulacra.core.batch import Batch, Stored
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.evaluation import intervals
from simulacra.evaluation.extractors import batches, pixels, plain, points, values
from simulacra.evaluation.judge import (
    copying,
    draw,
    figures_of_samples,
    frechet_of_all,
    judge,
    nearest_training,
)
from simulacra.evaluation.statistics import Origin
from simulacra.evaluation.streaming import of_conditions, of_data
from simulacra.mathematics.frechet import frechet_distance
from simulacra.modalities.sprites import Sprites

PLANE = Space(fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,))}, measure="plane")


class Gaussian:
    """Draws from N(shift, I)."""

    def __init__(self, shift: float = 0.0) -> None:
        self.space, self.shift = PLANE, shift

    def sample(self, n, *, y=None, rng) -> Batch:
        return Batch(x=Rng.of(rng)("z").normal((n, 2)) + self.shift)


class ScoredGaussian(Gaussian):
    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        nats = -0.5 * (x - self.shift).double().square().sum(1) - math.log(2 * math.pi)
        return LogLikelihood(nats=nats, kind="exact", measure="plane", count=2.0)


def plane(n: int, seed: int = 1) -> Stored:
    return Stored(space=PLANE, x=Rng(seed)("x").normal((n, 2)), name="plane")


def by_name(figures):
    return {f.name: f for f in figures}


def test_a_better_model_is_judged_better():
    good, bad = (by_name(judge(ScoredGaussian(s), plane(600), n=600, rng=4)) for s in (0.0, 1.5))
    for name in good:
        if good[name].direction == "lower":
            assert good[name].value < bad[name].value, name
        elif good[name].direction == "higher":
            assert good[name].value > bad[name].value, name
    assert "negative log-likelihood of plane" in good
    assert good["Frechet distance"].extractor == "points"


def test_figures_are_those_of_the_seed():
    first, again, other = (judge(Gaussian(), plane(100), rng=s) for s in (1, 1, 2))
    assert first == again
    assert first[0].value != other[0].value
    assert first[0].seed == 1


def test_what_a_model_lacks_is_left_out_and_what_has_nothing_is_refused():
    assert not any("likelihood" in f.name for f in judge(Gaussian(), plane(60)))
    with pytest.raises(ValueError, match="k is of a likelihood, and Gaussian has none"):
        judge(Gaussian(), plane(60), options={"k": 5})
    with pytest.raises(ValueError, match="needs a Sampler or a Likelihood; int is nothing we know of"):
        judge(3, plane(60))


def test_samples_do_not_depend_on_the_batch():
    assert torch.equal(draw(Gaussian(), 20, 5, batch=3), draw(Gaussian(), 20, 5))
    assert torch.equal(draw(Gaussian(), 20, 5)[:8], draw(Gaussian(), 8, 5))
    with pytest.raises(ValueError, match="at least 1; got 0"):
        draw(Gaussian(), 0, 5)


class Echo:
    """Draws y and a little noise for y."""

    def sample_given(self, y, *, rng) -> Batch:
        return Batch(x=y + 0.01 * rng.normal(y.shape), y=y)


def test_what_draws_for_conditions_draws_for_those_of_the_held_out_examples():
    x = Rng(0)("x").normal((300, 2))
    field = Continuous(low=-math.inf, high=math.inf, shape=(2,))
    space = Space(fields={"x": field}, y=Space(fields={"y": field}), measure="plane")
    data = Stored(space=space, x=x, y=x)
    part = of_conditions(Echo(), data, 3)
    drawn = part(0, 7).x
    assert float((drawn - x[:7]).abs().max()) < 0.1
    assert torch.equal(drawn[4:], part(4, 7).x), "the same numbers, whatever the batch"
    assert float((part(299, 301).x - x[[299, 0]]).abs().max()) < 0.1, "again from the first"
    distance = next(f for f in judge(Echo(), data, rng=1) if f.name.startswith("Frechet distance"))
    assert abs(distance.value) < 0.05


def test_a_model_is_judged_at_rest_and_left_as_it_was():
    class Dropping(torch.nn.Module):
        space = PLANE

        def __init__(self):
            super().__init__()
            self.drop, self.still = torch.nn.Dropout(0.5), torch.nn.Dropout(0.5).eval()

        def sample(self, n, *, y=None, rng):
            return Batch(x=self.drop(torch.ones(n, 2)))

    model = Dropping().train()
    model.still.eval()
    assert (draw(model, 50, 0) == 1).all()
    assert (model.training, model.drop.training, model.still.training) == (True, True, False)


def test_fewer_examples_are_a_random_choice():
    """Data sorted by size: the first tenth of it would not do."""
    data = Stored(space=PLANE, x=torch.arange(1000.0)[:, None].expand(-1, 2).contiguous())
    few = values(data, 100, 3)[:, 0]
    assert len(few.unique()) == 100
    assert 350 < float(few.mean()) < 650
    assert torch.equal(few, torch.cat([b.x for b in batches(data, 100, 3, batch=7)])[:, 0])
    assert torch.equal(values(data, 1000, 3), data.x)


def test_own_values_are_features_where_they_are_numbers():
    assert plain(PLANE) is points
    assert plain(Space(fields={"p": Continuous(low=-1, high=1, levels=256, shape=(1, 8, 8))})) is pixels
    assert plain(Space(fields={"t": Categorical(k=5, shape=(9,), varying=True)})) is None
    assert pixels.hash != points.hash
    assert pixels(torch.zeros(3, 1, 8, 8)).shape == (3, 64)
    with pytest.raises(ValueError, match="at least one example"):
        pixels(torch.zeros(0, 1, 8, 8))
    with pytest.raises(ValueError, match=r"got fields \['a'\]"):
        pixels({"a": torch.zeros(3)})


def test_copies_are_found():
    train = plane(500, 2).x
    fresh = plane(200, 3).x
    copied = train[:200] + 1e-4
    found = nearest_training(copied, train)
    assert torch.equal(found.index, torch.arange(200))
    assert found.ratio.median() < 0.01 < 0.2 < nearest_training(fresh, train).ratio.median()
    torch.testing.assert_close(found.distance, torch.full((200,), 1e-4 * 2**0.5).double(), rtol=0.02, atol=0)
    origin, held = Origin(), plane(200, 4).x
    assert copying(copied, held, train, origin=origin).value == 1.0
    assert 0.35 < copying(fresh, held, train, origin=origin).value < 0.65


def test_copies_of_doubled_examples_are_not_marked_as_of_one():
    train = torch.cat([plane(50).x, plane(50).x])
    assert (nearest_training(train[:50], train).ratio == 1).all()


def test_training_data_adds_the_figure_of_copying():
    names = by_name(judge(Gaussian(), plane(100), train=plane(300, 2)))
    assert names["closer to training than held-out"].direction == "neither"


def test_known_factors_add_the_figures_of_disentanglement():
    sprites = Sprites(side=16)

    class Coded(Gaussian):
        latent = PLANE

        def encode(self, x, *, y=None):
            return x.flatten(1)[:, 100:102]

        def decode(self, z, *, y=None):
            return torch.zeros(len(z), 1, 16, 16)

        def posterior(self, x, *, y=None):
            return torch.distributions.Normal(self.encode(x), 1.0)

    found = by_name(judge(Coded(), plane(60), train=sprites, extractors=[], n=60))
    assert found["mutual information gap"].n == 500
    assert "mutual information gap" not in by_name(judge(Coded(), plane(60), train=plane(60), extractors=[]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_figures_say_the_precision_of_their_features(dtype):
    x, y = (Rng(0)(name).normal((30, 2), dtype=dtype) for name in "xy")
    figures = figures_of_samples(x, y, extractors=[points])
    assert {f"torch.{f.dtype}" for f in figures} == {str(dtype)}


def test_plain_arrays_of_samples():
    figures = figures_of_samples(torch.zeros(40, 1, 4, 4), torch.ones(30, 1, 4, 4), extractors=[pixels])
    assert figures[0].value == pytest.approx(16.0)


def test_all_samples_by_their_moments_where_they_are_too_many_for_pairs():
    part, n = of_data(plane(1300, 8), 1300, 0)
    (figure,) = frechet_of_all(part, n, plane(200), extractors=[points], seed=2)
    assert figure.value == pytest.approx(frechet_distance(plane(1300, 8).x, plane(200).x), rel=1e-9)
    assert (figure.name, figure.n, figure.n_real, figure.interval) == (
        "Frechet distance of all samples", 1300, 200, None
    )  # fmt: skip
    published = dataclasses.replace(points, standard={"Frechet distance": ("FID-50k", 1300)})
    assert frechet_of_all(part, n, plane(200), extractors=[published])[0].name == "FID-50k"


def test_further_statistics_are_passed_in():
    def size(sets, origin):
        labels = None if sets.fake_y is None else len(sets.fake_y)
        why = intervals.none("a count")
        return [origin.figure("size", float(len(sets.fake)), "neither", why, n=len(sets.fake), note=str(labels))]

    found = by_name(judge(Gaussian(), plane(60), n=40, further=[size]))
    assert (found["size"].value, found["size"].note, found["size"].extractor) == (40, "None", "points")
    assert "size" not in by_name(judge(Gaussian(), plane(60), n=40))
