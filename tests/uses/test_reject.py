"""Samples kept by their critic's score have the data's distribution, if the critic knows the density ratio."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.uses.reject import reject

LINE = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(1,))}, measure="line")
MEAN, SIGMA = 0.5, 0.6


class Wide:
    """Draws N(0, 1); its critic knows the log ratio of N(0.5, 0.6^2) to it, and a constant besides."""

    space = LINE

    def sample(self, n, *, y=None, rng):
        rng = Rng.of(rng)
        x = rng("z").normal((n, 1), dtype=torch.float64)
        return Batch(x=x if y is None else x + 10 * y[:, None], y=y)

    def criticise(self, x, *, y=None):
        z = x[:, 0] if y is None else x[:, 0] - 10 * y
        return z.square() / 2 - ((z - MEAN) / SIGMA).square() / 2 + 7.0


def test_what_is_kept_is_distributed_as_the_data():
    n = 4_000
    x = reject(Wide(), n, percentile=None, rng=3).x[:, 0]
    # the mean's error is sigma / sqrt(n), the variance's sigma^2 sqrt(2 / n)
    assert abs(float(x.mean()) - MEAN) < 4 * SIGMA / math.sqrt(n)
    assert abs(float(x.var()) - SIGMA**2) < 4 * SIGMA**2 * math.sqrt(2 / n)


def test_a_higher_percentile_keeps_better_samples():
    scores = [float(Wide().criticise(reject(Wide(), 500, percentile=p).x).mean()) for p in (5.0, 50.0, 95.0)]
    assert scores == sorted(scores)


def test_few_samples_are_the_first_of_many_and_classes_stay_where_they_were_asked_for():
    many, few = reject(Wide(), 600, rng=1).x, reject(Wide(), 8, rng=1).x
    assert torch.equal(many[:8], few)
    y = torch.tensor([0, 1, 1, 0])
    found = reject(Wide(), 4, y=y, rng=2)
    assert torch.equal(found.y, y)
    assert ((found.x[:, 0] > 5) == (y == 1)).all()


def test_models_without_a_critic_and_scores_that_keep_nothing():
    class Plain:
        sample = Wide.sample

    with pytest.raises(ValueError, match="Critic|criticise"):
        reject(Plain(), 2)
    with pytest.raises(ValueError, match="a percentile lies in 0 .. 100; got 101"):
        reject(Wide(), 2, percentile=101)


def test_the_models_own_options_reach_it():
    seen = []

    class Own(Wide):
        def sample(self, n, *, y=None, truncation=1.0, rng):
            seen.append(truncation)
            return super().sample(n, y=y, rng=rng)

    reject(Own(), 2, options={"truncation": 0.5})
    assert set(seen) == {0.5}
