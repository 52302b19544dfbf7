"""Features of many examples without holding the examples: a batch at a time, each process its share of the batches.

What is kept is rows of features, or only their moments, so memory does not grow with the size of a picture, and for
moments not with their number either. The answer does not depend on batches or processes: examples are numbered, and
come back in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core import across
from simulacra.core.batch import Batch, Data
from simulacra.core.capabilities import ConditionalSampler, Sampler, Translator
from simulacra.core.randomness import Rng
from simulacra.evaluation.extractors import BATCH, Extractor, tensor
from simulacra.evaluation.likelihood import device_of
from simulacra.mathematics.moments import Moments

# (first, last + 1) -> those of the numbered examples, the same whoever asks
Part = Callable[[int, int], Batch]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an extractor saw of some examples: features (n, d), p(class | x) or None, their labels or None."""

    features: Tensor
    p: Tensor | None
    y: Tensor | None


def of_data(data: Data, n: int, rng: Rng | int) -> tuple[Part, int]:
    """n examples of data as numbered parts, and how many there are: all in their order, or a random choice of fewer."""
    stream = Rng.of(rng)
    chosen = torch.arange(len(data)) if n >= len(data) else stream("chosen").permutation(len(data))[:n]
    return lambda first, last: data.batch(chosen[first:last], stream.rows(first)), len(chosen)


def of_model(model: Sampler, rng: Rng | int) -> Part:
    """A model's samples as numbered parts: the same whatever the batch."""
    stream = Rng.of(rng)
    return lambda first, last: model.sample(last - first, rng=stream.rows(first))


def of_conditions(model: ConditionalSampler, data: Data, rng: Rng | int) -> Part:
    """Samples of a model that draws for conditions, those of the examples of data in turn, as numbered parts."""
    stream = Rng.of(rng)

    def part(first: int, last: int) -> Batch:
        index = torch.arange(first, last) % len(data)
        given = data.batch(index, stream("data").rows(first)).to(device_of(model))
        assert given.y is not None
        return model.sample_given(given.y, rng=stream("model").rows(first))

    return part


def of_translations(model: Translator, data: Data, rng: Rng | int) -> Part:
    """Examples of data, each translated to the class after its own (the first after the last), as numbered parts."""
    stream = Rng.of(rng)

    def part(first: int, last: int) -> Batch:
        index = torch.arange(first, last) % len(data)
        given = data.batch(index, stream("data").rows(first)).to(device_of(model))
        assert isinstance(given.y, Tensor)
        to = (given.y + 1) % len(data.space.classes)
        return Batch(x=model.translate(given.x, y=to), y=to)

    return part


@torch.no_grad()
def look(part: Part, n: int, extractors: Sequence[Extractor], *, batch: int = BATCH) -> list[Seen]:
    """What each extractor sees of examples 0 .. n - 1, in their order, on the CPU; the same on every process."""
    if n < 1:
        raise ValueError(f"the number of samples must be at least 1; got {n}")
    features: list[list[Tensor]] = [[] for _ in extractors]
    seen: list[list[Tensor]] = [[] for _ in extractors]
    labels: list[Tensor] = []
    for first, last in _own(n, batch):
        examples = part(first, last)
        x = tensor(examples.x)
        for i, extractor in enumerate(extractors):
            features[i].append(extractor(x))
            if (p := extractor.probabilities(x)) is not None:
                seen[i].append(p)
        if isinstance(examples.y, Tensor) and examples.y.ndim == 1 and examples.y.dtype == torch.int64:
            labels.append(examples.y.cpu())
    y = _gathered(labels, n, batch)
    return [
        Seen(features=_all(f, n, batch), p=_gathered(p, n, batch), y=y) for f, p in zip(features, seen, strict=True)
    ]


@torch.no_grad()
def moments(part: Part, n: int, extractor: Extractor, *, batch: int = BATCH) -> Moments:
    """Moments of the features of examples 0 .. n - 1: memory that does not depend on n; merged over processes."""
    whole: Moments | None = None
    for first, last in _own(n, batch):
        found = Moments.of(extractor(tensor(part(first, last).x)))
        whole = found if whole is None else whole.merge(found)
    return _merged(whole)


def _own(n: int, batch: int) -> list[tuple[int, int]]:
    """The batches (first, last + 1) that fall to this process."""
    starts = range(0, n, batch)
    return [(s, min(s + batch, n)) for s in starts[across.rank() :: across.processes()]]


def _all(parts: Sequence[Tensor], n: int, batch: int) -> Tensor:
    found = _gathered(parts, n, batch)
    assert found is not None
    return found


def _gathered(parts: Sequence[Tensor], n: int, batch: int) -> Tensor | None:
    """Rows of this process's batches with those of all others, in the order of their numbers; None without any."""
    processes = across.processes()
    if processes == 1:
        return torch.cat(list(parts)) if parts else None
    starts = list(range(0, n, batch))
    rounds = -(-len(starts) // processes)
    # the first process has a batch whenever any has: it says what a row is like
    like: list[object] = [(tuple(parts[0].shape[1:]), parts[0].dtype) if parts else None]
    torch.distributed.broadcast_object_list(like)
    if like[0] is None:
        return None
    shape, dtype = like[0]  # pyright: ignore[reportGeneralTypeIssues]
    padded = torch.zeros(rounds * batch, *shape, dtype=dtype)
    for i, p in enumerate(parts):
        padded[i * batch : i * batch + len(p)] = p
    whole = across.gather(padded).reshape(processes, rounds, batch, *shape).transpose(0, 1)
    # batch i of round r is number r x processes + i; only the last batch is short, and it comes last
    return whole.reshape(-1, *shape)[:n]


def _merged(own: Moments | None) -> Moments:
    """Moments of all processes' rows; a process may have none."""
    if across.processes() == 1:
        assert own is not None
        return own
    like: list[object] = [None if own is None else len(own.mean)]
    torch.distributed.broadcast_object_list(like)
    d = int(like[0])  # pyright: ignore[reportArgumentType]
    mine = own or Moments(count=0, mean=torch.zeros(d).double(), scatter=torch.zeros(d, d).double())
    counted = across.total(torch.tensor(float(mine.count), dtype=torch.float64))
    mean = across.total(mine.mean * mine.count) / counted
    apart = mine.mean - mean
    scatter = across.total(mine.scatter + mine.count * torch.outer(apart, apart).tril())
    return Moments(count=int(counted), mean=mean, scatter=scatter)
