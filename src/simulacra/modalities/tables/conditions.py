"""Some columns given, the others to be drawn: from words ("age=40"), or rows with holes, to what a Completer takes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical
from simulacra.modalities.tables import cells
from simulacra.modalities.tables.columns import MISSING
from simulacra.modalities.tables.encoding import TableEncoding
from simulacra.modalities.tables.reading import MISSING as WORDS
from simulacra.modalities.tables.reading import Frame, pandas_
from simulacra.modalities.tables.schema import Column, Schema


@dataclass(frozen=True, kw_only=True)
class Held:
    """Rows in part: x and known by field, y where it is given; what is not known may be anything.

    present  field name -> its category of what is missing, where a hole is to be filled by a value.
    """

    x: Mapping[str, Tensor]
    known: Mapping[str, Tensor]
    y: Tensor | None
    present: Mapping[str, int]


def said(words: Sequence[str], schema: Schema) -> dict[str, Any]:
    """Cells by column, of words like ``age=40``, as the schema's columns have them.

    ValueError for a column that does not exist or is not learnt, a value that is none of it, and one given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"what is given is COLUMN=VALUE; got {word!r}")
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, n=1)
            raise ValueError(f"no column {name!r}; " + (f"did you mean {near[0]!r}?" if near else "see the schema"))
        if name in found:
            raise ValueError(f"{name} is given twice; expected one value a column")
        found[name] = _cell(schema[name], text.strip())
    return found


def given(encoding: TableEncoding, values: Mapping[str, Any], n: int, *, rng: Rng) -> Held:
    """n rows of which these cells are known, each number somewhere within its own step.

    ValueError for a cell that the schema does not allow, or that never stood in what was learned from.
    """
    for name in values:
        _learnt(encoding, name)
    frame = pandas_().DataFrame({name: pandas_().Series([value], dtype=object) for name, value in values.items()})
    names = [part.column.name for part in encoding.parts if part.column.name in values]
    x, known, y = _fields(encoding, frame, names)
    for part in encoding.parts:
        if part.column.name in values:
            _possible(part.column, part.fitted, x)
    rows = {name: t.expand(n).clone() for name, t in x.items()}
    drawn = encoding.jitter(Batch(x=rows if len(rows) > 1 else next(iter(rows.values()))), rng)
    mapping = drawn.x if isinstance(drawn.x, Mapping) else {next(iter(rows)): drawn.x}
    return Held(
        x=mapping, known={k: t.expand(n).clone() for k, t in known.items()}, y=None if y is None else y.expand(n),
        present={},
    )  # fmt: skip


def holes(encoding: TableEncoding, frame: Frame, *, rng: Rng) -> Held:
    """Rows whose missing cells are to be filled in by values: their fields are not known.

    ValueError for a column that is not there, and a cell that the schema does not allow.
    """
    batch = encoding.jitter(encoding.encode(frame), rng)
    x = dict(batch.x if isinstance(batch.x, Mapping) else {next(iter(encoding.space.fields)): batch.x})
    known: dict[str, Tensor] = {}
    present: dict[str, int] = {}
    for part in encoding.parts:
        seen = torch.from_numpy(~cells.missing(frame[part.column.name], part.column))
        for name, f in part.fitted.fields.items():
            known[name] = seen
            if isinstance(f, Categorical) and f.names is not None and f.names[-1] == MISSING and f.k > 1:
                if f.k == 2 and name != part.column.name:
                    # a field that only says whether something stands there: something does
                    known[name], x[name] = torch.ones_like(seen), torch.zeros_like(x[name])
                else:
                    present[name] = f.k - 1
    return Held(x=x, known=known, y=batch.y if isinstance(batch.y, Tensor) else None, present=present)


def filled(encoding: TableEncoding, frame: Frame, batch: Batch) -> Frame:
    """Rows with their holes filled in from a batch; every cell that was there is as it was."""
    drawn = encoding.decode(replace(batch, known=None))
    found = frame.copy()
    for part in encoding.parts:
        name = part.column.name
        gone = cells.missing(frame[name], part.column)
        if gone.any():
            new = drawn[name].astype(object).to_numpy()
            found[name] = pandas_().Series(np.where(gone, new, frame[name].astype(object).to_numpy()), dtype=object)
    return found


def _fields(
    encoding: TableEncoding, frame: Frame, names: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
    """One row's fields, zeros where nothing is given, which of them are known, and the label."""
    chosen = replace(encoding, parts=tuple(p for p in encoding.parts if p.column.name in names), target=None)
    own: Mapping[str, Tensor] = {}
    if names:
        batch = chosen.encode(frame)
        own = batch.x if isinstance(batch.x, Mapping) else {next(iter(chosen.space.fields)): batch.x}
    x: dict[str, Tensor] = {}
    for name, f in encoding.space.fields.items():
        blank = torch.zeros(1, dtype=torch.int64 if isinstance(f, Categorical) else torch.float32)
        x[name] = own.get(name, blank)
    known = {name: torch.tensor([name in own]) for name in x}
    target = encoding.target
    y = None
    if target is not None and target in frame.columns:
        y = torch.from_numpy(cells.codes(frame[target], encoding.schema[target]))
        if int(y[0]) < 0:
            raise ValueError(f"the target {target!r} cannot be given as missing; give one of its values")
    return x, known, y


def _learnt(encoding: TableEncoding, name: str) -> None:
    if name == encoding.target or any(part.column.name == name for part in encoding.parts):
        return
    column = encoding.schema[name]
    raise ValueError(f"{name} is set aside ({column.kind}), so nothing depends on it; leave it out of what is given")


def _possible(column: Column, fitted: Any, x: Mapping[str, Tensor]) -> None:
    """ValueError for a value that never stood in the part that was learned from."""
    counts = getattr(fitted, "counts", None)
    pieces = getattr(fitted, "pieces", None)
    if counts is None and pieces is not None and column.name in fitted.fields:
        f = fitted.fields[column.name]
        counts = (*pieces.shares, pieces.missing) if isinstance(f, Categorical) else None
    if counts is None:
        return
    place = int(x[column.name][0])
    if place < len(counts) and counts[place] == 0:
        shown = fitted.fields[column.name].names[place]
        raise ValueError(
            f"{column.name}={shown} has probability zero: no row that was learned from has it; give another value"
        )


def _cell(column: Column, text: str) -> Any:
    """A cell of a column from what a person types; ValueError where it cannot be one."""
    if text.lower() in WORDS or text in column.blank:
        if not column.missing:
            raise ValueError(f"{column.name} is never missing, so {text!r} has probability zero; give a value")
        return None
    if column.kind == "date" and not column.format:
        try:
            return pandas_().Timestamp(text)
        except ValueError as error:
            raise ValueError(f"{column.name}={text} is no date; expected one like 2020-12-31") from error
    if column.numbers:
        try:
            value = float(text)
        except ValueError:
            if column.kind == "date":
                return text
            raise ValueError(f"{column.name}={text} is no number, and the column is {column.kind}") from None
        if column.step is not None and abs(value / column.step - round(value / column.step)) > 1e-6:
            raise ValueError(f"{column.name}={text} contradicts the schema: its numbers come in steps of "
                             f"{column.step:g}")  # fmt: skip
        return value
    for value in column.values:
        if str(value) == text:
            return value
    lower = {str(v).lower(): str(v) for v in column.values}
    near = [lower[n] for n in difflib.get_close_matches(text.lower(), list(lower), n=3, cutoff=0.5)]
    shown = near or [str(v) for v in column.values[:6]]
    raise ValueError(f"{column.name}={text} is none of its {len(column.values)} values; such as {', '.join(shown)}")
