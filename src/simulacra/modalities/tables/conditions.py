"""Some columns given, the others to be drawn: from words ("age=40"), or rows with holes, to what a Completer takes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical
from simulacra.modalities.tables import cells
from simulacra.modalities.tables.arrangement import AddedUp, Combined, LookedUp
from simulacra.modalities.tables.encoding import TableEncoding, cells_of
from simulacra.modalities.tables.reading import MISSING as WORDS
from simulacra.modalities.tables.reading import Frame, pandas_
from simulacra.modalities.tables.rules import AtMost, added_up
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
        _learnt(schema[name])
        if name in found:
            raise ValueError(f"{name} is given twice; expected one value a column")
        found[name] = _cell(schema[name], text.strip())
    return found


def given(encoding: TableEncoding, values: Mapping[str, Any], n: int, *, rng: Rng) -> Held:
    """n rows of which these cells are known, each number somewhere within its own step.

    ValueError for a cell that the schema does not allow, or that never stood in what was learned from.
    """
    for name in values:
        _learnt(encoding.schema[name])
    frame = pandas_().DataFrame({name: pandas_().Series([value], dtype=object) for name, value in values.items()})
    x, known, y = _fields(encoding, frame, [name for name in values if name != encoding.target])
    for part in encoding.parts:
        if bool(known[next(iter(part.fitted.fields))][0]):
            _possible(part.column, part.fitted, x)
    rows = {name: t.expand(n).clone() for name, t in x.items()}
    drawn = encoding.jitter(Batch(x=rows if len(rows) > 1 else next(iter(rows.values()))), rng)
    mapping = drawn.x if isinstance(drawn.x, Mapping) else {next(iter(rows)): drawn.x}
    return Held(
        x=mapping, known={k: t.expand(n).clone() for k, t in known.items()}, y=None if y is None else y.expand(n),
        present={},
    )  # fmt: skip


def inferred(encoding: TableEncoding, held: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cells with those that follow from others by a rule: the only value that goes with a settled one, the one part
    that a total leaves.
    """
    found = {name: cell.copy() for name, cell in held.items()}
    for step in encoding.arrangement.steps:
        if isinstance(step, LookedUp) and step.column in found:
            column = encoding.schema[step.by]
            blank = np.full(len(found[step.column]), np.nan if column.numbers else -1)
            by = found.get(step.by, blank).astype(np.float64)
            gone = np.isnan(by) | ((by < 0) & (not column.numbers))
            partners: dict[float, list[float]] = {}
            for a, b in step.table:
                if a is not None and b is not None and (column.numbers or a >= 0):
                    partners.setdefault(b, []).append(a)
            only = {b: a[0] for b, a in partners.items() if len(a) == 1}
            told = np.array([only.get(float(v), np.nan) for v in found[step.column]])
            by = np.where(gone & ~np.isnan(told), told, by)
            if step.by in found or not np.isnan(told).any():
                found[step.by] = by if column.numbers else np.nan_to_num(by, nan=-1).astype(np.int64)
        if isinstance(step, AddedUp) and step.total in found:
            for part in step.parts:
                others = [found[p] for p in step.parts if p != part and p in found]
                if len(others) == len(step.parts) - 1:
                    rest = found[step.total] - (added_up(others) if others else 0.0)
                    there = found.get(part, np.full(len(rest), np.nan))
                    found[part] = np.where(np.isnan(there), rest, there)
    return found


def _fields(
    encoding: TableEncoding, frame: Frame, names: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
    """One row's fields, zeros where nothing is given, which of them are known, and the label."""
    held = inferred(encoding, cells_of(frame, encoding.schema, list(names)))
    _contradictions(encoding, held)
    own, _ = encoding.fields_of(held)
    _all_used(encoding, held, own, names)
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


def _contradictions(encoding: TableEncoding, held: Mapping[str, np.ndarray]) -> None:
    """ValueError where what is given breaks a rule that every row keeps."""
    back = {}
    for step in encoding.arrangement.steps:
        if all(name in held for name in (*step.makes, *step.needs)) and not isinstance(step, Combined):
            back = step.back({**held, **step.forth(held)})
        for name, value in back.items():
            column = encoding.schema[name]
            if not np.array_equal(np.nan_to_num(value, nan=-1), np.nan_to_num(held[name], nan=-1)):
                needs = ", ".join(step.needs)
                raise ValueError(f"what is given for {name} contradicts {needs}, from which it follows in every row: "
                                 f"probability zero; leave {column.name} out")  # fmt: skip
    for rule in encoding.arrangement.kept:
        if isinstance(rule, AtMost) and all(name in held for name in rule.columns) and rule.violations(held).any():
            raise ValueError(f"{rule.told()} in every row, so what is given has probability zero; give other values")


def _all_used(
    encoding: TableEncoding, held: Mapping[str, np.ndarray], own: Mapping[str, Tensor], names: Sequence[str]
) -> None:
    """ValueError for a column whose value alone fixes nothing that is modelled."""
    used = {of for part in encoding.parts if next(iter(part.fitted.fields)) in own for of in part.of}
    for name in names:
        if name in used:
            continue
        for step in encoding.arrangement.steps:
            if name in step.makes and not all(need in held for need in step.needs):
                raise ValueError(f"{name} follows from {', '.join(step.needs)}, several of whose values go with it; "
                                 f"give {', '.join(step.needs)} too")  # fmt: skip
            if isinstance(step, Combined) and name in step.makes:
                raise ValueError(f"{name} is learnt together with {', '.join(n for n in step.makes if n != name)}; "
                                 "give them too")  # fmt: skip


def _learnt(column: Column) -> None:
    if not column.learnt:
        raise ValueError(
            f"{column.name} is set aside ({column.kind}), so nothing depends on it; leave it out of what is given"
        )


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
