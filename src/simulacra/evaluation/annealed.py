"""The likelihood of models with a latent variable by annealed importance sampling, and how far off it can be.

The evidence p(x) = integral of N(z; 0, I) p(x | z) dz of held-out examples is bounded from below (Wu, Burda,
Salakhutdinov & Grosse 2017, "On the quantitative analysis of decoder-based generative models"). On examples that the
model drew itself the code they came from is an exact draw from p(z | x), so that p(x) is bounded from above as well
(Grosse et al. 2015): the gap between the two says how far either is from the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data
from simulacra.core.capabilities import Codec, Labelled, LatentVariable, Likelihood, require
from simulacra.core.figure import Figure
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Space
from simulacra.evaluation import intervals
from simulacra.evaluation.extractors import batches
from simulacra.evaluation.likelihood import device_of, figures_of_likelihood, resting
from simulacra.mathematics.annealing import Annealing, LogDensity, forward, reverse, tuned
from simulacra.mathematics.divergences import log_normal
from simulacra.nets.heads import elements

Start = Callable[[LatentVariable, Batch], tuple[Tensor, Tensor]]
EXAMPLES = 100  # annealed where nobody says how many: each costs thousands of passes through the decoder
BATCH = 100
TUNING = 4  # chains an example that find the step sizes


def from_prior(model: LatentVariable, batch: Batch) -> tuple[Tensor, Tensor]:
    """Chains start at N(0, I): what an encoder believes plays no part."""
    device = device_of(model)
    zeros = torch.zeros((len(batch), math.prod(model.latent.only.shape)), dtype=_dtype(model), device=device)
    return zeros, zeros


@torch.no_grad()
def from_posterior(model: LatentVariable, batch: Batch) -> tuple[Tensor, Tensor]:
    """Chains start at the encoder's q(z | x), far nearer where it is any good; the bounds hold wherever they start."""
    codec = require(model, Codec, "starting at q(z | x)")
    given = {} if batch.y is None else {"y": batch.y}
    q = codec.posterior(batch.x, **given)
    return q.mean.flatten(1), q.stddev.flatten(1).log()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How examples are annealed.

    annealing  temperatures and transitions.
    chains     walks an example; log p is the log of their mean weight, so more of them tighten the bound too.
    start      where chains start: ``from_prior`` or ``from_posterior``.
    """

    annealing: Annealing = field(default_factory=Annealing)
    chains: int = 16
    start: Start = from_prior

    def __post_init__(self) -> None:
        if self.chains < 1:
            raise ValueError(f"chains must be at least 1; got {self.chains}")


@dataclass(frozen=True, kw_only=True)
class Annealed:
    """What annealing came to.

    below       lower bounds of log p(x), in expectation over their draws.
    above       nats (b,), upper bounds likewise; None where the examples were not the model's own.
    examples    what was scored.
    acceptance  share of proposals accepted, mean over temperatures; far from what was asked, chains did not mix.
    """

    below: LogLikelihood
    above: Tensor | None
    examples: Batch
    acceptance: float


def annealed(
    model: object, data: Data, *, n: int = EXAMPLES, rng: Rng | int = 0, settings: Settings | None = None
) -> Annealed:
    """log p of n examples chosen at random (all, where there are fewer), from below.

    What is drawn for an example depends on rng and its number only. Raises ValueError for a model that is no
    LatentVariable, or for no examples.
    """
    settings = settings or Settings()
    known = require(model, LatentVariable, "annealed importance sampling")
    stream, parts, count = Rng.of(rng), [], 0
    with resting(model):
        for examples in batches(data, min(n, len(data)), stream("data"), batch=BATCH):
            given = examples.to(device_of(model))
            parts.append(_below(known, given, None, settings, stream("chains").rows(count)))
            count += len(given)
    return _joined(parts, data.name)


def sandwiched(model: object, n: int = EXAMPLES, *, rng: Rng | int = 0, settings: Settings | None = None) -> Annealed:
    """log p of n examples the model draws itself, from both sides; classes are drawn from their marginal.

    Raises ValueError for a model that is no LatentVariable.
    """
    settings = settings or Settings()
    known = require(model, LatentVariable, "annealed importance sampling")
    stream, parts = Rng.of(rng), []
    with resting(model):
        for first in range(0, n, BATCH):
            rows = stream.rows(first)
            batch, z = _own(known, min(BATCH, n - first), rows)
            parts.append(_below(known, batch, z, settings, rows("chains")))
    return _joined(parts, "the model's own draws")


def figures_of_annealing(
    model: object, data: Data, *, n: int = EXAMPLES, rng: Rng | int = 0, settings: Settings | None = None
) -> list[Figure]:
    """The held-out likelihood from below, in nats and bits, and the gap between below and above on own draws."""
    stream = Rng.of(rng)
    found = annealed(model, data, n=n, rng=stream("held out"), settings=settings)
    figures = figures_of_likelihood(found.below, seed=stream.seed)
    own = sandwiched(model, n, rng=stream("own"), settings=settings)
    assert own.above is not None
    gap = own.above - own.below.nats
    interval = intervals.of_mean(gap)
    return [
        *[replace(figure, name=f"{figure.name}, annealed") for figure in figures],
        Figure(
            name="annealing gap",
            value=float(gap.mean()),
            direction="lower",
            kind="bound",
            unit="nats",
            n=len(gap),
            interval=interval.bounds,
            interval_method=interval.method,
            level=intervals.LEVEL,
            seed=stream.seed,
            note="upper less lower bound of log p on examples the model drew: how far the annealed likelihood can be"
            f" off; {own.acceptance:.2f} of proposals accepted",
        ),
    ]


def _below(model: LatentVariable, batch: Batch, z: Tensor | None, settings: Settings, rng: Rng) -> Annealed:
    """A batch from below, and from above where the codes z (b, d) it came from are given."""
    b, c = len(batch), settings.chains
    mean, log_scale = settings.start(model, batch)
    d = mean.shape[1]
    shape = model.latent.only.shape

    def target(chains: int) -> LogDensity:
        wide = batch.map(lambda t: t.repeat_interleave(chains, 0))

        def f(u: Tensor) -> Tensor:
            # the walk is in u = (z - mean) / scale, where it starts at N(0, I)
            code = mean[:, None] + log_scale.exp()[:, None] * u
            log_px = model.log_prob_given(wide.x, code.reshape(b * chains, *shape), **wide.given())
            return log_px.reshape(b, chains) + log_normal(code).sum(-1) + log_scale.sum(-1)[:, None]

        return f

    def draw(name: str, chains: int) -> Tensor:
        return rng(name).normal((b, chains, d), dtype=mean.dtype, device=mean.device)

    # step sizes come from chains of their own: they must not depend on what is then weighed
    few = min(c, TUNING)
    steps = tuned(target(few), draw("tuning start", few), settings.annealing, rng("tuning"))
    f = target(c)
    walk = forward(f, draw("start", c), steps, settings.annealing, rng("forward"))
    below = torch.logsumexp(walk.log_weights, 1) - math.log(c)
    above = None
    if z is not None:
        u = ((z - mean) / log_scale.exp())[:, None].expand(b, c, d).contiguous()
        back = reverse(f, u, steps, settings.annealing, rng("reverse"))
        above = math.log(c) - torch.logsumexp(-back.log_weights, 1)
    measure, count = _scale(model, batch)
    a = settings.annealing
    found = LogLikelihood(
        nats=below,
        kind="bound",
        measure=measure,
        count=count,
        method=f"annealed importance sampling, {a.steps} temperatures, {c} chains",
    )
    return Annealed(
        below=found, above=above, examples=batch, acceptance=float(walk.acceptance.mean()) if a.steps > 1 else math.nan
    )


@torch.no_grad()
def _own(model: LatentVariable, n: int, rng: Rng) -> tuple[Batch, Tensor]:
    """n examples drawn from the model, and the codes (n, d) they came from."""
    device, shape = device_of(model), model.latent.only.shape
    y = None
    space = getattr(model, "space", None)
    if isinstance(space, Space) and isinstance(space.y, Classes) and isinstance(model, Labelled):
        y = rng("y").categorical(model.label_log_prob().expand(n, -1)).to(device)
    z = rng("z").normal((n, *shape), dtype=_dtype(model), device=device)
    return replace(model.sample_from(z, y=y, rng=rng("x")), y=y), z.flatten(1)


def _scale(model: LatentVariable, batch: Batch) -> tuple[str, float | Tensor]:
    """The measure of a model's likelihoods and the size of the examples in it, as the model's own say."""
    if isinstance(model, Likelihood):
        one = model.log_likelihood(batch.x, **batch.given(), rng=Rng(0))
        return one.measure, one.count
    space = getattr(model, "space", None)
    if not isinstance(space, Space):
        raise ValueError(f"a likelihood needs to know what it is of; give {type(model).__name__} an attribute space")
    return space.measure, elements(space, len(batch), batch.known, batch.length, batch.x)


def _joined(parts: list[Annealed], name: str) -> Annealed:
    if not parts:
        raise ValueError(f"a likelihood needs at least one example; {name} has none")
    counts = [
        p.below.count if isinstance(p.below.count, Tensor) else torch.full((len(p.below.nats),), float(p.below.count))
        for p in parts
    ]
    count = torch.cat([c.double().cpu() for c in counts])
    nats = torch.cat([p.below.nats.double().cpu() for p in parts])
    below = replace(parts[0].below, nats=nats, count=float(count[0]) if bool((count == count[0]).all()) else count)
    kept: dict[str, Any] = {f.name: _together([getattr(p.examples, f.name) for p in parts]) for f in fields(Batch)}
    aboves = [p.above.double().cpu() for p in parts if p.above is not None]
    acceptance = sum(p.acceptance * len(p.below.nats) for p in parts) / len(nats)
    return Annealed(
        below=below, above=torch.cat(aboves) if aboves else None, examples=Batch(**kept), acceptance=acceptance
    )


def _together(values: list[Any]) -> Any:
    if values[0] is None:
        return None
    if isinstance(values[0], Tensor):
        return torch.cat(values)
    return {name: torch.cat([v[name] for v in values]) for name in values[0]}


def _dtype(model: object) -> torch.dtype:
    if isinstance(model, torch.nn.Module):
        for parameter in model.parameters():
            return parameter.dtype
    return torch.get_default_dtype()
