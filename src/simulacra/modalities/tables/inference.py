"""The schema of a table, from its cells: what each column is, and why."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np

from simulacra.modalities.tables.cells import (
    DATES,
    SECONDS,
    key,
    missing,
    moments,
    plain,
    quantities,
    quantity,
    step_of,
)
from simulacra.modalities.tables.reading import Table, pandas_
from simulacra.modalities.tables.rules import Rule
from simulacra.modalities.tables.schema import Column, Schema

FEW = 24  # numbers that take at most so many values are learnt as values
PEAK = 0.05  # share of the rows from which a value of a number is a peak
CUT = 10  # rows at an end of the range, and times as many as at its neighbour, for it to be a place where it was cut
ALIKE = 0.5  # share of cells that differ from all others from which words are no categories
LEAST = 20  # distinct words below which that is not asked
OWN_NAMES = re.compile(r"(.*[\W_])?(id|uuid|guid|index|key|unnamed.*)", re.IGNORECASE)


def infer(table: Table, stated: Schema | None = None) -> Schema:
    """The schema of a table; what ``stated`` says of its columns is taken as it is, and the rest found.

    ValueError where it speaks of columns that are not there, or leaves out some that are.
    """
    frame = table.frame
    if stated is not None and (odd := set(stated.names) ^ set(frame.columns)):
        side = "has no" if next(iter(sorted(odd))) in stated.names else "has a"
        where = "but the schema has" if side == "has no" else "which the schema has not"
        raise ValueError(f"the table {side} column {sorted(odd)[0]!r}, {where}; write the schema of this table anew")
    columns = [
        column_from(frame[name], name, None if stated is None else stated[name]) for name in map(str, frame.columns)
    ]
    rules: tuple[Rule, ...] = () if stated is None else stated.rules
    return Schema(columns=tuple(columns), rules=rules)


def column_from(cells: Any, name: str, stated: Column | None = None) -> Column:
    """What one pandas column is; of a stated column its kind and all it says, completed."""
    blank = Column(name=name, kind="text", dtype=str(cells.dtype), blank=() if stated is None else stated.blank)
    gone = missing(cells, blank)
    start = dataclasses.replace(blank, missing=float(gone.mean()))
    kind = None if stated is None else stated.kind
    if kind is None:
        found = _found(cells, gone, start)
    else:
        found = _as(kind, cells, gone, start if stated is None or not stated.format else _format(start, stated.format))
    if stated is None:
        return found
    usual = {f.name: f.default for f in dataclasses.fields(Column)}
    said = {k: v for k, v in vars(stated).items() if k not in ("name", "missing", "dtype") and v != usual.get(k)}
    return dataclasses.replace(found, **said)


def _found(cells: Any, gone: np.ndarray, column: Column) -> Column:
    pandas = pandas_()
    held = cells[~gone]
    if not len(held):
        return dataclasses.replace(column, kind="constant", note="nothing in it")
    distinct = _distinct(held)
    if len(distinct) == 1 and not gone.any():
        return dataclasses.replace(column, kind="constant", values=(_one_value(distinct[0]),))
    if isinstance(cells.dtype, pandas.CategoricalDtype):
        return _as("ordinal" if cells.dtype.ordered else "categorical", cells, gone, column)
    if pandas.api.types.is_bool_dtype(cells.dtype) or {str(v).lower() for v in distinct} == {"true", "false"}:
        return _as("boolean", cells, gone, column)
    if pandas.api.types.is_datetime64_any_dtype(cells.dtype):
        return _as("date", cells, gone, column)
    found = quantities(cells, gone)
    words = np.isnan(found) & ~gone
    if not words.any() and not _coded(distinct):
        return _numbers(cells, found, column, len(distinct))
    if words.all() and (form := _date_format(distinct)) is not None:
        return _as("date", cells, gone, dataclasses.replace(column, **form))
    if words.any() and not words[~gone].all():
        first = cells[words].iloc[0]
        column = dataclasses.replace(
            column, note=f"numbers and words: {int(words.sum()):,} cells like {str(first)[:20]!r}"
        )
    return _words(cells, gone, column, distinct)


def _one_value(value: Any) -> Any:
    """The value of a constant, as JSON has it: a number where it was read as text but is one, as other columns' are."""
    value = plain(value)
    if not isinstance(value, str) or _coded([value]):
        return value
    number = quantity(value)
    if not abs(number) < 2**53:  # more digits than a float keeps, or no number at all
        return value
    return int(number) if number.is_integer() else number


def _words(cells: Any, gone: np.ndarray, column: Column, distinct: list[Any]) -> Column:
    there = int((~gone).sum())
    if len(distinct) > LEAST and len(distinct) > ALIKE * there:
        several = np.mean([len(str(v).split()) > 1 for v in distinct]) > 0.5
        kind = "identifier" if len(distinct) == there and not several else "text"
        note = "each cell another" if len(distinct) == there else f"{len(distinct):,} different texts"
        return dataclasses.replace(column, kind=kind, note="; ".join(filter(None, (column.note, note))))
    return _as("categorical", cells, gone, column)


def _numbers(cells: Any, found: np.ndarray, column: Column, distinct: int) -> Column:
    held = found[~np.isnan(found)]
    whole = np.isfinite(held).all() and bool((held == np.round(held)).all())
    if whole and distinct == len(held) > LEAST:
        counted = held.max() - held.min() == len(held) - 1
        if counted or OWN_NAMES.fullmatch(column.name):
            note = "counts the rows" if counted else "each row another"
            return dataclasses.replace(column, kind="identifier", note=note)
    if np.abs(held[np.isfinite(held)]).max(initial=0) >= 2**53:
        # more digits than a float keeps: as numbers they would not come back
        return dataclasses.replace(column, kind="identifier", note="numbers of more than 15 digits")
    return _as("integer" if whole else "numeric", cells, np.isnan(found), column)


def _as(kind: str, cells: Any, gone: np.ndarray, column: Column) -> Column:
    """The column as one of a kind, completed from its cells."""
    if kind in ("identifier", "text"):
        return dataclasses.replace(column, kind=kind)
    if kind == "constant":
        held = cells[~gone]
        return dataclasses.replace(column, kind=kind, values=tuple(_one_value(v) for v in held.iloc[:1]))
    if kind in ("categorical", "ordinal", "boolean"):
        return dataclasses.replace(column, kind=kind, values=_values(cells, gone))
    if kind == "date":
        return _dates(cells, gone, column)
    held = quantities(cells, gone)
    strange = np.isnan(held) & ~gone
    if strange.any():
        # a column of numbers by its schema: its words are blanks
        words = sorted({str(v).strip() for v in cells[strange]})
        column = dataclasses.replace(column, blank=(*column.blank, *words[:1000]))
    like = cells.dtype if cells.dtype == np.float32 else np.float64
    return as_numbers(dataclasses.replace(column, kind=kind), held, 1.0 if kind == "integer" else step_of(held, like))


def as_numbers(column: Column, held: np.ndarray, step: float | None) -> Column:
    """A column of numbers with its range, its peaks, or its values where they are few; NaN is missing."""
    held = held[~np.isnan(held)]
    finite = held[np.isfinite(held)]
    values, counts = np.unique(held, return_counts=True)
    endless = [float(v) for v in values if np.isinf(v)]
    note = f"{int((~np.isfinite(held)).sum()):,} infinite" if endless else ""
    column = dataclasses.replace(
        column,
        step=step,
        low=float(finite.min()) if len(finite) else None,
        high=float(finite.max()) if len(finite) else None,
        note="; ".join(filter(None, (column.note, note))),
    )
    if len(values) <= FEW or not len(finite):
        return dataclasses.replace(column, values=tuple(_number(v, column) for v in values))
    peaks = [float(v) for v, n in zip(values, counts, strict=True) if n >= PEAK * len(held) and n > CUT]
    inside = np.isfinite(values)
    ends, often = values[inside], counts[inside]
    for end, beside in ((0, 1), (-1, -2)):
        if often[end] >= CUT and often[end] >= CUT / 2 * often[beside]:
            peaks.append(float(ends[end]))
    return dataclasses.replace(column, peaks=tuple(sorted({*peaks, *endless})))


def _number(value: float, column: Column) -> int | float:
    return int(value) if column.kind != "numeric" and math.isfinite(value) else float(value)


def _dates(cells: Any, gone: np.ndarray, column: Column) -> Column:
    form = {"format": column.format} if column.format else _date_format(_distinct(cells[~gone])) or {}
    typed = not form and column.dtype != "object"
    if not form and not typed:
        raise ValueError(f"column {column.name!r}: no dates that can be read, such as {cells[~gone].iloc[0]!r}; "
                         "state its format (strptime) in the schema")  # fmt: skip
    column = dataclasses.replace(column, kind="date", **form)
    seconds = moments(cells, gone, column.format)
    strange = np.isnan(seconds) & ~gone
    if strange.any():
        column = dataclasses.replace(column, blank=tuple(sorted({str(v) for v in cells[strange]})[:1000]))
    held = seconds[~np.isnan(seconds)]
    days = bool((held % SECONDS["days"] == 0).all()) and "%H" not in column.format
    column = dataclasses.replace(column, unit="days" if days else "seconds")
    seconds = seconds / SECONDS[column.unit]
    return as_numbers(column, seconds, step_of(seconds))


def _date_format(distinct: list[Any]) -> dict[str, Any] | None:
    """How most of the cells are written as dates, and what is to be said of it; None where they are none."""
    if not all(isinstance(v, str) for v in distinct) or not all(re.search(r"\d", v) for v in distinct[:50]):
        return None
    pandas = pandas_()
    texts = pandas.Series(distinct, dtype=object)
    some = texts.iloc[:200]
    able = [f for f in DATES if pandas.to_datetime(some, format=f, errors="coerce").notna().any()]
    fits = {f: pandas.to_datetime(texts, format=f, errors="coerce").notna().to_numpy() for f in able}
    if not fits or not np.any(list(fits.values()), axis=0).all():
        return None
    best = max(fits, key=lambda f: (int(fits[f].sum()), -able.index(f)))
    note = ""
    if not fits[best].all():
        note = f"{int((~fits[best]).sum()):,} dates written otherwise than {best}"
    elif sum(bool(m.all()) for m in fits.values()) > 1:
        note = f"read as {best}: day and month could be the other way round"
    return {"format": best, "note": note}


def _format(column: Column, form: str) -> Column:
    return dataclasses.replace(column, format=form)


def _values(cells: Any, gone: np.ndarray) -> tuple[Any, ...]:
    if isinstance(cells.dtype, pandas_().CategoricalDtype):
        return tuple(plain(v) for v in cells.dtype.categories)
    found = {key(v): plain(v) for v in _distinct(cells[~gone])}
    return tuple(found[k] for k in sorted(found, key=lambda k: (k[0], k[1])))


def _distinct(held: Any) -> list[Any]:
    return list(held.unique())


def _coded(distinct: list[Any]) -> bool:
    """Whether numbers are written as codes are: with zeros before them, as postal codes and article numbers."""
    return any(isinstance(v, str) and re.fullmatch(r"[+-]?0\d+", v.strip()) is not None for v in distinct)
