"""Likelihoods of any model: exact means, units, errors; what is drawn belongs to the example."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.batch import Stored
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.evaluation.likelihood import figures_of_likelihood, log_likelihood

PLANE = Space(fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,))}, measure="plane")


class Normal:
    """N(0, I) in the plane; k blurs its answer by a draw, as an importance-weighted estimate does."""

    space = PLANE

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None, k: int = 0) -> LogLikelihood:
        nats = -0.5 * x.double().square().sum(1) - math.log(2 * math.pi)
        if k:
            nats = nats + Rng.of(rng)("noise").normal((len(x), k), dtype=torch.float64).mean(1)
        kind = "bound" if k else "exact"
        return LogLikelihood(
            nats=nats, kind=kind, measure="plane", count=2.0, method=f"k = {k}" if k else "closed form"
        )


def data(n: int) -> Stored:
    return Stored(space=PLANE, x=Rng(1)("x").normal((n, 2)), name="normal")


def test_mean_and_units():
    held_out = data(500)
    found = log_likelihood(Normal(), held_out)
    nats, bits = figures_of_likelihood(found, seed=0)
    expected = float((0.5 * held_out.x.double().square().sum(1)).mean()) + math.log(2 * math.pi)
    assert nats.value == pytest.approx(expected, rel=1e-12)
    assert bits.value == pytest.approx(expected / math.log(2) / 2, rel=1e-12)
    assert (nats.name, nats.unit, nats.kind, nats.n) == ("negative log-likelihood of plane", "nats", "exact", 500)
    assert nats.interval is not None
    assert bits.interval == pytest.approx([b / math.log(2) / 2 for b in nats.interval])
    # half the width is t times the standard error of the mean
    assert (nats.interval[1] - nats.interval[0]) / 2 == pytest.approx(1.9647 * found.standard_error(), rel=1e-3)


def test_batches_do_not_change_what_is_drawn():
    parts = [log_likelihood(Normal(), data(50), rng=3, batch=b, options={"k": 4}).nats for b in (7, 50)]
    assert torch.equal(*parts)


def test_options_are_what_the_model_offers():
    assert figures_of_likelihood(log_likelihood(Normal(), data(40), options={"k": 2}))[0].note == "k = 2"
    with pytest.raises(ValueError, match=r"Normal.log_likelihood offers no draws; expected some of \['k'\]"):
        log_likelihood(Normal(), data(40), options={"draws": 2})


def test_a_model_without_likelihood_is_refused_by_name():
    with pytest.raises(ValueError, match="needs a Likelihood"):
        log_likelihood(object(), data(40))


def test_a_likelihood_that_is_not_finite_is_refused():
    broken = Stored(space=PLANE, x=torch.tensor([[0.0, 0.0], [math.nan, 0.0]]), name="broken")
    with pytest.raises(ValueError, match="1 of 2 examples of broken no finite likelihood"):
        log_likelihood(Normal(), broken)


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="at least one example"):
        log_likelihood(Normal(), data(4), n=0)


def test_bits_of_unequal_examples_are_a_ratio_of_sums():
    nats = torch.tensor([-1.0, -20.0, -3.0] * 20, dtype=torch.float64)
    count = torch.tensor([1.0, 10.0, 2.0] * 20)
    bits = figures_of_likelihood(LogLikelihood(nats=nats, kind="exact", measure="bytes", count=count))[1]
    assert bits.value == pytest.approx(24 / 13 / math.log(2))
    # were every example coded at one rate there would be no doubt about it
    even = figures_of_likelihood(LogLikelihood(nats=-2.0 * count.double(), kind="exact", measure="bytes", count=count))[
        1
    ]
    assert even.interval is not None
    assert even.interval[1] - even.interval[0] < 1e-6


def test_conditions_are_handed_over():
    seen = []

    class Labelled(Normal):
        def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
            seen.append(y)
            return super().log_likelihood(x)

    space = Space(fields=PLANE.fields, y=Classes(names=("a", "b")), measure="plane")
    labels = torch.arange(6) % 2
    log_likelihood(Labelled(), Stored(space=space, x=torch.zeros(6, 2), y=labels))
    assert torch.equal(torch.cat(seen), labels)
