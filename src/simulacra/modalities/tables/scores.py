"""A column of numbers as normal scores: what copulas, mixtures, flows and diffusion take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from simulacra.core.space import Categorical, Continuous, Field
from simulacra.modalities.tables.bins import cut_column
from simulacra.modalities.tables.columns import MISSING, Fitted, normal_at
from simulacra.modalities.tables.pieces import Pieces
from simulacra.modalities.tables.schema import Column


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """Numbers as normal scores: what copulas, mixtures, flows and diffusion take.

    count  pieces of the quantile function.
    """

    count: int = 1000

    def __call__(self, column: Column, cells: np.ndarray, missing: bool) -> Fitted:
        pieces = cut_column(column, cells, min(self.count, max(2, int((~np.isnan(cells)).sum()) // 4)))
        n = len(cells)
        # every piece has some stretch, so that what was not seen in this part has a score too
        shares = np.array(pieces.shares) * n + 0.5
        margin = 0.5 / (n + 1)
        ends = margin + (1 - 2 * margin) * np.concatenate([[0.0], np.cumsum(shares) / shares.sum()])
        return Scored(column, missing, pieces, tuple(ends.tolist()))


@dataclass(frozen=True)
class Scored:
    """A column of numbers as normal scores: where it lies among the others, as a standard normal has it.

    Every piece has a stretch of (0, 1) as wide as its share, within which it is linear; the score is the normal
    quantile of that. Where missing is a value, a second field says what is, and its score is noise.
    """

    column: Column
    missing: bool
    pieces: Pieces
    ends: tuple[float, ...]  # of the stretches, one more than pieces

    @property
    def fields(self) -> Mapping[str, Field]:
        return self._fields

    @cached_property
    def _fields(self) -> Mapping[str, Field]:
        fields: dict[str, Field] = {self.column.name: Continuous(low=-math.inf, high=math.inf)}
        if self.missing:
            fields[f"{self.column.name}.missing"] = Categorical(k=2, names=("present", MISSING))
        return fields

    def encode(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        gone = np.isnan(cells)
        index, within = self.pieces.place(np.where(gone, self.pieces.highs[0], cells))
        ends = np.array(self.ends)
        share = ends[index] + within * (ends[index + 1] - ends[index])
        found: dict[str, np.ndarray] = {self.column.name: np.where(gone, 0.0, ndtri(share))}
        if self.missing:
            found[f"{self.column.name}.missing"] = gone.astype(np.int64)
        return found

    def decode(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        index, within = self._place(x[self.column.name])
        found = self.pieces.value(index, within)
        if self.missing:
            found = np.where(x[f"{self.column.name}.missing"] == 1, np.nan, found)
        return found

    @property
    def chances(self) -> int:
        return 1

    def jitter(self, x: Mapping[str, Tensor], u: Tensor) -> dict[str, Tensor]:
        score = x[self.column.name]
        ends = torch.as_tensor(self.ends, dtype=torch.float64, device=score.device)
        share = torch.special.ndtr(score.double()).clamp(self.ends[0], self.ends[-1])
        index = (torch.searchsorted(ends, share, right=True) - 1).clamp(0, len(self.pieces) - 1)
        width = ends[index + 1] - ends[index]
        within = self.pieces.jitter(index, (share - ends[index]) / width, u[:, 0])
        found = torch.special.ndtri((ends[index] + within * width).clamp(self.ends[0], self.ends[-1])).to(score.dtype)
        if self.missing:
            found = torch.where(x[f"{self.column.name}.missing"] == 1, normal_at(u[:, 0]).to(score.dtype), found)
        return {self.column.name: found}

    def log_units(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        score = x[self.column.name].astype(np.float64)
        index, _ = self._place(score)
        # p(cell) = p(score) dscore/dshare dshare/dwithin dwithin/dcell, and dshare/dscore is the normal density
        normal = -0.5 * score**2 - 0.5 * math.log(2 * math.pi)
        found = -normal + np.log(np.diff(self.ends))[index] + self.pieces.log_units(index)
        if self.missing:
            found = np.where(x[f"{self.column.name}.missing"] == 1, -normal, found)
        return found

    def to_json(self) -> dict[str, Any]:
        pieces = self.pieces.to_json()
        return {"how": "quantile", "missing": self.missing, "pieces": pieces, "ends": list(self.ends)}

    def _place(self, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ends = np.array(self.ends)
        share = np.clip(np.nan_to_num(ndtr(score.astype(np.float64)), nan=0.5), ends[0], ends[-1])
        index = (np.searchsorted(ends, share, side="right") - 1).clip(0, len(ends) - 2)
        return index, (share - ends[index]) / (ends[index + 1] - ends[index])
