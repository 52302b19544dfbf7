"""What a model can be asked without being changed, one question for each capability it has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.capabilities import (
    Codec,
    Completer,
    ConditionalSampler,
    Critic,
    Decoder,
    Denoiser,
    Invertible,
    Likelihood,
    Sampler,
    Stepwise,
    Translator,
)
from simulacra.core.indices import to_indices
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical
from simulacra.laws.examples import like, named
from simulacra.laws.law import Subject, weight_of

ROWS = 6
STEPS = 24  # of a walk: what comes after them is made as they are


@dataclass(frozen=True, kw_only=True)
class Query:
    """A method's name, and a call of it that gives the same answer as long as the model is the same."""

    name: str
    ask: Callable[[], Any]


def queries(model: Any, subject: Subject) -> list[Query]:
    """Every question that this model can be asked about this data."""
    batch, rng = subject.batch(model, ROWS), Rng(11)
    x, y = batch.x, batch.y
    found: list[tuple[type[Any], str, Callable[[], Any]]] = [
        (Sampler, "sample", lambda: model.sample(ROWS, rng=rng)),
        (ConditionalSampler, "sample_given", lambda: model.sample_given(y, rng=rng)),
        (Likelihood, "log_likelihood", lambda: model.log_likelihood(x, **batch.given(), rng=rng).nats),
        (Codec, "encode", lambda: model.encode(x, **taken(model.encode, batch))),
        (Decoder, "decode", lambda: model.decode(codes(model, ROWS, rng), y=classes_of(subject, batch))),
        (Invertible, "to_latent", lambda: model.to_latent(x, y=classes_of(subject, batch))[0]),
        (Invertible, "from_latent", lambda: model.from_latent(codes(model, ROWS, rng), y=classes_of(subject, batch))),
        (Stepwise, "walk", lambda: walked(model, subject, batch)),
        (Completer, "complete", lambda: complete(model, subject, batch, rng)),
        (Denoiser, "denoise", lambda: model.denoise(x, 0.5, y=y)),
        (Translator, "translate", lambda: model.translate(x, y=y)),
        (Critic, "criticise", lambda: model.criticise(x, y=y)),
    ]
    return [Query(name=name, ask=ask) for capability, name, ask in found if isinstance(model, capability)]


def tensors(answer: Any) -> dict[str, Tensor]:
    """The tensors of an answer by name."""
    if isinstance(answer, Batch):
        parts = {"x": answer.x, "y": answer.y, "length": answer.length}
        return {f"{n}.{k}": t for n, v in parts.items() if v is not None for k, t in tensors(v).items()}
    if isinstance(answer, Mapping):
        return dict(answer)
    return {"": answer}


def taken(method: Callable[..., Any], batch: Batch) -> dict[str, Any]:
    """Of what is given beside x, what a method takes."""
    names = inspect.signature(method).parameters
    return {name: value for name, value in batch.given().items() if name in names}


def classes_of(subject: Subject, batch: Batch) -> Values | None:
    """The labels of a batch, None where the space has none."""
    return None if subject.space.y is None else batch.y


def codes(model: Any, n: int, rng: Rng) -> Tensor:
    """n latent codes, (n, *latent): from N(0, I), or where they are categorical each as likely as the next."""
    weight, latent = weight_of(model), model.latent.only
    if isinstance(latent, Categorical):
        return rng("codes").integers(latent.k, (n, *latent.shape), device=weight.device)
    return rng("codes").normal((n, *latent.shape), dtype=weight.dtype, device=weight.device)


def walked(model: Any, subject: Subject, batch: Batch) -> Tensor:
    """Along the examples of a batch, nats (b, steps, k) of what may come at each of the first steps; -inf as -1e30."""
    x = to_indices(subject.space, batch.x)
    walk, found = model.walk(len(batch), y=batch.y), list[Tensor]()
    for place in walk.order[:STEPS].tolist():
        found.append(walk.log_probs().clamp(min=-1e30))
        walk.take(x[:, place])
    most = max(t.shape[1] for t in found)
    return torch.stack([torch.nn.functional.pad(t, (0, most - t.shape[1])) for t in found], 1)


def half(subject: Subject, batch: Batch) -> Values:
    """A mask like x in which about half of the entries are known."""
    x = named(subject.space, batch.x)
    mask = {
        name: subject.rng("half", name).bernoulli(torch.full(t.shape, 0.5)).to(t.device)
        for name, t in ((name, x[name]) for name in subject.space.fields)
    }
    return like(batch.x, mask)


def complete(model: Any, subject: Subject, batch: Batch, rng: Rng, known: Values | None = None) -> Batch:
    """A completion of a batch of which about half is known."""
    known = half(subject, batch) if known is None else known
    given = {k: v for k, v in taken(model.complete, batch).items() if k != "known"}
    return model.complete(blanked(subject, batch, known), known, **given, rng=rng)


def blanked(subject: Subject, batch: Batch, known: Values) -> Values:
    """x with zeros where it is unknown and within its example's length: what a model must not look at."""
    x, mask = named(subject.space, batch.x), named(subject.space, known)
    return like(batch.x, {name: torch.where(mask[name], t, torch.zeros_like(t)) for name, t in x.items()})
