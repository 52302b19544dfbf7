"""A column's cells as numbers: places among its values, or quantities (dates as days or seconds); and back, exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from simulacra.modalities.tables.reading import missing_cells, pandas_
from simulacra.modalities.tables.schema import Column

DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%m/%d/%y",
    "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S",
)  # fmt: skip
SECONDS = {"days": 86_400.0, "seconds": 1.0}


def missing(cells: Any, column: Column) -> np.ndarray:
    """Which cells of a pandas column hold nothing, bool (n,): those of every table, and the column's own blanks."""
    gone = missing_cells(cells)
    if column.blank:
        gone |= cells.astype(str).str.strip().isin(column.blank).to_numpy(dtype=bool)
    return gone


def numbers(cells: Any, column: Column) -> np.ndarray:
    """The quantities of a column of numbers or dates, float64 (n,), NaN where missing.

    ValueError for a cell that is none.
    """
    gone = missing(cells, column)
    if column.kind == "date":
        found = moments(cells, gone, column.format) / SECONDS[column.unit or "seconds"]
    else:
        found = quantities(cells, gone)
    if (strange := np.isnan(found) & ~gone).any():
        what = f"a date like {column.format}" if column.kind == "date" else "a number"
        raise ValueError(
            f"column {column.name!r}: {cells.iloc[int(strange.argmax())]!r} in row {int(strange.argmax()) + 1} is not"
            f" {what}; mend it, or list it under blank in the schema"
        )
    return snapped(found, column.step)


def quantities(cells: Any, gone: np.ndarray) -> np.ndarray:
    """Cells as float64, NaN where missing or no number."""
    pandas = pandas_()
    if pandas.api.types.is_numeric_dtype(cells.dtype):
        found = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        # by distinct value: a table has far fewer of them than cells
        codes, values = pandas.factorize(cells, use_na_sentinel=True)
        found = np.array([*map(quantity, values), math.nan])[codes]
    return np.where(gone, np.nan, found)


def quantity(value: Any) -> float:
    """A cell as a float; NaN where it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def moments(cells: Any, gone: np.ndarray, form: str) -> np.ndarray:
    """Dates as seconds since 1970 in UTC, NaN where missing or no date.

    form  how most are written; "" for a column that has a type of dates.
    """
    pandas = pandas_()
    if not form:
        typed = pandas.to_datetime(cells.where(~gone), errors="coerce")
        if typed.dt.tz is not None:
            typed = typed.dt.tz_convert("UTC").dt.tz_localize(None)
        return _seconds(typed)
    codes, values = pandas.factorize(cells.where(~gone).astype(object), use_na_sentinel=True)
    texts = pandas.Series(values, dtype=object)
    found = np.full(len(values), np.nan)
    for other in (form, *(f for f in DATES if f != form)):
        rest = np.isnan(found)
        if not rest.any():
            break
        found[rest] = _seconds(pandas.to_datetime(texts[rest], format=other, errors="coerce"))
    return np.append(found, np.nan)[codes]


def codes(cells: Any, column: Column) -> np.ndarray:
    """The places of cells among the column's values, int64 (n,), -1 where missing.

    ValueError for a value that is not among them.
    """
    if column.numbers:
        held = numbers(cells, column)
        gone = np.isnan(held)
        values = np.array(column.values, dtype=np.float64)
        order = np.argsort(values)
        place = np.searchsorted(values[order], held).clip(0, len(values) - 1)
        found = np.where(gone, -1, order[place])
        strange = ~gone & (values[order[place]] != held)
    else:
        gone = missing(cells, column)
        where, distinct = pandas_().factorize(cells, use_na_sentinel=True)
        number = {key(v): i for i, v in enumerate(column.values)}
        places = np.array([*(number.get(key(v), -2) for v in distinct), -1])
        found = np.where(gone, -1, places[where])
        strange = found == -2
    if strange.any():
        row = int(strange.argmax())
        raise ValueError(
            f"column {column.name!r}: {cells.iloc[row]!r} in row {row + 1} is none of its {len(column.values)} values"
            f" ({', '.join(map(str, column.values[:6]))}{', ...' if len(column.values) > 6 else ''});"
            " mend it, or add it to the values in the schema"
        )
    return found.astype(np.int64)


def key(value: Any) -> tuple[str, Any]:
    """What tells values apart: 1, "1" and True are three."""
    value = plain(value)
    return type(value).__name__, value


def plain(value: Any) -> Any:
    """A cell as JSON has it: text, number or boolean; anything else by its words."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        return value.strip()
    return value if isinstance(value, bool | int | float) else str(value)


def snapped(values: np.ndarray, step: float | None) -> np.ndarray:
    """The nearest multiples of a step, as the shortest decimals that are these."""
    if step is None:
        return values
    with np.errstate(invalid="ignore"):
        return np.round(np.round(values / step) * step, places(step))


def places(step: float | None) -> int:
    """Decimals that a number of such steps is written with."""
    return 12 if step is None else next((d for d in range(12) if abs(step - round(step, d)) < 1e-12), 12)


def step_of(values: np.ndarray, like: Any = np.float64, most: int = 6) -> float | None:
    """1 for whole numbers, 0.1, 0.01 ... for decimals, None where more than ``most`` decimals are needed.

    like  the type that the numbers had: float32 has 0.1 where float64 has 0.10000000149.
    """
    values = values[np.isfinite(values)]
    for d in range(most + 1):
        rounded = np.round(values, d)
        if len(values) and np.abs(values).max(initial=0) * 10.0**d < 2**53 and (
            rounded.astype(like) == values.astype(like)
        ).all():  # fmt: skip
            return 10.0**-d if d else 1.0
    return None


def column_of(column: Column, *, places_: np.ndarray | None = None, held: np.ndarray | None = None) -> Any:
    """The pandas column of places among its values (-1: missing) or of quantities (NaN: missing), typed as it was."""
    pandas = pandas_()
    if places_ is not None and not column.numbers:
        return _of_values(column, places_)
    if held is None:
        assert places_ is not None
        held = np.append(np.array(column.values, dtype=np.float64), np.nan)[places_]
    held = snapped(held, column.step)
    gone = np.isnan(held)
    if column.kind == "date":
        moment = pandas.to_datetime(
            pandas.Series(np.where(gone, 0.0, np.round(held * SECONDS[column.unit or "seconds"] * 1e6))).astype(
                "int64"
            ),
            unit="us",
        ).where(~gone)
        if column.format:
            return moment.dt.strftime(column.format).astype(object).where(~gone, None)
        zoned = "," in column.dtype
        return (moment.dt.tz_localize("UTC") if zoned else moment).astype(column.dtype)
    if column.dtype != "object":
        whole = pandas.Series(held)
        if np.issubdtype(_numpy_type(column.dtype), np.integer) and not gone.any():
            return whole.round().astype("int64").astype(column.dtype)
        return whole.astype(column.dtype)
    if column.kind == "integer" and np.isfinite(held[~gone]).all():
        whole = pandas.Series(np.where(gone, 0, held)).round().astype("int64")
        return whole if not gone.any() else whole.astype("Int64").where(~gone)
    return pandas.Series(held)


def written(column: Column, value: float) -> Any:
    """One quantity of a column as its cells have it."""
    cell = column_of(column, held=np.array([value], dtype=np.float64)).iloc[0]
    return f"{cell:.15g}" if isinstance(cell, float) else cell


def _of_values(column: Column, found: np.ndarray) -> Any:
    pandas = pandas_()
    if column.dtype == "category":
        return pandas.Series(
            pandas.Categorical.from_codes(found, list(column.values), ordered=column.kind == "ordinal")
        )
    cells = np.empty(len(column.values) + 1, dtype=object)
    cells[:-1] = column.values
    cells[-1] = None
    series = pandas.Series(cells[found], dtype=object)
    return series if column.dtype == "object" else series.astype(column.dtype)


def _seconds(typed: Any) -> np.ndarray:
    gone = typed.isna().to_numpy(dtype=bool)
    micro = typed.astype("datetime64[us]").astype("int64").to_numpy().astype(np.float64)
    return np.where(gone, np.nan, micro / 1e6)


def _numpy_type(dtype: str) -> Any:
    try:
        return np.dtype(dtype.lower())
    except TypeError:
        return np.dtype(object)


def joined(values: Sequence[Any]) -> str:
    """Several values in words, as the name of their combination."""
    return " & ".join("missing" if v is None else str(v) for v in values)
