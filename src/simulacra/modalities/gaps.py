"""Holes made on purpose: which entries of a table are hidden, completely at random, at random, and not at random.

Rubin 1976, "Inference and missing data": entries are missing completely at random where the holes know nothing of the
values; at random where they know only what stays visible; not at random where they depend on what they hide. A mask is
a function (columns (n, d), rng) -> known, bool (n, d).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng

Mask = Callable[[Tensor, Rng], Tensor]


@dataclass(frozen=True, kw_only=True)
class CompletelyAtRandom:
    """Every entry is hidden with the same probability, whatever it is."""

    share: float = 0.3

    def __post_init__(self) -> None:
        _check(self.share)

    def __call__(self, columns: Tensor, rng: Rng) -> Tensor:
        return ~rng("hidden").bernoulli(torch.full(columns.shape, self.share, dtype=torch.float64))


@dataclass(frozen=True, kw_only=True)
class AtRandom:
    """Entries are hidden by a logistic function of columns that stay visible.

    share    of the other columns' entries, on average.
    visible  share of the columns, drawn at random, that are never hidden.
    slope    how much a deviation of what is visible changes the odds' logarithm.
    """

    share: float = 0.3
    visible: float = 0.3
    slope: float = 2.0

    def __post_init__(self) -> None:
        _check(self.share)
        _check(self.visible)

    def __call__(self, columns: Tensor, rng: Rng) -> Tensor:
        d = columns.shape[1]
        order, seen = rng("visible").permutation(d), max(1, round(self.visible * d))
        z = _standardised(columns)
        weights = rng("weights").normal((seen, d), dtype=torch.float64) / math.sqrt(seen)
        known = ~rng("hidden").bernoulli(_with_share(self.slope * z[:, order[:seen]] @ weights, self.share))
        known[:, order[:seen]] = True
        return known


@dataclass(frozen=True, kw_only=True)
class NotAtRandom:
    """Entries hide themselves: the larger a value, the likelier it is missing.

    share  of all entries, on average.
    slope  how much a deviation of the value itself changes the odds' logarithm; negative: small ones hide.
    """

    share: float = 0.3
    slope: float = 2.0

    def __post_init__(self) -> None:
        _check(self.share)

    def __call__(self, columns: Tensor, rng: Rng) -> Tensor:
        return ~rng("hidden").bernoulli(_with_share(self.slope * _standardised(columns), self.share))


def hide(data: Stored, mask: Mask, rng: Rng | int = 0) -> Stored:
    """Data of real and categorical columns with holes: ``known`` says where, and what is hidden is zero.

    A mask sees all columns of the space side by side; categories by their numbers.
    """
    fields = data.space.fields
    values = {next(iter(fields)): data.x} if isinstance(data.x, Tensor) else data.x
    flat = torch.cat([values[name].reshape(len(data), -1).double() for name in fields], 1)
    parts = mask(flat, Rng.of(rng)).split([math.prod(f.shape) for f in fields.values()], 1)
    known = {n: part.reshape(len(data), *f.shape) for (n, f), part in zip(fields.items(), parts, strict=True)}
    x = {name: torch.where(known[name], values[name], torch.zeros_like(values[name])) for name in fields}
    space = replace(data.space, missing=tuple(fields))
    one = len(fields) == 1
    return replace(
        data,
        space=space,
        x=next(iter(x.values())) if one else x,
        known=next(iter(known.values())) if one else known,
        name=f"{data.name}, with gaps",
        fingerprint="",
    )


def _check(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"a share of hidden entries lies in [0, 1); got {share}")


def _standardised(columns: Tensor) -> Tensor:
    spread = columns.double().std(0, correction=0)
    return (columns.double() - columns.double().mean(0)) / torch.where(spread > 0, spread, 1.0)


def _with_share(logits: Tensor, share: float) -> Tensor:
    """Probabilities of those logits, shifted column by column so that their mean is the share (by bisection)."""
    low, high = torch.full_like(logits[0], -50.0), torch.full_like(logits[0], 50.0)
    for _ in range(60):
        middle = (low + high) / 2
        less = (logits + middle).sigmoid().mean(0) < share
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return (logits + (low + high) / 2).sigmoid()
