"""Annealing on models whose evidence is known: a linear-Gaussian VAE, and a linear decoder seen through noise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import MultivariateNormal

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.evaluation.annealed import (
    Settings,
    annealed,
    figures_of_annealing,
    from_posterior,
    sandwiched,
)
from simulacra.evaluation.observed import Observed
from simulacra.families.vae import VAE, VAEConfig
from simulacra.mathematics.annealing import Annealing
from simulacra.nets.backbones import Dense

F64, INF = torch.float64, math.inf
SPACE = Space(fields={"point": Continuous(low=-INF, high=INF, shape=(4,))}, measure="four coordinates")
W = torch.tensor([[1.0, 0.5], [-1.0, 0.5], [0.5, 1.0], [0.5, -1.0]], dtype=F64)  # orthogonal columns
SIGMA, N = 0.5, 100
BRIEF = Settings(annealing=Annealing(steps=40, leapfrog=4), chains=8)
NEAR = replace(BRIEF, start=from_posterior)


def linear_gaussian(stretch: float = 2.5) -> VAE:
    """x = W z + sigma e, its encoder the true posterior with its deviation stretched."""
    model = VAE(VAEConfig(latent=2, networks=Dense(hidden=())), SPACE).double()
    encoder, decoder = model.encoder.layers[0], model.decoder.layers[0]
    with torch.no_grad():
        decoder.weight.zero_().view(4, 2, 2)[:, 0] = W
        decoder.bias.zero_().view(4, 2)[:, 1] = math.log(SIGMA)
        precision = 1 + W.square().sum(0) / noise(model) ** 2
        encoder.weight.zero_()[:2] = W.T / noise(model) ** 2 / precision[:, None]
        encoder.bias.zero_()[2:] = -0.5 * precision.log() + math.log(stretch)
    return model


def noise(model: VAE) -> float:
    """The head's floor moves the deviation by less than one in a thousand."""
    return float(model.likelihood(torch.zeros(1, 2, dtype=F64)).parts["point"].log_scale[0, 0].exp().detach())


def evidence(model: VAE) -> MultivariateNormal:
    return MultivariateNormal(torch.zeros(4, dtype=F64), W @ W.T + noise(model) ** 2 * torch.eye(4, dtype=F64))


def held_out(n: int = N) -> Stored:
    x = Rng(0)("z").normal((n, 2), dtype=F64) @ W.T + SIGMA * Rng(0)("e").normal((n, 4), dtype=F64)
    return Stored(space=SPACE, x=x, name="points")


def error(values: torch.Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values))


def test_one_draw_is_below_many_below_annealing_below_the_truth():
    model, data = linear_gaussian(), held_out()
    exact = evidence(model).log_prob(data.x)
    one, many = (exact - model.log_likelihood(data.x, rng=1, k=k).nats for k in (1, 8))
    rung = exact - annealed(model, data, n=N, settings=NEAR).below.nats
    assert float(one.mean()) > float(many.mean()) + 2 * error(one)
    assert float(many.mean()) > float(rung.mean()) + 2 * error(many)
    assert float(rung.mean()) > -4 * error(rung)


@pytest.mark.parametrize("settings", [BRIEF, NEAR])
def test_on_its_own_draws_the_truth_lies_between(settings):
    model = linear_gaussian()
    found = sandwiched(model, N, rng=2, settings=settings)
    exact = evidence(model).log_prob(found.examples.x)
    assert found.above is not None
    low, high = exact - found.below.nats, found.above - exact
    assert float(low.mean()) > -4 * error(low)
    assert float(high.mean()) > -4 * error(high)
    assert float((found.above - found.below.nats).mean()) < 0.6  # nats; a walk of one step is off by many
    assert found.below.kind == "bound"
    assert found.below.count == 4


def test_too_few_temperatures_leave_a_gap_on_both_sides():
    model = linear_gaussian()
    found = sandwiched(model, N, rng=2, settings=Settings(annealing=Annealing(steps=3, leapfrog=3), chains=1))
    exact = evidence(model).log_prob(found.examples.x)
    assert float((exact - found.below.nats).mean()) > 0.5
    assert float((found.above - exact).mean()) > 0.1


def test_an_examples_bound_is_its_own():
    model, settings = linear_gaussian(), Settings(annealing=Annealing(steps=8, leapfrog=2), chains=2)
    whole = annealed(model, held_out(130), n=130, rng=3, settings=settings).below.nats
    again = annealed(model, held_out(110), n=110, rng=3, settings=settings).below.nats
    assert torch.allclose(whole[:110], again)  # batches of 100 and 30, of 100 and 10


def test_a_decoder_seen_through_noise_is_a_linear_gaussian():
    """decode(z) is W z, so that p(x) = N(0, W W' + sigma^2 I)."""
    seen = Observed(linear_gaussian(), 0.4)
    exact = MultivariateNormal(torch.zeros(4, dtype=F64), W @ W.T + 0.16 * torch.eye(4, dtype=F64))
    found = sandwiched(seen, N, rng=5, settings=BRIEF)
    truth = exact.log_prob(found.examples.x)
    low, high = truth - found.below.nats, found.above - truth
    assert -4 * error(low) < float(low.mean()) < 0.6
    assert -4 * error(high) < float(high.mean()) < 0.6
    assert found.below.measure == "four coordinates, as a density"
    z = torch.zeros(3, 2, dtype=F64)
    known = torch.tensor([True, True, False, False]).expand(3, 4)
    part = seen.log_prob_given(torch.full((3, 4), 7.0, dtype=F64), z, known=known)
    assert torch.allclose(part, 2 * torch.distributions.Normal(0.0, 0.4).log_prob(torch.tensor(7.0, dtype=F64)))


def test_figures_say_what_they_are():
    settings = Settings(annealing=Annealing(steps=20, leapfrog=3), chains=4)
    nats, bits, gap = figures_of_annealing(linear_gaussian(), held_out(), n=60, rng=1, settings=settings)
    assert nats.name == "negative log-likelihood of four coordinates, annealed"
    assert (nats.kind, nats.unit, bits.unit, nats.n) == ("bound", "nats", "bits", 60)
    assert bits.value == pytest.approx(nats.value / math.log(2) / 4)
    assert nats.note == "annealed importance sampling, 20 temperatures, 4 chains"
    assert (gap.name, gap.kind, gap.direction) == ("annealing gap", "bound", "lower")
    assert gap.interval is not None
    assert gap.interval[0] < gap.value < gap.interval[1]


def test_classes_are_drawn_and_given():
    space = Space(fields=SPACE.fields, y=Classes(names=("a", "b")), measure="four coordinates")
    model = VAE(VAEConfig(latent=2, networks=Dense(hidden=(4,))), space)
    found = sandwiched(model, 40, rng=1, settings=Settings(annealing=Annealing(steps=4, leapfrog=2), chains=2))
    assert found.examples.y is not None
    assert set(found.examples.y.tolist()) == {0, 1}
    assert bool(found.above.isfinite().all())


def test_what_cannot_be_annealed_is_refused():
    with pytest.raises(ValueError, match="annealed importance sampling needs a LatentVariable"):
        annealed(object(), held_out())
    with pytest.raises(ValueError, match="must be positive; got 0"):
        Observed(linear_gaussian(), 0.0)
    words = VAE(VAEConfig(latent=2), Space(fields={"w": Categorical(k=3, shape=(4,))}))
    with pytest.raises(ValueError, match="fields of numbers"):
        Observed(words, 1.0)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        Settings(chains=0)
    with pytest.raises(ValueError, match="at least one example"):
        annealed(linear_gaussian(), held_out(), n=0)
