"""Rows of a table as two arrays: quantities and places among values, whatever table of that schema they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from simulacra.modalities.tables.encoding import cells_of
from simulacra.modalities.tables.reading import Frame
from simulacra.modalities.tables.schema import Schema


@dataclass(frozen=True)
class Rows:
    """Rows of the learnt columns of one schema.

    names, numbers  columns of numbers and dates, and their quantities (n, p) float64, NaN where missing.
    valued, codes   the other columns, and the places of their cells (n, q) int64, -1 where missing.
    """

    names: tuple[str, ...]
    numbers: Tensor
    valued: tuple[str, ...]
    codes: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, index: Tensor) -> Rows:
        """Some of the rows."""
        return replace(self, numbers=self.numbers[index], codes=self.codes[index])

    def only(self, columns: Sequence[str]) -> Rows:
        """Some of the columns."""
        p = [i for i, name in enumerate(self.names) if name in columns]
        q = [i for i, name in enumerate(self.valued) if name in columns]
        return Rows(
            tuple(self.names[i] for i in p), self.numbers[:, p], tuple(self.valued[i] for i in q), self.codes[:, q]
        )

    def column(self, name: str) -> Tensor:
        """One column: float64 quantities, or int64 places from 0 on, what is missing being one."""
        if name in self.names:
            return self.numbers[:, self.names.index(name)]
        return self.codes[:, self.valued.index(name)] + 1

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.names, *self.valued)


def rows_of(frame: Frame, schema: Schema) -> Rows:
    """The learnt columns of a table; ValueError for a column that is not there, or a value that the schema has not."""
    cells = all_cells(frame, schema)
    names = tuple(c.name for c in schema.learnt if c.numbers)
    valued = tuple(c.name for c in schema.learnt if not c.numbers)
    n = len(frame)
    numbers = np.stack([cells[name] for name in names], 1) if names else np.zeros((n, 0))
    codes = np.stack([cells[name] for name in valued], 1) if valued else np.zeros((n, 0), np.int64)
    return Rows(names, torch.from_numpy(numbers), valued, torch.from_numpy(codes))


def all_cells(frame: Frame, schema: Schema) -> Mapping[str, np.ndarray]:
    """Cells as ``encoding.cells_of`` has them, numbers without ends: what is judged may lie beyond what was seen."""
    free = tuple(replace(c, low=None, high=None, peaks=(-np.inf, np.inf), values=()) if c.numbers else c
                 for c in schema.columns)  # fmt: skip
    return cells_of(frame, Schema(columns=free), [c.name for c in schema.learnt])


@dataclass(frozen=True)
class Scale:
    """Numbers on a scale from 0 to 1 by their place among real ones; what is missing lies at ``MISSING``."""

    ordered: tuple[Tensor, ...]

    MISSING = -0.5  # between half and one and a half away from what is there

    @staticmethod
    def of(real: Rows) -> Scale:
        """The scale of these rows' numbers."""
        return Scale(tuple(column[~column.isnan()].sort().values for column in real.numbers.T))

    def __call__(self, rows: Rows) -> Tensor:
        """float32 (n, p)."""
        found: list[Tensor] = []
        for ordered, column in zip(self.ordered, rows.numbers.T, strict=True):
            values = column.contiguous().nan_to_num()
            low, high = torch.searchsorted(ordered, values), torch.searchsorted(ordered, values, right=True)
            place = (low + high).double() / (2 * max(1, len(ordered)))
            found.append(torch.where(column.isnan(), self.MISSING, place).float())
        return torch.stack(found, 1) if found else torch.zeros(len(rows), 0)
