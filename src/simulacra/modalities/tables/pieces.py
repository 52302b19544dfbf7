"""The line cut into pieces, each a range or one value: where a number lies, as the piece and the place within it.

Ranges hold about equally many of the values they were fitted to; a value that holds a large share, missing ones and
infinities are pieces of their own. Where numbers come in steps a piece is a whole number of steps, and a number lies
somewhere within its own step: drawn afresh each time (uniform dequantisation, Theis et al. 2016), so that a density
over places within stays finite and bounds the probability of the numbers themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

ANYWHERE = 0.5  # the place within a piece of one value, until it is drawn


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Pieces of the line, in order.

    lows, highs  their smallest and largest value, the same for one of a single value; where numbers come in steps
                 every multiple of the step from the first low to the last high lies in one, else the ranges touch.
    shares       of the rows, summing to 1 - missing.
    step         between two numbers; None where any real number may stand.
    missing      share of the rows where nothing stands; the piece after the last one where there are any.
    """

    lows: tuple[float, ...]
    highs: tuple[float, ...]
    shares: tuple[float, ...]
    step: float | None = None
    missing: float = 0.0

    def __len__(self) -> int:
        return len(self.lows)

    @cached_property
    def cells(self) -> np.ndarray:
        """Steps in each piece, whole floats; 0 where it is a range of real numbers, 1 where it is one value."""
        low, high = np.array(self.lows), np.array(self.highs)
        single = low == high
        with np.errstate(invalid="ignore"):
            many = np.zeros(len(low)) if self.step is None else np.round((high - low) / self.step) + 1
        return np.where(single, 1.0, many)

    def place(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The piece of each value, int64, and its place within, 0 .. 1, float64. Values beyond the ends lie at them."""
        low, high = np.array(self.lows), np.array(self.highs)
        values = np.clip(values, low[0], high[-1])
        index = np.searchsorted(high, values - _slack(self.step), side="left").clip(0, len(low) - 1)
        # a range of real numbers ends where a value of its own begins
        after = np.minimum(index + 1, len(low) - 1)
        index = np.where((low[after] == values) & (high[after] == values), after, index)
        low, high, cells = low[index], high[index], self.cells[index]
        with np.errstate(invalid="ignore"):
            width = np.where(low == high, 1.0, high - low)
            along = np.where(low == high, ANYWHERE, (values - low) / width)
            if self.step is not None:
                steps = np.round((values - low) / self.step)
                along = np.where(cells > 1, (steps + 0.5) / np.maximum(cells, 1), ANYWHERE)
        return index.astype(np.int64), along.clip(0, 1)

    def value(self, index: np.ndarray, within: np.ndarray) -> np.ndarray:
        """The value at a place within a piece."""
        low, high, cells = np.array(self.lows)[index], np.array(self.highs)[index], self.cells[index]
        within = np.clip(within, 0.0, 1.0)
        with np.errstate(invalid="ignore"):
            if self.step is None:
                return np.where(low == high, low, low + within * (high - low))
            steps = np.minimum(np.floor(within * cells), cells - 1)
            return np.where(low == high, low, low + steps * self.step)

    def jitter(self, index: Tensor, within: Tensor, u: Tensor) -> Tensor:
        """Places drawn anew within the step each lies in, by uniform numbers u (b,); those in ranges of real numbers as
        they are."""
        cells = torch.as_tensor(np.append(self.cells, 1.0), dtype=torch.float64, device=within.device)[index]
        wide = within.double()
        step = torch.minimum((wide * cells).floor(), cells - 1)
        drawn = (step + u) / cells.clamp(min=1)
        return torch.where(cells > 0, drawn, wide).to(within.dtype)

    def log_units(self, index: np.ndarray) -> np.ndarray:
        """What log p(piece) + log p(place within) lacks to be that of the value in its own units, nats.

        Log probability where there is a step or a value of its own; else log density in the column's units.
        """
        width = np.array(self.highs) - np.array(self.lows)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(self.cells > 0, -np.log(np.maximum(self.cells, 1.0)), -np.log(width))
        return np.append(each, 0.0)[index]

    def to_json(self) -> dict[str, Any]:
        def kept(values: tuple[float, ...]) -> list[Any]:
            return [v if np.isfinite(v) else str(v) for v in values]  # JSON has no infinity

        return {
            "lows": kept(self.lows), "highs": kept(self.highs), "shares": list(self.shares), "step": self.step,
            "missing": self.missing,
        }  # fmt: skip

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Pieces:
        """The pieces that ``to_json`` wrote."""
        lows, highs, shares = (tuple(map(float, value[k])) for k in ("lows", "highs", "shares"))
        return Pieces(lows=lows, highs=highs, shares=shares, step=value["step"], missing=value["missing"])


def cut(
    values: np.ndarray,
    count: int,
    *,
    step: float | None,
    low: float,
    high: float,
    peaks: tuple[float, ...] = (),
) -> Pieces:
    """About ``count`` pieces of equal shares of these values; NaN is missing.

    low, high  finite ends that the pieces reach, whatever the values do.
    peaks      values that are pieces of their own. Where numbers come in steps, so is each that fills a piece alone.
    """
    held = values[~np.isnan(values)]
    missing = 1 - len(held) / max(len(values), 1)
    distinct, counts = np.unique(held, return_counts=True)
    alone = np.isin(distinct, np.array(peaks)) | np.isinf(distinct)
    if step is not None:
        # a value with the share of a piece is one; where there are few values each is
        alone |= counts >= (1 if len(distinct) <= count else len(held) / count)
    lows: list[float] = []
    highs: list[float] = []
    singles = distinct[alone]
    edges = [*singles[np.isfinite(singles)]]
    # between two single values lie ranges, cut at quantiles of what lies there
    bounds = [-np.inf, *edges, np.inf]
    if -np.inf in singles:
        lows, highs = [-np.inf], [-np.inf]
    for below, above in itertools.pairwise(bounds):
        inside = held[(held > below) & (held < above) & np.isfinite(held)]
        first, last = _room(below, above, low, high, step)
        share = max(1, round(count * len(inside) / max(len(held), 1)))
        for a, b in _ranges(inside, share, first, last, step):
            lows.append(a)
            highs.append(b)
        if np.isfinite(above):
            lows.append(float(above))
            highs.append(float(above))
    if np.inf in singles:
        lows.append(np.inf)
        highs.append(np.inf)
    pieces = Pieces(lows=tuple(lows), highs=tuple(highs), shares=(), step=step, missing=missing)
    index, _ = pieces.place(held)
    shares = np.bincount(index, minlength=len(lows)) / max(len(values), 1)
    return Pieces(lows=pieces.lows, highs=pieces.highs, shares=tuple(shares.tolist()), step=step, missing=missing)


def _room(below: float, above: float, low: float, high: float, step: float | None) -> tuple[float, float]:
    """The ends of what lies between two values that are pieces of their own; the first above the last where nothing."""
    gap = step or 0.0
    first = low if np.isinf(below) else below + gap
    last = high if np.isinf(above) else above - gap
    return first, last


def _ranges(inside: np.ndarray, count: int, first: float, last: float, step: float | None) -> list[tuple[float, float]]:
    """Ranges of about equal shares that cover first .. last."""
    if step is None:
        if not last > first:
            return []
        cuts = np.quantile(inside, np.arange(1, count) / count) if len(inside) else np.array([])
        edges = [first, *(float(c) for c in np.unique(cuts) if first < c < last), last]
        return list(itertools.pairwise(edges))
    if last < first - step / 2:
        return []
    cuts = np.quantile(inside, np.arange(1, count) / count, method="lower") if len(inside) else np.array([])
    ends = [*(float(c) for c in np.unique(cuts) if first - step / 2 < c < last - step / 2), last]
    starts = [first, *(e + step for e in ends[:-1])]
    return list(zip(starts, ends, strict=True))


def _slack(step: float | None) -> float:
    return 0.0 if step is None else step / 4
