"""Which columns a discrete network's columns depend on, chosen by the Bayesian information criterion: each an object.

A network's score is a sum over its columns, of log p(column | parents) at the shares of the rows, less log n / 2 for
every free number (Schwarz 1978; Koller & Friedman 2009, section 18.3.5). Rows in which one of the columns is missing
are left out of that column's term, which is then scaled up to all rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Parents = dict[int, tuple[int, ...]]


@runtime_checkable
class Structure(Protocol):
    """How a network's structure is found."""

    @property
    def most(self) -> int:
        """Parents a column may have, at most."""
        ...

    def __call__(self, scores: Scores) -> Parents:
        """Every column's parents, without a cycle."""
        ...


class Scores:
    """Terms of the criterion, each counted once.

    values, seen  int64 and bool (n, columns).
    sizes         number of values of each column.
    cells         entries that a column's table may have, at most; larger families are not considered.
    """

    def __init__(self, values: Tensor, seen: Tensor, sizes: list[int], cells: int) -> None:
        self.values, self.seen, self.sizes, self.cells = values, seen, sizes, cells
        self.columns = len(sizes)
        self._known: dict[tuple[int, frozenset[int]], float] = {}

    def fits(self, child: int, parents: frozenset[int]) -> bool:
        """Whether the table of a column with these parents is not too large."""
        return math.prod(self.sizes[v] for v in (child, *parents)) <= self.cells

    def counts(self, child: int, parents: tuple[int, ...]) -> Tensor:
        """How often each value of a column occurs with each combination of its parents, float64 (combinations, k)."""
        family = (*parents, child)
        rows = self.seen[:, family].all(1)
        place = torch.zeros(int(rows.sum()), dtype=torch.int64, device=self.values.device)
        for v in family:
            place = place * self.sizes[v] + self.values[rows, v]
        total = math.prod(self.sizes[v] for v in family)
        return torch.bincount(place, minlength=total).double().reshape(-1, self.sizes[child])

    def __call__(self, child: int, parents: frozenset[int]) -> float:
        """log p(column | parents) of all rows, less what its free numbers cost, nats."""
        key = (child, parents)
        if key not in self._known:
            counts = self.counts(child, tuple(sorted(parents)))
            n = float(counts.sum())
            each = counts.clamp_min(1.0)  # 0 log 0 is 0, and so is 0 log 1
            total = counts.sum(1).clamp_min(1.0)
            likelihood = (counts * each.log()).sum() - (counts.sum(1) * total.log()).sum()
            scale = len(self.values) / n if n else 0.0
            free = math.prod(self.sizes[v] for v in parents) * (self.sizes[child] - 1)
            self._known[key] = scale * float(likelihood) - 0.5 * math.log(max(len(self.values), 2)) * free
        return self._known[key]


@dataclass(frozen=True)
class ChowLiu:
    """The best tree, or forest where a branch costs more than it says: exact (Chow & Liu 1968)."""

    most: int = 1

    def __call__(self, scores: Scores) -> Parents:
        edges: list[tuple[float, int, int]] = []
        nothing = frozenset[int]()
        for a in range(scores.columns):
            for b in range(a):
                if scores.fits(a, frozenset({b})):
                    gain = scores(a, frozenset({b})) - scores(a, nothing)
                    edges.append((gain, a, b))
        group = list(range(scores.columns))
        beside: dict[int, list[int]] = {v: [] for v in group}
        for gain, a, b in sorted(edges, reverse=True):
            if gain > 0 and group[a] != group[b]:
                beside[a].append(b)
                beside[b].append(a)
                group = [group[a] if g == group[b] else g for g in group]
        parents: Parents = {}
        for root in range(scores.columns):
            if root in parents:
                continue
            parents[root], reached = (), [root]
            for v in reached:
                for u in beside[v]:
                    if u not in parents:
                        parents[u] = (v,)
                        reached.append(u)
        return parents


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """From the best tree, the best single change again and again: an arc more, one less, or one turned round.

    parents  a column may have, at most.
    """

    parents: int = 2

    def __post_init__(self) -> None:
        if self.parents < 1:
            raise ValueError(f"a greedy search needs at least one parent a column; got parents={self.parents}")

    @property
    def most(self) -> int:
        return self.parents

    def __call__(self, scores: Scores) -> Parents:
        found = {v: frozenset(p) for v, p in ChowLiu()(scores).items()}
        while True:
            best, change = 1e-6, None
            for a in range(scores.columns):
                for b in range(scores.columns):
                    gain, made = self._best_change(scores, found, a, b)
                    if gain > best:
                        best, change = gain, made
            if change is None:
                return {v: tuple(sorted(p)) for v, p in found.items()}
            found = {**found, **change}

    def _best_change(
        self, scores: Scores, found: Mapping[int, frozenset[int]], a: int, b: int
    ) -> tuple[float, dict[int, frozenset[int]] | None]:
        """What is gained most by changing the arc from a to b, and the parents that are then others."""
        if a == b:
            return 0.0, None
        if a not in found[b]:
            more = found[b] | {a}
            if len(more) > self.parents or not scores.fits(b, more) or reaches(found, b, a):
                return 0.0, None
            return scores(b, more) - scores(b, found[b]), {b: more}
        without = {b: found[b] - {a}}
        gain = scores(b, without[b]) - scores(b, found[b])
        turned = found[a] | {b}
        if len(turned) <= self.parents and scores.fits(a, turned) and not reaches({**found, **without}, a, b):
            gain_turned = gain + scores(a, turned) - scores(a, found[a])
            if gain_turned > gain:
                return gain_turned, {**without, a: turned}
        return gain, without


def reaches(parents: Mapping[int, frozenset[int]], a: int, b: int) -> bool:
    """Whether there is a path along the arcs from a to b."""
    seen, waiting = set[int](), [b]
    while waiting:
        v = waiting.pop()
        if v == a:
            return True
        if v not in seen:
            seen.add(v)
            waiting += parents[v]
    return False


def ordered(parents: Mapping[int, tuple[int, ...]]) -> list[int]:
    """The columns so that every one comes after its parents; ValueError for a cycle."""
    found: list[int] = []
    left = dict(parents)
    while left:
        ready = [v for v, p in left.items() if not set(p) & set(left)]
        if not ready:
            raise ValueError(f"a network has no cycles; got one among the columns {sorted(left)}")
        found += ready
        left = {v: p for v, p in left.items() if v not in ready}
    return found
