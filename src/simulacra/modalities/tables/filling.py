"""Rows with holes: what of their fields is known, and the rows again with the holes filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical
from simulacra.modalities.tables import cells
from simulacra.modalities.tables.arrangement import Above, Combined, LookedUp
from simulacra.modalities.tables.columns import MISSING
from simulacra.modalities.tables.conditions import Held, inferred
from simulacra.modalities.tables.encoding import TableEncoding, cells_of
from simulacra.modalities.tables.reading import Frame, pandas_


def holes(encoding: TableEncoding, frame: Frame, *, rng: Rng) -> Held:
    """Rows whose missing cells are to be filled in by values: their fields are not known.

    ValueError for a column that is not there, and a cell that the schema does not allow.
    """
    found = inferred(encoding, cells_of(frame, encoding.schema, encoding.columns))
    x, _ = encoding.fields_of(found)
    drawn = encoding.jitter(Batch(x=x if len(x) > 1 else next(iter(x.values()))), rng).x
    x = dict(drawn) if isinstance(drawn, Mapping) else {next(iter(x)): drawn}
    needs = {n: s.needs for s in encoding.arrangement.steps if isinstance(s, Above) for n in s.makes}
    known: dict[str, Tensor] = {}
    present: dict[str, int] = {}
    for part in encoding.parts:
        whole = [_there(found[n]) for of in part.of for n in (of, *needs.get(of, ()))]
        seen = torch.from_numpy(np.logical_and.reduce(whole))
        for name, f in part.fitted.fields.items():
            known[name] = seen
            if isinstance(f, Categorical) and f.names is not None and f.names[-1] == MISSING and f.k > 1:
                if f.k == 2 and name != part.column.name:
                    # a field that only says whether something stands there: something does
                    known[name], x[name] = torch.ones_like(seen), torch.zeros_like(x[name])
                else:
                    present[name] = f.k - 1
    y = None
    if encoding.target is not None and encoding.target in frame.columns:
        y = encoding.labels(frame)
    return Held(x=x, known=known, y=y, present=present)


def disagreeing(encoding: TableEncoding, frame: Frame, drawn: Frame) -> np.ndarray:
    """Which rows were drawn so that a known cell would follow otherwise from them, or from a combination, bool (n,)."""
    found = np.zeros(len(frame), dtype=bool)
    for step in encoding.arrangement.steps:
        if isinstance(step, LookedUp | Combined):
            for name in step.makes:
                column = encoding.schema[name]
                ours, theirs = (cells_of(f, encoding.schema, [name])[name] for f in (frame, drawn))
                there = ~cells.missing(frame[name], column)
                found |= there & (np.nan_to_num(ours, nan=-1) != np.nan_to_num(theirs, nan=-1))
                if isinstance(step, Combined):
                    found |= ~there & ~_there(theirs)
    return found


def filled(encoding: TableEncoding, frame: Frame, batch: Batch) -> Frame:
    """Rows with their holes filled in from a batch; every cell that was there is as it was."""
    drawn = encoding.decode(replace(batch, known=None))
    _below(encoding, frame, drawn)
    found = frame.copy()
    for name in encoding.columns:
        gone = cells.missing(frame[name], encoding.schema[name])
        if gone.any():
            new = drawn[name].astype(object).to_numpy()
            found[name] = pandas_().Series(np.where(gone, new, frame[name].astype(object).to_numpy()), dtype=object)
    return found


def _below(encoding: TableEncoding, frame: Frame, drawn: Frame) -> None:
    """Lower ends that are missing where the upper one is known: the gap that was drawn below it, in place."""
    for step in encoding.arrangement.steps:
        if not isinstance(step, Above):
            continue
        lower, upper = encoding.schema[step.lower], encoding.schema[step.upper]
        gone, there = cells.missing(frame[lower.name], lower), ~cells.missing(frame[upper.name], upper)
        if (both := gone & there).any():
            gap = cells.numbers(drawn[upper.name], upper) - cells.numbers(drawn[lower.name], lower)
            held = np.where(
                both, cells.numbers(frame[upper.name], upper) - gap, cells.numbers(drawn[lower.name], lower)
            )
            drawn[lower.name] = cells.column_of(lower, held=held)


def _there(held: np.ndarray) -> np.ndarray:
    return ~np.isnan(held) if held.dtype.kind == "f" else held >= 0
