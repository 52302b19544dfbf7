"""Rules kept by construction: which columns are modelled, so that what is drawn cannot break them.

A column that another settles is looked up, a sum is added up, an upper one is modelled as the gap above the lower one,
and columns that stand in few combinations as one column of combinations. A rule whose holes do not fit (an upper end
known where the lower is not) is left to be counted: ``Arrangement.kept`` has the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from simulacra.modalities.tables.cells import joined
from simulacra.modalities.tables.inference import as_numbers
from simulacra.modalities.tables.rules import AtMost, Rule, Settled, Sum, Together, added_up
from simulacra.modalities.tables.schema import Column, Schema, written_number

Held = Mapping[str, np.ndarray]  # cells by column


@runtime_checkable
class Step(Protocol):
    """One rule at work.

    makes  the columns that ``back`` makes again; of those that ``needs`` names, all must be there by then.
    """

    @property
    def makes(self) -> tuple[str, ...]: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    def forth(self, cells: Held) -> dict[str, np.ndarray]:
        """What is modelled in place of the columns that it makes, by name; nothing where they just fall away."""
        ...

    def back(self, cells: Held) -> dict[str, np.ndarray]:
        """The columns that it makes."""
        ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class LookedUp:
    """A settled column, by a table: the cell of ``column`` for each cell of ``by``."""

    column: str
    by: str
    table: tuple[tuple[float | None, float | None], ...]

    @property
    def makes(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.by,)

    @staticmethod
    def fit(rule: Settled, cells: Held) -> LookedUp:
        """The commonest partner of each cell."""
        by, column = (np.nan_to_num(cells[n].astype(np.float64), nan=np.inf) for n in (rule.by, rule.column))
        pairs, counts = np.unique(np.stack([by, column]), axis=1, return_counts=True)
        best = {a: b for _, a, b in sorted(zip(counts, *pairs, strict=True))}
        return LookedUp(rule.column, rule.by, tuple((_plain(a), _plain(b)) for a, b in sorted(best.items())))

    def forth(self, cells: Held) -> dict[str, np.ndarray]:
        return {}

    def back(self, cells: Held) -> dict[str, np.ndarray]:
        by = np.nan_to_num(cells[self.by].astype(np.float64), nan=np.inf)
        known = np.array([np.inf if a is None else a for a, _ in self.table])
        other = np.array([np.nan if b is None else b for _, b in self.table])
        place = np.searchsorted(known, by).clip(0, len(known) - 1)
        found = np.where(known[place] == by, other[place], np.nan)
        return {self.column: found}

    def to_json(self) -> dict[str, Any]:
        return {"looked_up": self.column, "by": self.by, "table": [list(pair) for pair in self.table]}


@dataclass(frozen=True)
class AddedUp:
    """A total, as the sum of its parts."""

    total: str
    parts: tuple[str, ...]

    @property
    def makes(self) -> tuple[str, ...]:
        return (self.total,)

    @property
    def needs(self) -> tuple[str, ...]:
        return self.parts

    def forth(self, cells: Held) -> dict[str, np.ndarray]:
        return {}

    def back(self, cells: Held) -> dict[str, np.ndarray]:
        return {self.total: added_up([cells[p] for p in self.parts])}

    def to_json(self) -> dict[str, Any]:
        return {"added_up": self.total, "parts": list(self.parts)}


@dataclass(frozen=True)
class Above:
    """An upper column, as the gap above the lower one; missing where either is."""

    upper: str
    lower: str

    @property
    def makes(self) -> tuple[str, ...]:
        return (self.upper,)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.lower,)

    def forth(self, cells: Held) -> dict[str, np.ndarray]:
        return {self.upper: cells[self.upper] - cells[self.lower]}

    def back(self, cells: Held) -> dict[str, np.ndarray]:
        return {self.upper: cells[self.lower] + cells[self.upper]}

    def to_json(self) -> dict[str, Any]:
        return {"above": self.upper, "lower": self.lower}


@dataclass(frozen=True)
class Combined:
    """Columns as one, of the combinations of their cells that were seen."""

    columns: tuple[str, ...]
    table: tuple[tuple[float | None, ...], ...]

    @property
    def name(self) -> str:
        return " + ".join(self.columns)

    @property
    def makes(self) -> tuple[str, ...]:
        return self.columns

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    @staticmethod
    def fit(rule: Together, cells: Held) -> Combined:
        """All combinations in these cells."""
        rows = np.unique(_stacked(cells, rule.columns), axis=0)
        return Combined(rule.columns, tuple(tuple(_plain(v) for v in row) for row in rows))

    def forth(self, cells: Held) -> dict[str, np.ndarray]:
        rows = _stacked(cells, self.columns)
        place = {row: i for i, row in enumerate(self.table)}
        found = np.array([place.get(tuple(_plain(v) for v in row), -2) for row in rows], dtype=np.int64)
        # a row with holes of its own: what stands there is not known yet
        found[(found == -2) & (np.isinf(rows) | (rows < 0)).any(1)] = 0
        if (found == -2).any():
            raise ValueError(
                f"row {int((found == -2).argmax()) + 1} combines {', '.join(self.columns)} as no row did that was"
                " learned from; mend it, or strike out the rule in the schema and fit again"
            )
        return {self.name: found}

    def back(self, cells: Held) -> dict[str, np.ndarray]:
        table = np.array([[np.nan if v is None else v for v in row] for row in self.table], dtype=np.float64)
        rows = table[np.clip(cells[self.name], 0, len(table) - 1)]
        return {name: rows[:, i] for i, name in enumerate(self.columns)}

    def to_json(self) -> dict[str, Any]:
        return {"combined": list(self.columns), "table": [list(row) for row in self.table]}


@dataclass(frozen=True)
class Arrangement:
    """The steps, in the order in which they make their columns again, and the rules that they keep."""

    steps: tuple[Step, ...] = ()
    kept: tuple[Rule, ...] = ()

    def forth(self, cells: Held) -> dict[str, np.ndarray]:
        """Cells of the schema's columns as those of what is modelled."""
        found = {name: held for name, held in cells.items() if not any(name in step.makes for step in self.steps)}
        for step in self.steps:
            if all(name in cells for name in (*step.makes, *step.needs)):
                found.update(step.forth(cells))
        return found

    def back(self, cells: Held, schema: Schema) -> dict[str, np.ndarray]:
        """Cells of what is modelled as those of the schema's columns."""
        found = dict(cells)
        for step in self.steps:
            for name, held in step.back(found).items():
                column = schema[name]
                found[name] = held if column.numbers else np.nan_to_num(held, nan=-1).astype(np.int64)
        return {name: held for name, held in found.items() if name in schema.names}

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, given the rules of the schema."""
        return {"steps": [step.to_json() for step in self.steps], "kept": [rule.to_json() for rule in self.kept]}

    @staticmethod
    def from_json(value: Mapping[str, Any], rules: Sequence[Rule]) -> Arrangement:
        """What ``to_json`` wrote."""
        kept = tuple(rule for rule in rules if rule.to_json() in value["kept"])
        return Arrangement(tuple(_step_from_json(s) for s in value["steps"]), kept)


def arrange(schema: Schema, cells: Held, apart: Sequence[str] = ()) -> Arrangement:
    """The rules of a schema at work, where their columns are learnt, not ``apart``, and the holes fit."""
    steps: dict[str, Step] = {}
    kept: list[Rule] = []
    for rule in schema.rules:
        if any(not schema[n].learnt or n in apart for n in rule.columns) or not _fits(rule, cells):
            continue
        step = _step(rule, cells)
        made = {name for s in steps.values() for name in s.makes}
        if made & set(step.makes) or any(_leads(steps, need, step.makes) for need in step.needs):
            continue
        if isinstance(step, Combined) and any(set(s.makes) & set(step.columns) for s in steps.values()):
            continue
        steps.update(dict.fromkeys(step.makes, step))
        kept.append(rule)
    return Arrangement(_in_order(list(dict.fromkeys(steps.values()))), tuple(kept))


def made_column(step: Step, schema: Schema, cells: Held) -> Column | None:
    """The column that is modelled in place of what a step makes; None where nothing is. cells: what is modelled."""
    if isinstance(step, Combined):
        columns = [schema[name] for name in step.columns]
        names = [joined([_shown(c, v) for c, v in zip(columns, row, strict=True)]) for row in step.table]
        return Column(name=step.name, kind="categorical", values=tuple(_distinct_names(names)))
    if isinstance(step, Above):
        upper, lower = schema[step.upper], schema[step.lower]
        steps = upper.step if upper.step == lower.step else None
        gap = Column(name=step.upper, kind="numeric" if steps != 1 else "integer", dtype="float64",
                     missing=float(np.isnan(cells[step.upper]).mean()))  # fmt: skip
        return dataclasses.replace(as_numbers(gap, cells[step.upper], steps), low=0.0)
    return None


def _fits(rule: Rule, cells: Held) -> bool:
    """Whether holes lie so that the step loses none: each rule holds, and what is made is missing where it would be."""
    if rule.violations(cells).any():
        return False
    if isinstance(rule, AtMost):
        lower, upper = cells[rule.lower], cells[rule.upper]
        infinite = np.isinf(lower).any() or np.isinf(upper).any()
        return not infinite and not (np.isnan(lower) & ~np.isnan(upper)).any()
    if isinstance(rule, Sum):
        added = added_up([cells[p] for p in rule.parts])
        return bool((np.isnan(added) == np.isnan(cells[rule.total])).all())
    return True


def _step(rule: Rule, cells: Held) -> Step:
    if isinstance(rule, Settled):
        return LookedUp.fit(rule, cells)
    if isinstance(rule, Sum):
        return AddedUp(rule.total, rule.parts)
    if isinstance(rule, AtMost):
        return Above(rule.upper, rule.lower)
    assert isinstance(rule, Together)
    return Combined.fit(rule, cells)


def _step_from_json(value: Mapping[str, Any]) -> Step:
    match value:
        case {"looked_up": column, "by": by, "table": table}:
            return LookedUp(column, by, tuple((a, b) for a, b in table))
        case {"added_up": total, "parts": parts}:
            return AddedUp(total, tuple(parts))
        case {"above": upper, "lower": lower}:
            return Above(upper, lower)
        case {"combined": columns, "table": table}:
            return Combined(tuple(columns), tuple(map(tuple, table)))
    raise ValueError(f"no step {sorted(value)}; expected what Arrangement.to_json writes")


def _leads(steps: Mapping[str, Step], start: str, to: Sequence[str]) -> bool:
    """Whether making a column needs, in the end, one of those."""
    return start in to or (start in steps and any(_leads(steps, n, to) for n in steps[start].needs))


def _in_order(steps: list[Step]) -> tuple[Step, ...]:
    """Steps so that each one's needs are made before it."""
    found: list[Step] = []
    while steps:
        pending = {name for step in steps for name in step.makes}
        ready = [step for step in steps if not pending & set(step.needs)]
        found += ready
        steps = [step for step in steps if step not in ready]
    return tuple(found)


def _stacked(cells: Held, columns: Sequence[str]) -> np.ndarray:
    """Cells of several columns (n, columns) float64, infinite where a number is missing."""
    return np.stack([np.nan_to_num(cells[n].astype(np.float64), nan=np.inf) for n in columns], axis=1)


def _plain(value: float) -> float | None:
    """A cell as JSON has it; None for what is missing."""
    return None if np.isinf(value) else float(value)


def _shown(column: Column, cell: float | None) -> str | None:
    """A cell in words, None where it is missing."""
    if cell is None or (cell < 0 and not column.numbers):
        return None
    return written_number(column, cell) if column.numbers else str(column.values[int(cell)])


def _distinct_names(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    found: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
