"""Classify with a conditional density: p(y | x) is proportional to p(x | y) p(y), for any model that knows both.

The probabilities of such a classifier are exact only if the model is, and models of many dimensions are far too sure
of themselves: an error in log p(x | y) grows with the number of dimensions, and its exponential decides.
``fit_temperature`` mends that by one number fitted on held-out data (Guo et al. 2017, "On calibration of modern neural
networks"), which changes no decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data, Values, rows
from simulacra.core.capabilities import Labelled, Likelihood, require
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.likelihood import resting
from simulacra.mathematics.calibration import reliability, temperature
from simulacra.uses.checks import check_examples, check_labels, device_of, space_of

ROWS = 256  # examples scored at a time


@dataclass(frozen=True)
class Scores:
    """log p(x, y) of every class.

    nats  float64 (n, classes), on the CPU.
    kind  of the likelihood it rests on: "exact" | "bound" | "estimate".
    """

    nats: Tensor
    kind: str

    def log_probs(self, temperature: float = 1.0) -> Tensor:
        """log p(y | x), nats (n, classes); a temperature above 1 makes them less sure."""
        return (self.nats / temperature).log_softmax(1)


@torch.no_grad()
def scores(
    model: object,
    x: Values,
    *,
    known: Values | None = None,
    rng: Rng | int = 0,
    options: Mapping[str, Any] | None = None,
) -> Scores:
    """log p(x | y) + log p(y) of every class for each example, or of the known part of each.

    What a likelihood draws is drawn alike for every class, so that its noise hardly decides between them.
    known    bool like x, True where it is to be looked at; what is not known may hold anything.
    options  of the model's own ``log_likelihood``, such as k.
    Raises ValueError for a model without likelihoods or without classes, and examples that are not of its space.
    """
    scorer, labelled = require(model, Likelihood, "classify"), require(model, Labelled, "classify")
    space = space_of(model, "classify")
    classes = space.classes
    n = check_examples(space, x, known)
    prior = labelled.label_log_prob().double().cpu()
    batch, device, stream = Batch(x=x, known=known), device_of(model), Rng.of(rng)("classify")
    found: list[Tensor] = []
    kind = "exact"
    with resting(model):
        for first in range(0, n, ROWS):
            part = batch.rows(slice(first, first + ROWS)).to(device)
            given = dict(options or {}) if part.known is None else {**(options or {}), "known": part.known}
            each = []
            for c in range(len(classes)):
                y = torch.full((len(part),), c, dtype=torch.int64, device=device)
                scored = scorer.log_likelihood(part.x, y=y, rng=stream.rows(first), **given)
                kind = scored.kind
                each.append(scored.nats.double().cpu())
            found.append(torch.stack(each, dim=1) + prior)
    nats = torch.cat(found)
    if not bool(nats.isfinite().all()):
        raise ValueError("the model gives examples no finite likelihood: look for diverged weights")
    return Scores(nats, kind)


def fit_temperature(found: Scores, y: Tensor) -> float:
    """The temperature that makes held-out labels likeliest, in 1/100 .. 100; y int64 (n,)."""
    return temperature(found.nats, y)


def figures_of_classes(log_probs: Tensor, y: Tensor, *, kind: str, seed: int | None = None) -> list[Figure]:
    """Accuracy, negative log-likelihood of the labels and calibration error of log p(y | x) (n, classes)."""
    n = len(y)
    hits = int((log_probs.argmax(1) == y).sum())
    share = intervals.of_share(hits, n)
    loss = -log_probs.gather(1, y[:, None])[:, 0]
    mean = intervals.of_mean(loss)
    note = f"Bayes' rule on a likelihood of kind {kind}"
    return [
        Figure(name="accuracy", value=hits / n, direction="higher", n=n, interval=share.bounds,
               interval_method=share.method, level=intervals.LEVEL, seed=seed, note=note),
        Figure(name="label negative log-likelihood", value=float(loss.mean()), direction="lower", unit="nats", n=n,
               interval=mean.bounds, interval_method=mean.method, level=intervals.LEVEL, seed=seed, note=note),
        Figure(name="expected calibration error", value=reliability(log_probs, y).error, direction="lower", n=n,
               interval_method="none: the binned error is biased upwards, by how much depends on the classifier",
               seed=seed, note=note),
    ]  # fmt: skip


def labelled_part(data: Data, index: Tensor, rng: Rng) -> Batch:
    """Examples of data by their numbers, with labels; ValueError for data without."""
    batch = data.batch(index, rng)
    if not isinstance(batch.y, Tensor):
        raise ValueError(f"{data.name} has no labels; expected data with classes")
    check_labels(data.space, batch.y, rows(batch.x))
    return batch
