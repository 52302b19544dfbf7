"""For every law a model that breaks it and no other: a law that cannot fail is no law."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Normal
from toys import (
    Captions,
    Coins,
    CoinsByCode,
    Columns,
    Duel,
    Echo,
    Flip,
    Flips,
    InTurn,
    LinearCodec,
    Mixture,
    Negatives,
    ScoredStretch,
    SlopedWords,
    Stretch,
    SureColumns,
    Toss,
    Tosses,
    Turned,
    Turns,
    Words,
)

from simulacra import laws
from simulacra.core.batch import Batch, Loss
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.turns import Player
from simulacra.nets.dense import mlp

# -- drawing ----------------------------------------------------------------------------------------------------------


class LargeSamplesDrawnInChunks(Mixture):
    """Each chunk of a large sample has a name of its own, so that it does not begin with the smaller sample."""

    def sample(self, n, *, y=None, rng):
        if n != 64:
            return super().sample(n, y=y, rng=rng)
        parts = [super(LargeSamplesDrawnInChunks, self).sample(32, rng=Rng.of(rng)("chunk", i)) for i in range(2)]
        return Batch(x=torch.cat([p.x for p in parts]), y=torch.cat([p.y for p in parts]))


class ForgetsItsFirstRow(Mixture):
    def sample(self, n, *, y=None, rng):
        rng = Rng.of(rng)
        return super().sample(n, y=y, rng=Rng(rng.seed, rng.path))


class Remembers(Mixture):
    """The second sample of a size differs from the first."""

    def __init__(self):
        super().__init__()
        self.calls = {}

    def sample(self, n, *, y=None, rng):
        self.calls[n] = self.calls.get(n, 0) + 1
        return super().sample(n, y=y, rng=Rng.of(rng)("call", self.calls[n]))


class IgnoresTheSeed(Mixture):
    def sample(self, n, *, y=None, rng):
        rng = Rng.of(rng)
        return super().sample(n, y=y, rng=Rng(0, rng.path, rng.first))


class CountsFromOne(Coins):
    def sample(self, n, *, y=None, rng):
        return Batch(x=super().sample(n, rng=rng).x + 1)


class CoinsAsFloats(Coins):
    def sample(self, n, *, y=None, rng):
        return Batch(x=super().sample(n, rng=rng).x.float())


class BetweenLevels(Columns):
    def sample(self, n, *, y=None, rng):
        x = dict(super().sample(n, rng=rng).x)
        return Batch(x={**x, "mark": (x["mark"] + 0.5).clamp(max=4.5)})

    def fill(self, x, known, rng):
        return Columns().fill(x, known, rng)


class LettersBeyondTheEnd(Words):
    def sample(self, n, *, y=None, rng):
        return replace(super().sample(n, rng=rng), x=torch.full((n, 5), 2))


class NotANumber(LinearCodec):
    def sample(self, n, *, y=None, rng):
        x = super().sample(n, rng=rng).x
        return Batch(x=torch.where(x > 0.9, math.nan, x) if n == 32 else x)


class MixesUpLabels(Mixture):
    def sample(self, n, *, y=None, rng):
        batch = super().sample(n, y=y, rng=rng)
        return batch if y is None else replace(batch, y=y.flip(0))


class DrawsEveryLabelAlike(Mixture):
    def sample(self, n, *, y=None, rng):
        return super().sample(n, y=Rng.of(rng)("y").integers(3, (n,)) if y is None else y, rng=rng)


class LabelsOfNoMarginal(Duel):
    """It cannot score, so nothing but the sum of its labels' probabilities tells."""

    space = replace(Duel.space, y=Mixture.space.y)

    def label_log_prob(self):
        return torch.tensor([0.5, 0.5, 0.5]).log()

    def sample(self, n, *, y=None, rng):
        y = Rng.of(rng)("y").integers(3, (n,)) if y is None else y
        return replace(super().sample(n, rng=rng), y=y)


class StopsTraining(Mixture):
    def sample(self, n, *, y=None, rng):
        self.eval()
        return super().sample(n, y=y, rng=rng)


class CountsItsQuestions(Mixture):
    def __init__(self):
        super().__init__()
        self.register_buffer("asked", torch.zeros(()))

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None):
        self.asked += 1
        return super().log_likelihood(x, y=y)


class MovesTheGlobalGenerator(LinearCodec):
    def decode(self, z, *, y=None):
        torch.rand(1)
        return super().decode(z)


class TranslatesIntoMore(Negatives):
    def translate(self, x, *, y):
        return super().translate(x, y=y).repeat(1, 2)


class TranslatesTogether(Negatives):
    def translate(self, x, *, y):
        return super().translate(x, y=y) + x.mean(0)


class CentresItsConditions(Captions):
    def sample_given(self, y, *, rng):
        x = super().sample_given(y, rng=rng).x
        return Batch(x=x - x.mean(0))


class OneNumberACaption(Captions):
    def sample_given(self, y, *, rng):
        return Batch(x=super().sample_given(y, rng=rng).x[:, 0])


class SaysMoreThanItFinds(Echo):
    def search(self, y, *, width=5, alpha=1.0):
        found = super().search(y, width=width, alpha=alpha)
        return replace(found, log_prob=found.log_prob + 0.1)


class LosesByABeam(Echo):
    """Several lanes hear the contrary, and say truly how likely that is."""

    def search(self, y, *, width=5, alpha=1.0):
        found = super().search(y if width == 1 else 1 - y, width=1, alpha=alpha)
        return replace(found, log_prob=self.log_likelihood(found.tokens, y=y, length=found.length).nats)


class LooksAtLess(Echo):
    def attention(self, x, length, *, y):
        return 0.9 * super().attention(x, length, y=y)


# -- scoring ----------------------------------------------------------------------------------------------------------


def rescored(model, change):
    """The model's class with its log-likelihood changed."""

    class Rescored(model):
        def log_likelihood(self, x, **given):
            return change(super().log_likelihood(x, **given), given)

    Rescored.__name__ = f"Rescored{model.__name__}"
    return Rescored


def plus(amount):
    """nats plus a function of (LogLikelihood, given)."""
    return lambda said, given: replace(said, nats=said.nats + amount(said, given))


def gaps(known):
    """1 for each example of which something is unknown, else 0."""
    return 0.0 if known is None else 1.0 - torch.stack(list(known.values())).all(0).double()


def as_bound(said, given):
    """The same numbers, called a bound."""
    return replace(said, kind="bound")


class ScoresHiddenJobs(Columns):
    def seen(self, part, known, name):
        return part if name == "job" else super().seen(part, known, name)

    def log_likelihood(self, x, **given):
        # a bound: of exact parts another law would have something to say
        return as_bound(super().log_likelihood(x, **given), given)


class ScoresPadding(Words):
    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None):
        return replace(super().log_likelihood(x, length=length), nats=self.letters(x, None))


class BestLabelOnly(Mixture):
    def summed_out(self, given):
        return (given + self.log_prob).amax(1)


class ForgetsTheNormaliser(Mixture):
    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None):
        said = super().log_likelihood(x, y=y)
        return replace(said, nats=said.nats + math.log(2 * math.pi * 0.25))


class AddsTheDivergence(LinearCodec):
    # its bound lies above the evidence, as the law of the sandwich would say too
    sample_from = None  # type: ignore[assignment]

    def minus_kl(self, z, q):
        return -super().minus_kl(z, q)


class ClaimsToBeExact(Words):
    """Noise of its own row under the name of an exact value."""

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None):
        said = super().log_likelihood(x, length=length)
        return replace(said, nats=said.nats + 0.1 * Rng.of(rng)("noise").normal((len(x),)))


# -- codes, completions, critics --------------------------------------------------------------------------------------


class TossesOneCoinTwice(Tosses):
    def walk(self, n, *, y=None):
        toss = Toss(n)
        toss.order = torch.tensor([2, 1, 1])
        return toss


class TossesFairCoins(Tosses):
    def walk(self, n, *, y=None):
        toss = Toss(n)
        toss.log_probs = lambda: torch.tensor([0.5, 0.5]).log().expand(n, 2)
        return toss


class CoinsOfUnsureTotal(CoinsByCode):
    def normalised(self, scores):
        return scores.log_softmax(-1) + 0.1


class TossesWithoutNormalising(Tosses):
    """Right in sum, but not step by step."""

    def walk(self, n, *, y=None):
        toss, left = Toss(n), [0.1, -0.1, 0.0]
        log_probs = toss.log_probs
        toss.log_probs = lambda: log_probs() + left[3 - len(toss.order)]
        return toss


class TossesFairCoinsAlone(Tosses):
    def walk(self, n, *, y=None):
        toss = Toss(n)
        if n < 8:
            toss.log_probs = lambda: torch.tensor([0.5, 0.5]).log().expand(n, 2)
        return toss


class FlipsOtherCoinsThanItsSteps(Flips):
    def steps(self, n, *, y=None, prompt=None):
        flip = Flip(n)
        flip.log_probs = lambda: torch.tensor([0.5, 0.5]).log().expand(n, 2)
        return flip


class ForgetsHowSmallTheNoiseIs(LinearCodec):
    def log_prob_given(self, x, z, *, y=None, known=None, length=None):
        return Normal(self.decoder(z), 0.6).log_prob(x).sum(1)


class FarCodes(LinearCodec):
    """Codes so far out that the decoder, right near the origin, has no answer for them."""

    def encode(self, x, *, y=None):
        return 1000 * super().encode(x)

    def decode(self, z, *, y=None):
        return torch.where(z.abs() > 50, math.nan, super().decode(z))


class CodesOfNoCategory(Turned):
    """A third side that the latent space does not have."""

    def encode(self, x, *, y=None):
        return super().encode(x) + 2 * (x[:, :1] == 0)

    def decode(self, z, *, y=None):
        return super().decode(z % 2)

    def posterior(self, x, *, y=None):
        return Anything()


class Anything:
    """A density of 1 wherever one asks."""

    def log_prob(self, z):
        return torch.zeros(len(z))


class CodesOfFloats(Turned):
    def encode(self, x, *, y=None):
        return super().encode(x).double()


class CentresItsCodes(LinearCodec):
    def encode(self, x, *, y=None):
        z = super().encode(x)
        return z - z.mean(0)


class PosteriorOfEachEntry(LinearCodec):
    def posterior(self, x, *, y=None):
        whole = super().posterior(x)
        return Normal(whole.mean, whole.stddev)


class PartsWithoutTheirScale(InTurn):
    """What it picks from is wider than what it scores by."""

    def posterior(self, x, *, y=None):
        turns = Turns(self.q(x))
        turns.parts = lambda: [(m, 2 * s) for m, s in Turns.parts(turns)]
        return turns


class DecidesOneOfTwo(InTurn):
    def posterior(self, x, *, y=None):
        turns = Turns(self.q(x))
        turns.parts = lambda: list(Turns.parts(turns))[:1]
        return turns


class ReturnsItsMeans(InTurn):
    """What was picked is not what it goes on with."""

    def posterior(self, x, *, y=None):
        turns = Turns(self.q(x))
        turns.decide = lambda pick: Turns.decide(turns, lambda normal: (pick(normal), normal.mean)[1])
        return turns


class DecodesOutsideTheSquare(LinearCodec):
    """Codes of examples are too small to be decoded there; codes from the prior are not."""

    def encode(self, x, *, y=None):
        return 0.1 * super().encode(x)

    def decode(self, z, *, y=None):
        return 5 * self.decoder(z)


class DecodesTogether(LinearCodec):
    def decode(self, z, *, y=None):
        return super().decode(z - z.mean(0))


class DecodesWithoutSlope(LinearCodec):
    @torch.no_grad()
    def decode(self, z, *, y=None):
        return super().decode(z)


class ComesBackBesideItself(Stretch):
    def from_latent(self, z, *, y=None):
        return super().from_latent(z) + 0.01


class ForgetsItsStretch(Stretch):
    def to_latent(self, x, *, y=None):
        z, log_det = super().to_latent(x)
        return 2 * z, log_det

    def from_latent(self, z, *, y=None):
        return super().from_latent(z / 2)


class InvertsTogether(Stretch):
    def from_latent(self, z, *, y=None):
        return super().from_latent(z) + (0.1 if len(z) == 1 else 0.0)


class ScoresByAnotherNormal(ScoredStretch):
    def normal(self, z):
        return super().normal(z - 1)


class DrawsEverythingAnew(Columns):
    def complete(self, x, known, *, y=None, rng):
        return Batch(x=self.fill(x, known, Rng.of(rng)))


class CompletesBetweenLevels(Columns):
    def fill(self, x, known, rng):
        drawn = super().fill(x, known, rng)
        return {**drawn, "mark": (drawn["mark"] + 0.5).clamp(max=4.5)}


class Peeks(Columns):
    def fill(self, x, known, rng):
        return {**super().fill(x, known, rng), "age": x["age"]}


class CompletesTogether(Columns):
    """Unknown ages from the mean of those known beside them."""

    def fill(self, x, known, rng):
        drawn = super().fill(x, known, rng)
        mean = (x["age"] * known["age"]).sum() / known["age"].sum().clamp(min=1)
        return {**drawn, "age": drawn["age"] + mean}


class CompletesAnyJob(SureColumns):
    def fill(self, x, known, rng):
        return {**super().fill(x, known, rng), "job": rng("any").integers(4, (len(x["job"]),))}


class ScoresInAColumn(Duel):
    def criticise(self, x, *, y=None):
        return self.critic(x)


class DenoisesByTheLoudest(Mixture):
    def denoise(self, x, sigma, *, y=None):
        return super().denoise(x, torch.as_tensor(sigma).max(), y=y)


class ScoresAgainstEachOther(Duel):
    def criticise(self, x, *, y=None):
        scores = super().criticise(x)
        return scores - scores.mean()


# -- learning ---------------------------------------------------------------------------------------------------------


def with_players(change):
    """A duel whose players are changed."""

    class Other(Duel):
        def players(self):
            return change(self, dict(super().players()))

    return Other


class NobodysWeight(Duel):
    def __init__(self):
        super().__init__()
        self.lonely = nn.Parameter(torch.ones(2))


class TwoTurnsOfAName(Duel):
    def turns(self):
        return [replace(turn, name="turn") for turn in super().turns()]


class UnusedLayer(Duel):
    def networks(self):
        generator, critic = super().networks()
        generator.add_module("unused", Unused())
        return generator, critic


class Unused(nn.Module):
    """Passes its input on, beside a weight that has no part in it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def initialise(self, rng):
        self.weight.fill_(1.0)

    def forward(self, x):
        return x


class ReadsTheGlobalSeed(Duel):
    def critic_loss(self, batch, rng):
        loss = super().critic_loss(batch, rng)
        return Loss(loss.total + len(batch) * (torch.initial_seed() % 7), loss.weight)


class MeanForASum(Duel):
    def critic_loss(self, batch, rng):
        loss = super().critic_loss(batch, rng)
        return Loss(loss.total / loss.weight, loss.weight)


class MeanForASumAcrossTheBatch(Duel):
    def networks(self):
        return mlp((2, 8, 2)), nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 1))

    def criticise(self, x, *, y=None):
        return x.sum(1)

    def critic_loss(self, batch, rng):
        loss = super().critic_loss(batch, rng)
        return Loss(loss.total / loss.weight, loss.weight)


class PenaltyOnceABatch(Duel):
    """A penalty on weights that is not multiplied by the number of examples counts more in smaller parts."""

    def generator_loss(self, batch, rng):
        loss = super().generator_loss(batch, rng)
        penalty = sum(p.square().sum() for p in self.generator.parameters())
        return Loss(loss.total + penalty, loss.weight)


class WeighsEveryBatchAlike(Duel):
    def generator_loss(self, batch, rng):
        return Loss(super().generator_loss(batch, rng).total, 1.0)


class StateOutsideItsBuffers(Duel):
    def __init__(self):
        super().__init__()
        self.shift = 0.0

    def turns(self):
        *others, last = super().turns()
        return [*others, replace(last, after=self.advance)]

    def advance(self, terms):
        self.shift += 1.0

    def sample(self, n, *, y=None, rng):
        return Batch(x=super().sample(n, rng=rng).x + self.shift)


class FitsWithNoise(Mixture):
    def fit(self, data):
        super().fit(data)
        self.means += torch.rand(3, 2)


class ForgetsTheNormaliserSlope(SlopedWords):
    """log p is right, its gradient is that of the letters' weights alone."""

    def log_prob_of(self, x, *, y=None, length=None):
        within = torch.arange(5) < (torch.full((len(x),), 5) if length is None else length)[:, None]
        nats = super().log_prob_of(x, length=length).detach()
        weights = torch.where(within, self.logits[x], 0.0).sum(1)
        return nats + weights - weights.detach()


class CountsLettersTwice(SlopedWords):
    def log_prob_of(self, x, *, y=None, length=None):
        return 2 * super().log_prob_of(x, length=length)


class LogProbWithoutSlope(SlopedWords):
    def log_prob_of(self, x, *, y=None, length=None):
        return super().log_prob_of(x, length=length).detach() + 0 * self.logits.sum()


BROKEN = [
    ("prefix", LargeSamplesDrawnInChunks),
    ("parts", ForgetsItsFirstRow),
    ("determined", Remembers),
    ("determined", IgnoresTheSeed),
    ("in space", CountsFromOne),
    ("in space", CoinsAsFloats),
    ("in space", BetweenLevels),
    ("in space", LettersBeyondTheEnd),
    ("in space", NotANumber),
    ("labels kept", MixesUpLabels),
    ("marginal of labels", DrawsEveryLabelAlike),
    ("marginal of labels", LabelsOfNoMarginal),
    ("untouched", StopsTraining),
    ("untouched", CountsItsQuestions),
    ("untouched", MovesTheGlobalGenerator),
    ("given rows", CentresItsConditions),
    ("given in space", OneNumberACaption),
    ("scores", rescored(Words, lambda said, given: replace(said, measure=""))),
    ("scores", rescored(Words, lambda said, given: replace(said, count=-1.0))),
    ("scores", rescored(Words, plus(lambda said, given: torch.where(given["length"] == 3, -math.inf, 0.0)))),
    ("scored alone", rescored(Words, plus(lambda said, given: said.nats.mean()))),
    ("log p has its slope", ForgetsTheNormaliserSlope),
    ("log p has its slope", CountsLettersTwice),
    ("log p has its slope", LogProbWithoutSlope),
    ("exact", ClaimsToBeExact),
    ("unknown ignored", ScoresHiddenJobs),
    (
        "all known",
        rescored(rescored(Columns, plus(lambda said, given: 1.0 if given.get("known") is None else 0.0)), as_bound),
    ),
    ("parts are sums", rescored(Columns, plus(lambda said, given: 0.1 * gaps(given.get("known"))))),
    ("completed exactly", CompletesAnyJob),
    ("padding ignored", ScoresPadding),
    ("labels summed out", BestLabelOnly),
    ("sums to one", rescored(Coins, plus(lambda said, given: 0.1))),
    ("sums to one", rescored(Coins, plus(lambda said, given: -0.1))),
    ("sums to one", AddsTheDivergence),
    ("choices add up", CoinsOfUnsureTotal),
    ("walk is whole", TossesOneCoinTwice),
    ("walk adds up", TossesFairCoins),
    ("walk adds up", TossesWithoutNormalising),
    ("walked alone", TossesFairCoinsAlone),
    ("goes on by its steps", FlipsOtherCoinsThanItsSteps),
    ("found as likely", SaysMoreThanItFinds),
    ("found as likely", LosesByABeam),
    ("looks are shares", LooksAtLess),
    ("encoded", FarCodes),
    ("encoded", CodesOfNoCategory),
    ("encoded", CodesOfFloats),
    ("encoded alone", CentresItsCodes),
    ("posterior", PosteriorOfEachEntry),
    ("posterior in parts", PartsWithoutTheirScale),
    ("posterior in parts", DecidesOneOfTwo),
    ("posterior in parts", ReturnsItsMeans),
    ("decoded", DecodesOutsideTheSquare),
    ("decoded alone", DecodesTogether),
    ("decoded smoothly", DecodesWithoutSlope),
    ("there and back", ComesBackBesideItself),
    ("log-determinant", ForgetsItsStretch),
    ("inverted alone", InvertsTogether),
    ("scored by its code", ScoresByAnotherNormal),
    ("sandwiched", ForgetsHowSmallTheNoiseIs),
    ("known kept", DrawsEverythingAnew),
    ("completed in space", CompletesBetweenLevels),
    ("unknown unseen", Peeks),
    ("completed alone", CompletesTogether),
    ("denoised alone", DenoisesByTheLoudest),
    ("translated", TranslatesIntoMore),
    ("translated alone", TranslatesTogether),
    ("criticised", ScoresInAColumn),
    ("criticised alone", ScoresAgainstEachOther),
    ("players apart", with_players(lambda m, p: {**p, "generator": Player(module=m, optimiser=AdamW())})),
    ("nobody left out", NobodysWeight),
    ("turns named", TwoTurnsOfAName),
    ("gradients", UnusedLayer),
    ("everyone moves", with_players(lambda m, p: {**p, "critic": replace(p["critic"], optimiser=AdamW(lr=0.0))})),
    ("loss determined", ReadsTheGlobalSeed),
    ("loss is a sum", MeanForASum),
    ("loss is a sum", MeanForASumAcrossTheBatch),
    ("loss is a sum", PenaltyOnceABatch),
    ("loss is a sum", WeighsEveryBatchAlike),
    ("saved and loaded", StateOutsideItsBuffers),
    ("fitted alike", FitsWithNoise),
]


@pytest.mark.parametrize(("law", "make"), BROKEN, ids=[f"{law}: {make.__name__}" for law, make in BROKEN])
def test_a_broken_model_breaks_this_law_and_no_other(law, make):
    assert {r.name: r.detail for r in laws.check(make) if r.failed}.keys() == {law}


def test_every_law_can_fail():
    assert {law for law, _ in BROKEN} == {law.name for law in laws.LAWS}


def test_a_density_that_is_not_normalised_is_measured():
    (found,) = [r for r in laws.check(ForgetsTheNormaliser) if r.failed]
    assert found.name == "sums to one"
    # the integral is what was left out: 2 pi 0.25
    assert f"{2 * math.pi * 0.25:.4g}"[:4] in found.detail
