"""Likelihoods of held-out data, of any model that has them."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Data
from simulacra.core.capabilities import Likelihood, require
from simulacra.core.figure import Figure
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.extractors import batches


@torch.no_grad()
def log_likelihood(
    model: object,
    data: Data,
    *,
    n: int | None = None,
    rng: Rng | int = 0,
    batch: int = 100,
    options: Mapping[str, Any] | None = None,
) -> LogLikelihood:
    """log p of n examples chosen at random, or of all of them for None, nats (n,).

    options  what the model's own ``log_likelihood`` offers beside the protocol, such as k for IWAE's draws.
    What is drawn for an example depends on rng and its number only, not on the batch it is in.
    ValueError for a model without likelihoods, an option it does not offer, or data it gives no finite number.
    """
    scorer = require(model, Likelihood, "a likelihood")
    chosen = dict(options or {})
    offered = inspect.signature(scorer.log_likelihood).parameters
    unknown = sorted(set(chosen) - set(offered))
    if unknown:
        extra = [p for p in offered if p not in ("x", "y", "known", "length", "rng")]
        raise ValueError(
            f"{type(model).__name__}.log_likelihood offers no {', '.join(unknown)}; expected some of {extra}"
        )
    stream = Rng.of(rng)
    parts: list[LogLikelihood] = []
    count = 0
    device = device_of(model)
    total = len(data) if n is None else min(n, len(data))
    with resting(model):
        for examples in batches(data, total, stream("data"), batch=batch):
            given = examples.to(device)
            drawn = stream("model").rows(count)
            parts.append(scorer.log_likelihood(given.x, **given.given(), rng=drawn, **chosen))
            count += len(given)
    if not parts:
        raise ValueError(f"a likelihood needs at least one example; {data.name} has {len(data)}")
    nats = torch.cat([p.nats.double().cpu() for p in parts])
    bad = int((~torch.isfinite(nats)).sum())
    if bad:
        raise ValueError(
            f"{type(model).__name__} gives {bad} of {len(nats)} examples of {data.name} no finite likelihood: look for"
            " values outside the model's range or diverged weights"
        )
    each = _joined([p.count for p in parts], parts)
    choices = [p.choices for p in parts if p.choices is not None]
    first = parts[0]
    return LogLikelihood(
        nats=nats,
        kind=first.kind,
        measure=first.measure,
        count=float(each[0]) if bool((each == each[0]).all()) else each,
        method=first.method,
        choices=_joined(choices, parts) if len(choices) == len(parts) else None,
    )


def _joined(values: Sequence[float | Tensor], parts: Sequence[LogLikelihood]) -> Tensor:
    """A number of every example, (n,), where parts have one of each or one for all."""
    each = [
        v if isinstance(v, Tensor) else torch.full((len(p.nats),), float(v)) for v, p in zip(values, parts, strict=True)
    ]
    return torch.cat([v.double().cpu() for v in each])


# how an element is told of that has a name of its own: the figure's name, its unit, and how many of these a bit is
RATES = {
    "bytes": ("bits per byte", "bits", 1.0),
    "88-key frames": ("negative log-likelihood a frame", "nats", math.log(2)),
}


def figures_of_likelihood(found: LogLikelihood, *, seed: int | None = None, tokens: int | None = None) -> list[Figure]:
    """Mean negative log-likelihood in nats an example, and in bits an element of its measure, both with intervals.

    tokens  of how many kinds each decision is one, for the perplexity of a model that decides token by token.

    A lower bound on log p is an upper bound here: the truth is no worse than the figure.
    """
    n, bits = len(found.nats), -found.nats.double() / math.log(2)
    rate, each = _rate(bits, found.count)
    plain = f"bits per element of {found.measure}" if found.measure else "bits per element"
    name, unit, worth = RATES.get(found.measure, (plain, "bits", 1.0))
    rows: list[tuple[str, str, float, intervals.Interval]] = [
        (
            f"negative log-likelihood of {found.measure}" if found.measure else "negative log-likelihood",
            "nats",
            -found.mean(),
            intervals.of_mean(-found.nats),
        ),
        (name, unit, worth * rate, intervals.of_mean(worth * each)),
    ]
    if found.choices is not None:
        value, each = _rate(bits, found.choices)
        interval = intervals.of_mean(each)
        if interval.bounds is not None:
            low, high = (2**b for b in interval.bounds)
            interval = intervals.Interval(bounds=(low, high), method=f"{interval.method}, of its logarithm")
        # of other tokens it is another thing: its unit says of which
        rows.append(("perplexity a token", "" if tokens is None else f"of {tokens} tokens", 2**value, interval))
    return [
        Figure(
            name=name,
            value=value,
            direction="lower",
            kind=found.kind,
            unit=unit,
            n=n,
            interval=interval.bounds,
            interval_method=interval.method,
            level=intervals.LEVEL,
            seed=seed,
            note=found.method,
        )
        for name, unit, value, interval in rows
    ]


def _rate(bits: Tensor, count: float | Tensor) -> tuple[float, Tensor]:
    """Bits over all counted, and for each example a value (n,) that has this mean and the spread of its error."""
    size = count.double() if isinstance(count, Tensor) else torch.tensor(count).double()
    rate = float((bits / (size.mean() if size.ndim else size)).mean())
    # a ratio of two means: its error is that of what each example leaves of it, over the mean size (Cochran 1977, 6.4)
    return rate, rate + (bits - rate * size) / size.mean()


@contextmanager
def resting(model: object) -> Iterator[None]:
    """Every layer in evaluation mode for a while: no dropout, running statistics; then as each was before."""
    before = [(m, m.training) for m in model.modules()] if isinstance(model, torch.nn.Module) else []
    for layer, _ in before:
        layer.training = False
    try:
        yield
    finally:
        for layer, mode in before:
            layer.training = mode


def device_of(model: object) -> torch.device:
    """Where a model's parameters are, or its buffers; the CPU for one without any."""
    if isinstance(model, torch.nn.Module):
        for tensor in itertools.chain(model.parameters(), model.buffers()):
            return tensor.device
    return torch.device("cpu")
