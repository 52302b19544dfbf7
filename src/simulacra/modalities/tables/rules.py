"""What holds within every row: one column at most another, a sum of others, settled by another.

A rule is stated in the schema, or found (``constraints``); ``violations`` counts the rows that break it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

# a column's cells as numbers, NaN where missing, or as whole numbers, -1 where missing
Cells = Mapping[str, np.ndarray]


@runtime_checkable
class Rule(Protocol):
    """Something that holds within every row."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it speaks of."""
        ...

    def told(self) -> str:
        """The rule in words."""
        ...

    def violations(self, cells: Cells) -> np.ndarray:
        """Which rows break it, bool (n,); where a cell is missing it is not broken."""
        ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class AtMost:
    """lower <= upper: a start and an end, a part and a whole. Modelled as ``lower`` and the gap between the two."""

    lower: str
    upper: str

    @property
    def columns(self) -> tuple[str, ...]:
        return self.lower, self.upper

    def told(self) -> str:
        return f"{self.lower} <= {self.upper}"

    def violations(self, cells: Cells) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return cells[self.lower] > cells[self.upper]

    def to_json(self) -> dict[str, Any]:
        return {"at_most": [self.lower, self.upper]}


@dataclass(frozen=True, kw_only=True)
class Sum:
    """total = the sum of its parts. The total is not modelled: it is added up again."""

    total: str
    parts: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.total, *self.parts

    def told(self) -> str:
        return f"{self.total} = {' + '.join(self.parts)}"

    def violations(self, cells: Cells) -> np.ndarray:
        total, added = cells[self.total], added_up([cells[p] for p in self.parts])
        with np.errstate(invalid="ignore"):
            return np.abs(total - added) > 1e-9 * np.maximum(1, np.abs(total) + np.abs(added))

    def to_json(self) -> dict[str, Any]:
        return {"sum": self.total, "parts": list(self.parts)}


@dataclass(frozen=True, kw_only=True)
class Settled:
    """``column`` follows from ``by``: each value of ``by`` comes with one of its own. It is looked up, not modelled."""

    column: str
    by: str

    @property
    def columns(self) -> tuple[str, ...]:
        return self.column, self.by

    def told(self) -> str:
        return f"{self.column} follows from {self.by}"

    def violations(self, cells: Cells) -> np.ndarray:
        by, column = (np.unique(cells[n], return_inverse=True)[1] for n in (self.by, self.column))
        # judged by the commonest partner of each value: what differs from it breaks the rule
        return column != _commonest(by, column)[by]

    def to_json(self) -> dict[str, Any]:
        return {"settled": self.column, "by": self.by}


@dataclass(frozen=True, kw_only=True)
class Together:
    """Only those combinations of values that were seen: modelled as one column of combinations."""

    columns: tuple[str, ...]

    def told(self) -> str:
        return f"{', '.join(self.columns)} only in combinations that were seen"

    def violations(self, cells: Cells) -> np.ndarray:
        return np.zeros(len(cells[self.columns[0]]), dtype=bool)

    def to_json(self) -> dict[str, Any]:
        return {"together": list(self.columns)}


def rule_from_json(value: Any) -> Rule:
    """The rule that ``to_json`` or a person wrote; ValueError where it is none."""
    match value:
        case {"at_most": [str(lower), str(upper)]}:
            return AtMost(lower=lower, upper=upper)
        case {"sum": str(total), "parts": [_, *_] as parts}:
            return Sum(total=total, parts=tuple(map(str, parts)))
        case {"settled": str(column), "by": str(by)}:
            return Settled(column=column, by=by)
        case {"together": [_, _, *_] as columns}:
            return Together(columns=tuple(map(str, columns)))
    raise ValueError(
        f'no rule {value!r}; expected {{"at_most": [LOWER, UPPER]}}, {{"sum": TOTAL, "parts": [...]}},'
        ' {"settled": COLUMN, "by": COLUMN} or {"together": [COLUMN, ...]}'
    )


def added_up(parts: list[np.ndarray]) -> np.ndarray:
    """The sum of columns, NaN where one of them is."""
    total = np.zeros(len(parts[0]))
    for part in parts:
        total = total + part
    return total


def _commonest(by: np.ndarray, column: np.ndarray) -> np.ndarray:
    """For each number of ``by`` the number of ``column`` that comes with it most often."""
    pairs, counts = np.unique(np.stack([by, column]), axis=1, return_counts=True)
    order = np.argsort(counts, kind="stable")
    found = np.zeros(int(by.max(initial=0)) + 1, dtype=np.int64)
    found[pairs[0, order]] = pairs[1, order]
    return found
