"""What is put side by side: a task, those who learn it, and what they can then answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from simulacra.core.batch import Stored, Values
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Field, Space


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples with classes.

    x        (n, *event). A table is (n, columns), float64: numbers, and categories by their number.
    y        int64 (n,).
    classes  their names.
    columns  of a table: how many categories each column has, 0 for a column of numbers.
    field    of pictures and texts: what x is a field of.
    what     where it comes from and what is asked, in words.
    asymptote  the least error that any classifier can have, where it is known.
    """

    name: str
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    columns: tuple[int, ...] = ()
    field: Field | None = None
    what: str = ""
    asymptote: float | None = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{self.name}: {len(self.x)} examples and {len(self.y)} classes; expected one each")
        if (self.field is None) == (not self.columns):
            raise ValueError(f"{self.name}: a task is a table with columns, or has a field; give one of the two")
        if self.columns and self.x.shape[1:] != (len(self.columns),):
            raise ValueError(
                f"{self.name}: {len(self.columns)} columns are named and x has {tuple(self.x.shape[1:])}; give equals"
            )

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, index: Tensor) -> Task:
        """Some of its examples."""
        return replace(self, x=self.x[index], y=self.y[index])

    @cached_property
    def space(self) -> Space:
        """The space of an example; a table's columns are fields c0, c1 ..., scaled as these examples are."""
        fields: dict[str, Field] = {} if self.field is None else {"x": self.field}
        for j, k in enumerate(self.columns):
            column = self.x[:, j]
            spread = float(column.std()) if len(column) > 1 else 0.0
            fields[f"c{j}"] = (
                Categorical(k=k)
                if k
                else Continuous(low=-math.inf, high=math.inf, centre=float(column.mean()), scale=spread or 1.0)
            )
        return Space(fields=fields, y=Classes(names=self.classes), measure=self.name)

    def values(self, x: Tensor) -> Values:
        """Examples (or a mask of them) as this space's families take them."""
        if not self.columns:
            return x
        plain = x.dtype == torch.bool
        return {f"c{j}": x[:, j].long() if k and not plain else x[:, j] for j, k in enumerate(self.columns)}

    def rows_of(self, values: Values) -> Tensor:
        """Back from ``values``."""
        if isinstance(values, Tensor):
            return values
        return torch.stack([values[f"c{j}"].to(self.x.dtype) for j in range(len(self.columns))], dim=1)

    def data(self) -> Stored:
        """The examples as data that families learn from."""
        return Stored(space=self.space, x=self.values(self.x), y=self.y, name=self.name)

    @property
    def features(self) -> int:
        """Numbers that an example is made of; k categories are k - 1 of them, as in a regression."""
        if not self.columns:
            return int(self.x[0].numel())
        return sum(max(1, k - 1) for k in self.columns)


@runtime_checkable
class Fitted(Protocol):
    """What was learnt."""

    def log_probs(self, x: Tensor) -> Tensor:
        """log p(y | x), float64 (n, classes), nats."""
        ...


@runtime_checkable
class Marginal(Protocol):
    """What answers from a part of x: it has a density, and what is unknown is summed out."""

    def log_probs_of(self, x: Tensor, known: Tensor) -> Tensor:
        """log p(y | known part of x), float64 (n, classes); known bool like x; what is unknown may hold anything."""
        ...


@runtime_checkable
class Completing(Protocol):
    """What draws the rest of x given a part of it, the class along with it."""

    def complete(self, x: Tensor, known: Tensor, rng: Rng) -> Tensor:
        """x with what is unknown drawn."""
        ...


@runtime_checkable
class Method(Protocol):
    """One way of learning a task.

    name        as tables and legends say it.
    generative  whether it learns p(x, y); otherwise p(y | x).
    """

    @property
    def name(self) -> str: ...
    @property
    def generative(self) -> bool: ...
    def fit(self, task: Task, rng: Rng) -> Fitted:
        """What it learns from these examples, at least one of each class."""
        ...


def shuffled(y: Tensor, rng: Rng) -> Tensor:
    """A random order of examples in which one of each class that there is comes first, so that any start has them all.

    y int64 (n,); int64 (n,). What comes first is random too, one example of each class after another.
    """
    order = rng("order").permutation(len(y))
    seen, first, rest = set[int](), list[int](), list[int]()
    for i, c in zip(order.tolist(), y[order].tolist(), strict=True):
        (rest if c in seen else first).append(i)
        seen.add(c)
    return torch.tensor(first + rest)
