"""Rules that hold in every row of a table and would not by chance: inequalities, sums, columns that settle others.

A rule is taken for one where columns that have nothing to do with each other would keep it in all those rows with
probability below ``CHANCE``. What is only nearly always so in a larger population can still be taken for a rule: rules
are told, and stand in the schema to be struck out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np

from simulacra.modalities.tables.rules import AtMost, Rule, Settled, Sum
from simulacra.modalities.tables.schema import Column, Schema

CHANCE = 1e-9
LEAST = 200  # rows that must bear a rule out
LOOKED_AT = 2_000  # rows that weed out most of what is no rule
MOST_COLUMNS = 100  # of a kind, beyond which pairs are too many to be looked at


def found_rules(schema: Schema, cells: Mapping[str, np.ndarray]) -> tuple[Rule, ...]:
    """The rules of a table's learnt columns; cells as ``encoding.cells_of`` has them."""
    numbers = [c for c in schema.learnt if c.numbers]
    valued = [c for c in schema.learnt if c.values or not c.numbers]
    equal = _equal(numbers, cells)
    taken = {rule.total for rule in equal}
    settled = _settled([c for c in valued if c.name not in taken], cells)
    taken |= {rule.column for rule in settled}
    left = [c for c in numbers if c.name not in taken]
    sums = _sums([c for c in left if c.kind != "date"], cells)
    left = [c for c in left if c.name not in {rule.total for rule in sums}]
    return (*equal, *settled, *sums, *_at_most(left, cells))


def _equal(columns: list[Column], cells: Mapping[str, np.ndarray]) -> list[Sum]:
    """Numbers that stand twice."""
    first: dict[bytes, str] = {}
    found: list[Sum] = []
    for c in columns:
        held = cells[c.name]
        if len(held) < LEAST:
            continue
        same = first.setdefault(held.tobytes(), c.name)
        if same != c.name:
            found.append(Sum(total=c.name, parts=(same,)))
    return found


def _settled(columns: list[Column], cells: Mapping[str, np.ndarray]) -> list[Settled]:
    if len(columns) > MOST_COLUMNS:
        return []
    numbered = {c.name: np.unique(cells[c.name], return_inverse=True)[1] for c in columns}
    sizes = {name: int(code.max(initial=0)) + 1 for name, code in numbered.items()}
    # the column of more values settles the other; of two that settle each other the first one stays
    order = sorted(columns, key=lambda c: -sizes[c.name])
    found: list[Settled] = []
    for at, column in enumerate(order):
        code, k = numbered[column.name], sizes[column.name]
        if k < 2:
            continue
        agree = float(((np.bincount(code) / len(code)) ** 2).sum())
        for by in order[:at]:
            if any(rule.column == by.name for rule in found):
                continue
            many, repeats = sizes[by.name], len(code) - sizes[by.name]
            if repeats < LEAST or repeats * math.log(agree) > math.log(CHANCE):
                continue
            if _settles(numbered[by.name], code, k, many):
                found.append(Settled(column=column.name, by=by.name))
                break
    return found


def _settles(by: np.ndarray, code: np.ndarray, k: int, many: int) -> bool:
    pairs = by.astype(np.int64) * k + code
    for part in (pairs[:LOOKED_AT], pairs):
        if len(np.unique(part)) != len(np.unique(part // k)):
            return False
    return many > 1


def _sums(columns: list[Column], cells: Mapping[str, np.ndarray]) -> list[Sum]:
    """One column as two others together."""
    columns = [c for c in columns if (np.nan_to_num(cells[c.name]) != 0).mean() > 0.05]
    if not 3 <= len(columns) <= MOST_COLUMNS or len(cells[columns[0].name]) < LEAST:
        return []
    some = {c.name: cells[c.name][:LOOKED_AT] for c in columns}
    named = {np.round(some[c.name], 6).tobytes(): c.name for c in columns}
    found: list[Sum] = []
    for a, b in itertools.combinations(columns, 2):
        total = named.get(np.round(some[a.name] + some[b.name], 6).tobytes())
        if total is None or any(total in rule.columns for rule in found):
            continue
        rule = Sum(total=total, parts=(a.name, b.name))
        if not rule.violations(cells).any() and not any(part == r.total for r in found for part in rule.parts):
            found.append(rule)
    return found


def _at_most(columns: list[Column], cells: Mapping[str, np.ndarray]) -> list[AtMost]:
    """Of each column the nearest one that it is never below."""
    if len(columns) > MOST_COLUMNS:
        return []
    found: list[AtMost] = []
    for upper in columns:
        best: tuple[float, AtMost] | None = None
        for lower in columns:
            if lower is upper or (lower.kind == "date") != (upper.kind == "date") or lower.unit != upper.unit:
                continue
            rule = AtMost(lower=lower.name, upper=upper.name)
            a, b = cells[lower.name], cells[upper.name]
            if (a[:LOOKED_AT] > b[:LOOKED_AT]).any() or not _telling(a, b):
                continue
            gap = float(np.nanmean(np.where(np.isfinite(b - a), b - a, np.nan)))
            if gap > 0 and (best is None or gap < best[0]):
                best = gap, rule
        if best is not None:
            found.append(best[1])
    return found


def _telling(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a <= b in all rows, where shuffled rows would not have it so."""
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[both], b[both]
    if len(a) < LEAST or a.max() <= b.min() or (a > b).any():
        return False
    # probability that a cell of one is at most one of the other, the two drawn apart
    apart = float((np.searchsorted(np.sort(a), b, side="right") / len(a)).mean())
    return len(a) * math.log(max(apart, 1e-300)) < math.log(CHANCE)
