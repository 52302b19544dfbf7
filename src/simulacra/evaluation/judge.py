"""Everything that can be said of a model, or of a set of samples, against held-out data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Data, Values
from simulacra.core.capabilities import ConditionalSampler, Likelihood, Sampler, Translator, capabilities
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes
from simulacra.evaluation import intervals
from simulacra.evaluation.disentanglement import disentanglement, measurable
from simulacra.evaluation.extractors import BATCH, Extractor, plain, tensor
from simulacra.evaluation.further import Sets, Statistic
from simulacra.evaluation.likelihood import figures_of_likelihood, log_likelihood, resting
from simulacra.evaluation.path_length import path_length, walkable
from simulacra.evaluation.statistics import Origin, figures_of_features
from simulacra.evaluation.streaming import (
    Part,
    Seen,
    look,
    moments,
    of_conditions,
    of_data,
    of_model,
    of_translations,
)
from simulacra.mathematics.moments import frechet_between
from simulacra.mathematics.neighbours import nearest

MOST = 10_000  # samples and held-out examples compared where nobody says how many
LEAST = 500  # codes that disentanglement is measured on, however few samples are asked for


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The training example nearest to each sample.

    index     int64 (n,), its number.
    distance  (n,), Euclidean, in the extractor's features.
    ratio     (n,), distance over that to the second nearest: far below 1 marks a copy of a single example.
    """

    index: Tensor
    distance: Tensor
    ratio: Tensor


def judge(
    model: object,
    held_out: Data,
    *,
    train: Data | None = None,
    extractors: Sequence[Extractor] | None = None,
    n: int | None = None,
    rng: Rng | int = 0,
    options: Mapping[str, Any] | None = None,
    further: Sequence[Statistic] = (),
) -> list[Figure]:
    """All figures that apply to a model: of its samples where it draws, of held-out likelihood where it scores.

    train       what it learned from, for the figure that tells copying from learning; where its examples were made
                from known factors, a Codec's disentanglement of them is measured on it too.
    extractors  the features to compare; None takes the examples' own values where they are numbers.
    n           number of samples, and at most that many held-out examples; None: as many as are held out, to 10,000.
    options     further options of the model's log_likelihood.
    further     statistics beyond the usual ones, such as those of ``every.FURTHER``.
    A model that draws for conditions draws for those of the held-out examples; one that translates turns them into
    another class.
    ValueError for a model that neither draws nor scores.
    """
    stream = Rng.of(rng)
    if not isinstance(model, Sampler | ConditionalSampler | Translator | Likelihood):
        has = ", ".join(c.__name__ for c in capabilities(model)) or "nothing we know of"
        raise ValueError(f"judging needs a Sampler or a Likelihood; {type(model).__name__} is {has}")
    if options and not isinstance(model, Likelihood):
        raise ValueError(f"{', '.join(options)} is of a likelihood, and {type(model).__name__} has none; leave it out")
    wanted = MOST if n is None else max(n, LEAST)
    n = min(len(held_out), MOST) if n is None else n
    figures: list[Figure] = []
    if isinstance(model, Likelihood):
        scored = log_likelihood(model, held_out, n=n, rng=stream("likelihood"), options=options)
        fields = list(held_out.space.fields.values())
        tokens = fields[0].k if len(fields) == 1 and isinstance(fields[0], Categorical) else None
        figures += figures_of_likelihood(scored, seed=stream.seed, tokens=tokens)
    own = plain(held_out.space)
    if extractors is None:
        extractors = [] if own is None else [own]
    if extractors and (part := _part(model, held_out, stream("samples"))) is not None:
        with resting(model):
            figures += figures_of_part(
                part, n, held_out, train=train, extractors=extractors, rng=stream, further=further
            )
    if further and walkable(model):
        figures += [path_length(model, extractor, rng=stream("path length")) for extractor in extractors]
    if train is not None and measurable(model, train):
        figures += disentanglement(model, train, n=min(len(train), wanted), rng=stream("disentanglement"))
    return figures


def _part(model: object, held_out: Data, rng: Rng) -> Part | None:
    """What a model shows, in numbered parts: its draws, or the held-out examples translated; None for nothing."""
    if isinstance(model, Sampler):
        return of_model(model, rng)
    if isinstance(model, ConditionalSampler):
        return of_conditions(model, held_out, rng)
    return of_translations(model, held_out, rng) if isinstance(model, Translator) else None


def figures_of_part(
    part: Part,
    n: int,
    held_out: Data,
    *,
    m: int | None = None,
    train: Data | None = None,
    extractors: Sequence[Extractor],
    rng: Rng | int = 0,
    further: Sequence[Statistic] = (),
) -> list[Figure]:
    """All figures of n numbered samples against at most m held-out examples (None: as many), by each extractor in turn.

    Samples are looked at a batch at a time and let go: what is kept are features. Under several processes each looks
    at its share.
    """
    stream = Rng.of(rng)
    fake = look(part, n, extractors)
    real = look(*of_data(held_out, m or n, stream("held out")), extractors)
    # of what was learned from nobody asks the classes
    bare = [replace(extractor, classify=None) for extractor in extractors]
    learned = None if train is None else look(*of_data(train, 6 * MOST, stream("train")), bare)
    names = held_out.space.y.names if isinstance(held_out.space.y, Classes) else ()
    figures: list[Figure] = []
    for i, extractor in enumerate(extractors):
        known = None if learned is None else learned[i]
        figures += figures_of_seen(
            extractor, fake[i], real[i], train=known, seed=stream.seed, further=further, classes=names
        )
    return figures


def frechet_of_all(
    part: Part, n: int, held_out: Data, *, extractors: Sequence[Extractor], seed: int | None = None
) -> list[Figure]:
    """The Frechet distance of more samples than are compared pair by pair: of moments, in memory that does not grow."""
    figures: list[Figure] = []
    for extractor in extractors:
        origin = Origin(extractor=extractor.name, extractor_hash=extractor.hash, seed=seed)
        a = moments(part, n, extractor)
        whole, m = of_data(held_out, len(held_out), 0)
        value = frechet_between(a, moments(whole, m, extractor))
        why = intervals.none("only moments were kept")
        name = extractor.published("Frechet distance", n)
        name = "Frechet distance of all samples" if name == "Frechet distance" else name
        figures.append(origin.figure(name, value, "lower", why, n=n, n_real=m))
    return figures


def figures_of_samples(
    fake: Values,
    real: Values,
    *,
    train: Values | None = None,
    extractors: Sequence[Extractor],
    seed: int | None = None,
    further: Sequence[Statistic] = (),
) -> list[Figure]:
    """All figures of samples (n, *event) against held-out examples (m, *event), by each extractor in turn."""
    figures: list[Figure] = []
    for extractor in extractors:
        a, b, c = (
            None if x is None else Seen(features=extractor(x), p=extractor.probabilities(x), y=None)
            for x in (fake, real, train)
        )
        assert a is not None
        assert b is not None
        figures += figures_of_seen(extractor, a, b, train=c, seed=seed, further=further)
    return figures


def figures_of_seen(
    extractor: Extractor,
    fake: Seen,
    real: Seen,
    *,
    train: Seen | None = None,
    seed: int | None = None,
    further: Sequence[Statistic] = (),
    classes: tuple[str, ...] = (),
) -> list[Figure]:
    """All figures of what one extractor saw of samples and of held-out examples.

    train    the same of what was learned from; classes: names of the labels, where the examples have any.
    further  statistics beyond the usual ones.
    Figures bear their published names where the extractor's standard protocol was kept, to the number of samples.
    """
    dtype = str(fake.features.dtype).removeprefix("torch.")
    origin = Origin(extractor=extractor.name, extractor_hash=extractor.hash, seed=seed, dtype=dtype)
    figures = figures_of_features(fake.features, real.features, origin=origin, probabilities=fake.p)
    if train is not None:
        figures += [copying(fake.features, real.features, train.features, origin=origin)]
    if further:
        sets = Sets(
            fake=fake.features,
            real=real.features,
            train=None if train is None else train.features,
            fake_p=fake.p,
            real_p=real.p,
            fake_y=fake.y,
            real_y=real.y,
            classes=classes,
        )
        figures += [figure for statistic in further for figure in statistic(sets, origin)]
    figures = [replace(f, name=extractor.published(f.name, f.n)) for f in figures]
    if extractor.accuracy is not None:
        share, tried = extractor.accuracy
        interval = intervals.of_share(round(share * tried), tried)
        note = "of the extractor itself, on labelled data it did not see"
        figures += [origin.figure("classifier accuracy", share, "neither", interval, n=tried, note=note)]
    return figures


@torch.no_grad()
def draw(model: Sampler, n: int, rng: Rng | int, *, batch: int = BATCH) -> Tensor:
    """n samples of one field, (n, *event), on the CPU; drawn in batches, the same whatever their size."""
    stream = Rng.of(rng)
    with resting(model):
        parts = [
            tensor(model.sample(min(batch, n - start), rng=stream.rows(start)).x).cpu() for start in range(0, n, batch)
        ]
    if not parts:
        raise ValueError(f"the number of samples must be at least 1; got {n}")
    return torch.cat(parts)


def nearest_training(fake: Tensor, train: Tensor) -> Copies:
    """For each row of features its nearest training row; at least two training rows are needed."""
    distance, index = nearest(fake, train, k=2)
    second = distance[:, 1]
    # two equal training rows at no distance: neither is closer than the other
    ratio = torch.where(second > 0, distance[:, 0] / second.clamp(min=torch.finfo(second.dtype).tiny), 1.0)
    return Copies(index=index[:, 0], distance=distance[:, 0], ratio=ratio)


def copying(fake: Tensor, real: Tensor, train: Tensor, *, origin: Origin) -> Figure:
    """Share of samples closer to the training set than the median held-out example is: one half is innocent.

    Far above one half, samples hug the training examples as unseen data do not.
    """
    reference = nearest(real, train)[0][:, 0].median()
    closer = nearest(fake, train)[0][:, 0] < reference
    why = intervals.none("the threshold is itself estimated")
    return origin.figure(
        "closer to training than held-out", float(closer.double().mean()), "neither", why, n=len(fake), n_real=len(real)
    )
