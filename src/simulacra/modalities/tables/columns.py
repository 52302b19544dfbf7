"""How one column becomes fields of a space, and back: as values, bins, normal scores, or components of a mixture.

A setting (``Bins()``, ``Quantile()``, ``Mixture()``) is called with a column and what it holds in the part that is
learned from, and returns what was fitted. Columns of values, and of numbers that take few, are ``Values`` whatever the
setting. Cells are places among the values (int64, -1 missing) or quantities (float64, NaN missing).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from simulacra.core.space import Categorical, Field
from simulacra.modalities.tables.schema import Column, written_number

MISSING = "(missing)"


def normal_at(u: Tensor) -> Tensor:
    """Standard normal numbers of uniform ones on [0, 1) in steps of 2**-24, by inversion; the same shape."""
    return torch.special.ndtri(u + 2.0**-25)  # the middle of a step, because 0 has no finite one


@runtime_checkable
class Fitted(Protocol):
    """A column's fields, and the way there and back."""

    @property
    def fields(self) -> Mapping[str, Field]: ...
    def encode(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        """Cells (n,) -> field name -> (n,)."""
        ...

    def decode(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        """Fields -> cells."""
        ...

    @property
    def chances(self) -> int:
        """How many uniform numbers a row ``jitter`` takes."""
        ...

    def jitter(self, x: Mapping[str, Tensor], u: Tensor) -> dict[str, Tensor]:
        """What stands for a single number drawn anew among all that stand for it: fields that change.

        u  uniform on [0, 1), float64 (b, chances).
        """
        ...

    def log_units(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the log-likelihood of the fields lacks to be that of the cells in their own units, nats (n,)."""
        ...

    def to_json(self) -> dict[str, Any]: ...


# (column, cells, missing a value of its own) -> fitted
Setting = Callable[[Column, np.ndarray, bool], Fitted]


@dataclass(frozen=True)
class Values:
    """A column of values: one field, their places; one more category for what is missing, where that is a value.

    counts  how often each category stood in the part that was learned from.
    """

    column: Column
    missing: bool
    counts: tuple[int, ...]

    @property
    def fields(self) -> Mapping[str, Field]:
        return self._fields

    @cached_property
    def _fields(self) -> Mapping[str, Field]:
        told = [written_number(self.column, v) if self.column.numbers else str(v) for v in self.column.values]
        names = (*told, MISSING) if self.missing else tuple(told)
        return {self.column.name: Categorical(k=max(1, len(names)), names=names or (MISSING,))}

    @staticmethod
    def fit(column: Column, cells: np.ndarray, missing: bool) -> Values:
        """The column's values, and the counts of these cells."""
        bare = Values(column, missing, ())
        index = bare._places(cells)
        k = len(column.values) + missing
        return Values(column, missing, tuple(np.bincount(index[index >= 0], minlength=k).tolist()))

    def encode(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        return {self.column.name: np.maximum(self._places(cells), 0)}

    def decode(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        index = np.where(x[self.column.name] < len(self.column.values), x[self.column.name], -1)
        if not self.column.numbers:
            return index
        return np.append(np.array(self.column.values, dtype=np.float64), np.nan)[index]

    @property
    def chances(self) -> int:
        return 0

    def jitter(self, x: Mapping[str, Tensor], u: Tensor) -> dict[str, Tensor]:
        return {}

    def log_units(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.zeros(len(x[self.column.name]))

    def to_json(self) -> dict[str, Any]:
        return {"how": "values", "missing": self.missing, "counts": list(self.counts)}

    def _places(self, cells: np.ndarray) -> np.ndarray:
        """Category of each cell, -1 for what is missing where that is no category."""
        k = len(self.column.values)
        if self.column.numbers:
            values = np.array(self.column.values, dtype=np.float64)
            order = np.argsort(values)
            place = order[np.searchsorted(values[order], cells).clip(0, max(0, k - 1))] if k else np.zeros(0, np.int64)
            cells = np.where(np.isnan(cells), -1, place if k else -1)
        return np.where(cells < 0, k if self.missing else -1, cells).astype(np.int64)
