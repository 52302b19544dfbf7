"""Everything that can be said of a model, or of a set of samples, against held-out data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Data, Values
from simulacra.core.capabilities import ConditionalSampler, Likelihood, Sampler, capabilities
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.disentanglement import disentanglement, measurable
from simulacra.evaluation.extractors import BATCH, Extractor, plain, tensor, values
from simulacra.evaluation.likelihood import device_of, figures_of_likelihood, log_likelihood, resting
from simulacra.evaluation.statistics import Origin, figures_of_features
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
) -> list[Figure]:
    """All figures that apply to a model: of its samples where it draws, of held-out likelihood where it scores.

    train       what it learned from, for the figure that tells copying from learning; where its examples were made
                from known factors, a Codec's disentanglement of them is measured on it too.
    extractors  the features to compare; None takes the examples' own values where they are numbers.
    n           number of samples, and at most that many held-out examples; None: as many as are held out, to 10,000.
    options     further options of the model's log_likelihood.
    A model that draws for conditions draws for those of the held-out examples.
    ValueError for a model that neither draws nor scores.
    """
    stream = Rng.of(rng)
    if not isinstance(model, Sampler | ConditionalSampler | Likelihood):
        has = ", ".join(c.__name__ for c in capabilities(model)) or "nothing we know of"
        raise ValueError(f"judging needs a Sampler or a Likelihood; {type(model).__name__} is {has}")
    if options and not isinstance(model, Likelihood):
        raise ValueError(f"{', '.join(options)} is of a likelihood, and {type(model).__name__} has none; leave it out")
    wanted = MOST if n is None else max(n, LEAST)
    n = min(len(held_out), MOST) if n is None else n
    figures: list[Figure] = []
    if isinstance(model, Likelihood):
        scored = log_likelihood(model, held_out, n=n, rng=stream("likelihood"), options=options)
        figures += figures_of_likelihood(scored, seed=stream.seed)
    own = plain(held_out.space)
    if extractors is None:
        extractors = [] if own is None else [own]
    if isinstance(model, Sampler | ConditionalSampler) and extractors:
        free = isinstance(model, Sampler)
        fake = draw(model, n, stream("samples")) if free else draw_given(model, held_out, n, stream("samples"))
        real = values(held_out, min(n, len(held_out)), stream("held out"))
        learned = None if train is None else values(train, min(len(train), 6 * MOST), stream("train"))
        figures += figures_of_samples(fake, real, train=learned, extractors=extractors, seed=stream.seed)
    if train is not None and measurable(model, train):
        figures += disentanglement(model, train, n=min(len(train), wanted), rng=stream("disentanglement"))
    return figures


def figures_of_samples(
    fake: Values,
    real: Values,
    *,
    train: Values | None = None,
    extractors: Sequence[Extractor],
    seed: int | None = None,
) -> list[Figure]:
    """All figures of samples (n, *event) against held-out examples (m, *event), by each extractor in turn."""
    figures: list[Figure] = []
    for extractor in extractors:
        origin = Origin(extractor=extractor.name, extractor_hash=extractor.hash, seed=seed)
        a, b = extractor(fake), extractor(real)
        figures += figures_of_features(a, b, origin=origin, probabilities=extractor.probabilities(fake))
        if train is not None:
            figures += [copying(a, b, extractor(train), origin=origin)]
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


@torch.no_grad()
def draw_given(model: ConditionalSampler, data: Data, n: int, rng: Rng | int, *, batch: int = BATCH) -> Tensor:
    """n samples of one field, (n, *event), on the CPU: one for the condition of each example of data, in turn."""
    stream, parts = Rng.of(rng), []
    with resting(model):
        for start in range(0, n, batch):
            index = torch.arange(start, min(start + batch, n)) % len(data)
            given = data.batch(index, stream("data").rows(start)).to(device_of(model))
            assert given.y is not None
            parts.append(tensor(model.sample_given(given.y, rng=stream("model").rows(start)).x).cpu())
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
