"""A column of numbers as bins and the place within: what autoregressive families take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from simulacra.core.space import Categorical, Continuous, Field
from simulacra.modalities.tables.columns import MISSING, Fitted
from simulacra.modalities.tables.pieces import ANYWHERE, Pieces, cut
from simulacra.modalities.tables.schema import Column, written_number


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Numbers as pieces of about equal shares and the place within: what autoregressive families take.

    count  pieces, about; a value that would fill one alone is one.
    """

    count: int = 64

    def __call__(self, column: Column, cells: np.ndarray, missing: bool) -> Fitted:
        return Binned(column, missing, cut_column(column, cells, self.count))


@dataclass(frozen=True)
class Binned:
    """A column of numbers: the piece it lies in, and the place within it (``pieces``)."""

    column: Column
    missing: bool
    pieces: Pieces

    @property
    def fields(self) -> Mapping[str, Field]:
        return self._fields

    @cached_property
    def _fields(self) -> Mapping[str, Field]:
        ends = [
            written_number(self.column, a)
            if a == b
            else f"{written_number(self.column, a)} .. {written_number(self.column, b)}"
            for a, b in zip(self.pieces.lows, self.pieces.highs, strict=True)
        ]
        names = (*ends, MISSING) if self.missing else tuple(ends)
        fields: dict[str, Field] = {self.column.name: Categorical(k=len(names), names=names)}
        if self._ranges:
            within = Continuous(low=0.0, high=1.0, centre=0.5, scale=12**-0.5)  # of the uniform distribution
            fields[f"{self.column.name}.within"] = within
        return fields

    @cached_property
    def _ranges(self) -> bool:
        return bool((self.pieces.cells != 1).any())

    def encode(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        gone = np.isnan(cells)
        index, within = self.pieces.place(np.where(gone, self.pieces.highs[0], cells))
        index = np.where(gone, len(self.pieces) if self.missing else 0, index)
        found: dict[str, np.ndarray] = {self.column.name: index}
        if self._ranges:
            found[f"{self.column.name}.within"] = np.where(gone, ANYWHERE, within)
        return found

    def decode(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        index = x[self.column.name]
        gone = index >= len(self.pieces)
        index = np.where(gone, 0, index)
        within = x[f"{self.column.name}.within"] if self._ranges else np.full(len(index), ANYWHERE)
        return np.where(gone, np.nan, self.pieces.value(index, np.nan_to_num(within, nan=ANYWHERE)))

    @property
    def chances(self) -> int:
        return int(self._ranges)

    def jitter(self, x: Mapping[str, Tensor], u: Tensor) -> dict[str, Tensor]:
        if not self._ranges:
            return {}
        name = f"{self.column.name}.within"
        return {name: self.pieces.jitter(x[self.column.name], x[name], u[:, 0])}

    def log_units(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        return self.pieces.log_units(x[self.column.name])

    def to_json(self) -> dict[str, Any]:
        return {"how": "bins", "missing": self.missing, "pieces": self.pieces.to_json()}


def cut_column(column: Column, cells: np.ndarray, count: int) -> Pieces:
    """The pieces of a column, over its whole range."""
    held = cells[np.isfinite(cells)]
    low = column.low if column.low is not None else float(held.min(initial=0.0))
    high = column.high if column.high is not None else float(held.max(initial=0.0))
    return cut(cells, count, step=column.step, low=low, high=high, peaks=column.peaks)
