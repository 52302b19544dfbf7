"""Rows of a table as examples of a space of several fields, and back, exactly; fitted, and kept as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.modalities.tables import cells as cells_
from simulacra.modalities.tables.arrangement import Arrangement, arrange, made_column
from simulacra.modalities.tables.columns import Fitted, Setting
from simulacra.modalities.tables.columns import Values as AsValues
from simulacra.modalities.tables.reading import Frame, pandas_
from simulacra.modalities.tables.schema import NUMBERS, Column, Schema, column_from_json, column_to_json
from simulacra.modalities.tables.scores import Quantile
from simulacra.modalities.tables.settings import fitted_from_json

OWN_UNITS = "columns in their own units"
MOST_CLASSES = 1_000  # values of a target
Missing = Literal["value", "unobserved"]


@dataclass(frozen=True)
class Part:
    """A column that is modelled, how it was fitted to fields, and the columns of the schema that it stands for."""

    column: Column
    fitted: Fitted
    of: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TableEncoding:
    """A schema, and how each of its learnt columns becomes fields.

    parts    the modelled columns, in the schema's order.
    missing  "value": what is missing is a category, a bin, a state, and samples have holes as the data has.
             "unobserved": it is hidden (``Batch.known``), and samples have no holes.
    target   the column that is y, or None.
    arrangement  how the schema's rules are kept: what is modelled in place of which columns.
    """

    schema: Schema
    parts: tuple[Part, ...]
    arrangement: Arrangement = field(default_factory=Arrangement)
    missing: Missing = "value"
    target: str | None = None

    @cached_property
    def space(self) -> Space:
        """The space whose examples are rows."""
        fields = {name: f for part in self.parts for name, f in part.fitted.fields.items()}
        hidden = tuple(
            name for part in self.parts for name in part.fitted.fields
            if self.missing == "unobserved" and part.column.missing > 0
        )  # fmt: skip
        y = None if self.target is None else Classes(names=tuple(map(str, self.schema[self.target].values)))
        return Space(fields=fields, y=y, measure=self.measure, missing=hidden)

    @property
    def measure(self) -> str:
        """What likelihoods of the fields belong to: their own units where all are values, else the fields as such."""
        if not any(isinstance(f, Continuous) for part in self.parts for f in part.fitted.fields.values()):
            return OWN_UNITS
        return f"columns as {', '.join(sorted({p.fitted.to_json()['how'] for p in self.parts} - {'values'}))}"

    @property
    def columns(self) -> list[str]:
        """The schema's columns that are learnt, but for the target."""
        return [c.name for c in self.schema.learnt if c.name != self.target]

    def encode(self, frame: Frame) -> Batch:
        """Rows as a batch: x by field (float32, int64), y where there is a target, known where something is hidden.

        ValueError for a column that is not there, and a cell that the schema does not allow.
        """
        x, known = self.fields_of(cells_of(frame, self.schema, self.columns))
        y = None if self.target is None else self.labels(frame)
        all_known = not self.space.missing
        return Batch(x=_whole(x), y=y, known=None if all_known else _whole(known))

    def fields_of(self, cells: Mapping[str, np.ndarray]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Fields of cells as ``cells_of`` has them, and which hold something: of those columns that are there."""
        found = self.arrangement.forth(cells)
        x: dict[str, Tensor] = {}
        known: dict[str, Tensor] = {}
        for part in self.parts:
            if part.column.name not in found:
                continue
            held = found[part.column.name]
            seen = torch.from_numpy(~_gone(held))
            for name, value in part.fitted.encode(held).items():
                kind = np.float32 if value.dtype.kind == "f" else np.int64
                x[name] = torch.from_numpy(np.ascontiguousarray(value.astype(kind)))
                known[name] = seen
        return x, known

    def decode(self, batch: Batch, *, number_from: int = 1) -> Frame:
        """A batch as rows: the columns in their order and types; constants as they are, identifiers as numbers.

        Texts, which were set aside, are left out. What is not known is missing.
        """
        n = len(batch)
        x = {name: t.detach().cpu().numpy() for name, t in self._by_field(batch.x).items()}
        known = None if batch.known is None else self._by_field(batch.known)
        found: dict[str, np.ndarray] = {}
        for part in self.parts:
            held = part.fitted.decode(x)
            if known is not None:
                seen = known[part.column.name].cpu().numpy()
                held = np.where(seen, held, np.nan if part.column.numbers else -1)
            found[part.column.name] = held
        found = self.arrangement.back(found, self.schema)
        if self.target is not None and isinstance(batch.y, Tensor):
            found[self.target] = _held(self.schema[self.target], batch.y.cpu().numpy())
        return frame_of(self.schema, found, n, number_from)

    def jitter(self, batch: Batch, rng: Rng) -> Batch:
        """The batch with all that stands for one number drawn anew among what stands for it (``pieces``)."""
        x, at = dict(self._by_field(batch.x)), 0
        # all columns' numbers at once: numbers come in fours, and a column's own one a row would throw three away
        total = sum(part.fitted.chances for part in self.parts)
        u = rng("jitter").uniform((len(batch), total), dtype=torch.float64, device=next(iter(x.values())).device)
        for part in self.parts:
            x.update(part.fitted.jitter(x, u[:, at : at + part.fitted.chances]))
            at += part.fitted.chances
        return replace(batch, x=_whole(x))

    def in_own_units(self, likelihood: LogLikelihood, x: Values, known: Values | None = None) -> LogLikelihood:
        """A log-likelihood of the fields as one of the cells: log probability of values and of numbers that come in
        steps, log density of real ones. Of jittered fields it is a lower bound in expectation, wherever a number has
        more than one place.
        """
        rows = {name: t.detach().cpu().numpy() for name, t in self._by_field(x).items()}
        total = np.zeros(len(likelihood.nats))
        for part in self.parts:
            each = part.fitted.log_units(rows)
            if known is not None:
                each = np.where(self._by_field(known)[part.column.name].cpu().numpy(), each, 0.0)
            total += each
        nats = likelihood.nats.double() + torch.from_numpy(total).to(likelihood.nats.device)
        exact = likelihood.kind == "exact" and self.measure != OWN_UNITS
        return replace(
            likelihood, nats=nats, measure=OWN_UNITS, count=float(len(self.parts)),
            kind="bound" if exact else likelihood.kind,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``TableEncoding.from_json`` turns into an equal encoding."""
        return {
            "schema": self.schema.to_json(),
            "parts": [
                {"column": column_to_json(part.column), "of": list(part.of), **part.fitted.to_json()}
                for part in self.parts
            ],
            "arrangement": self.arrangement.to_json(),
            "missing": self.missing,
            "target": self.target,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TableEncoding:
        """The encoding that ``to_json`` wrote."""
        schema = Schema.from_json(value["schema"])
        columns = [column_from_json(part["column"]) for part in value["parts"]]
        parts = tuple(
            Part(c, fitted_from_json(part, c), tuple(part["of"]))
            for c, part in zip(columns, value["parts"], strict=True)
        )
        arrangement = Arrangement.from_json(value["arrangement"], schema.rules)
        return TableEncoding(
            schema=schema, parts=parts, arrangement=arrangement, missing=value["missing"], target=value["target"]
        )

    def labels(self, frame: Frame) -> Tensor:
        """The target's values, int64 (n,); ValueError where one is missing."""
        assert self.target is not None
        found = cells_.codes(frame[self.target], self.schema[self.target])
        if (found < 0).any():
            raise ValueError(f"the target {self.target!r} is missing in row {int((found < 0).argmax()) + 1}; "
                             "leave such rows out, or learn it as a column")  # fmt: skip
        return torch.from_numpy(found)

    def _by_field(self, values: Values) -> Mapping[str, Tensor]:
        return {next(iter(self.space.fields)): values} if isinstance(values, Tensor) else values


def fit(
    frame: Frame,
    schema: Schema,
    *,
    numbers: Setting | None = None,
    missing: Missing = "value",
    target: str | None = None,
    whole: Frame | None = None,
) -> TableEncoding:
    """The encoding of a table's learnt columns, fitted to these rows.

    whole    all rows, those to judge by among them, unless it is these: rules hold in them all.
    numbers  how numbers become fields: ``Bins()``, ``Quantile()`` (unless given) or ``Mixture()``.
    target   a column that is to be y. ValueError for one that has no few values.
    """
    if missing not in ("value", "unobserved"):
        raise ValueError(f"missing is a value or unobserved; got {missing!r}")
    if target is not None:
        _check_target(schema[target])
    learnt = [c.name for c in schema.learnt if c.name != target]
    if not learnt:
        raise ValueError("no column is left to learn: all are constants, identifiers or texts; see the schema")
    cells = cells_of(frame, schema, learnt)
    every = cells if whole is None else cells_of(whole, schema, learnt)
    arrangement = arrange(schema, every, () if target is None else (target,))
    modelled = arrangement.forth(cells)
    parts: list[Part] = []
    for column, of in _modelled(schema, arrangement, arrangement.forth(every), learnt):
        setting = AsValues.fit if column.values or not column.numbers else numbers or Quantile()
        hidden = missing == "unobserved" or not column.missing
        parts.append(Part(column, setting(column, modelled[column.name], not hidden), of))
    names = [name for part in parts for name in part.fitted.fields]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the column {double[0]!r} has the name of a part of another; rename it")
    return TableEncoding(schema=schema, parts=tuple(parts), arrangement=arrangement, missing=missing, target=target)


def _modelled(
    schema: Schema, arrangement: Arrangement, cells: Mapping[str, np.ndarray], learnt: list[str]
) -> list[tuple[Column, tuple[str, ...]]]:
    """What is modelled, in the schema's order, and of each the schema's columns that it stands for."""
    found: dict[str, tuple[Column, tuple[str, ...]]] = {}
    for step in arrangement.steps:
        column = made_column(step, schema, cells)
        if column is not None:
            found[step.makes[0]] = (column, step.makes)
    made = {name for step in arrangement.steps for name in step.makes}
    return [
        found.get(name) or (schema[name], (name,)) for name in learnt if name in found or name not in made
    ]  # fmt: skip


def cells_of(frame: Frame, schema: Schema, names: list[str]) -> dict[str, np.ndarray]:
    """Columns as quantities (float64, NaN missing) or places among their values (int64, -1 missing).

    ValueError for a column that is not there, or a cell that is not of the schema.
    """
    found: dict[str, np.ndarray] = {}
    for name in names:
        column = schema[name]
        if name not in frame.columns:
            raise ValueError(f"the table has no column {name!r}; expected {', '.join(names[:12])}"
                             f"{', ...' if len(names) > 12 else ''}")  # fmt: skip
        if not column.numbers or column.values:
            held = cells_.codes(frame[name], column)
            found[name] = _held(column, held)
            continue
        found[name] = cells_.numbers(frame[name], column)
        _within(column, found[name])
    return found


def frame_of(schema: Schema, found: Mapping[str, np.ndarray], n: int, number_from: int = 1) -> Frame:
    """Cells as ``cells_of`` has them, as a DataFrame with the schema's columns and types."""
    columns: dict[str, Any] = {}
    for column in schema.columns:
        if column.kind == "constant":
            value = column.values[0] if column.values else None
            columns[column.name] = pandas_().Series([value] * n, dtype=column.dtype if column.values else "object")
        elif column.kind == "identifier":
            columns[column.name] = pandas_().Series(np.arange(number_from, number_from + n))
        elif column.name in found:
            held = found[column.name]
            columns[column.name] = (
                cells_.column_of(column, held=held) if column.numbers else cells_.column_of(column, places_=held)
            )
    return pandas_().DataFrame(columns)


def _held(column: Column, places: np.ndarray) -> np.ndarray:
    """Places as they are, of numbers the numbers themselves."""
    return np.append(np.array(column.values, dtype=np.float64), np.nan)[places] if column.numbers else places


def _gone(cells: np.ndarray) -> np.ndarray:
    return np.isnan(cells) if cells.dtype.kind == "f" else cells < 0


def _within(column: Column, held: np.ndarray) -> None:
    finite = held[np.isfinite(held)]
    low = -math.inf if column.low is None else column.low
    high = math.inf if column.high is None else column.high
    strange = finite[(finite < low) | (finite > high)]
    endless = held[np.isinf(held) & ~np.isin(held, np.array(column.peaks))]
    for value in (*strange[:1], *endless[:1]):
        shown = [cells_.written(column, v) if math.isfinite(v) else v for v in (value, low, high)]
        raise ValueError(
            f"column {column.name!r}: {shown[0]} lies outside {shown[1]} .. {shown[2]}, all that was learned from;"
            " mend it, or widen low and high in the schema and fit again"
        )


def _check_target(column: Column) -> None:
    what = f"the target {column.name!r} is " + {"numeric": "a number", "integer": "a number", "date": "a date"}.get(
        column.kind, f"a column of kind {column.kind}"
    )
    if column.kind not in ("categorical", "ordinal", "boolean", *NUMBERS) or not column.values:
        remedy = "learn it as a column of the table" if column.numbers else "take one that takes few values"
        raise ValueError(f"{what}, which has no few values to be told apart; {remedy}")
    if len(column.values) > MOST_CLASSES:
        raise ValueError(f"{what} of {len(column.values):,} values; expected at most {MOST_CLASSES:,}")


def _whole(x: dict[str, Tensor]) -> Values:
    return x if len(x) > 1 else next(iter(x.values()))
