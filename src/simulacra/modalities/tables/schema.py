"""What the columns of a table are: inferred, shown, edited as JSON, and followed by everything that reads the table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulacra.core.checkpoint import write_json
from simulacra.modalities.tables.rules import Rule, rule_from_json

KINDS = ("numeric", "integer", "categorical", "ordinal", "boolean", "date", "identifier", "constant", "text")
NUMBERS = ("numeric", "integer", "date")
ASIDE = ("identifier", "constant", "text")  # not learnt
SHOWN = 40  # columns that are told one by one
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    kind      "numeric" | "integer" | "date": numbers. "categorical" | "ordinal" (its values have an order) | "boolean".
              Set aside, not learnt: "identifier" (drawn anew as numbers), "constant", "text".
    dtype     the pandas type it had and gets again; "object" of what was read from text.
    values    of categorical, ordinal, boolean columns and of numbers that take few values: all it may hold, in order;
              of a constant its one value.
    step      numbers: the smallest difference between two values (1 for integers, 0.01 for two decimals); None where
              there is none.
    low, high numbers: their range, infinities aside; dates in ``unit`` since 1970.
    peaks     numbers: values that hold a large share of the rows, or stand at an end because what lay beyond was cut.
    missing   share of cells that hold nothing.
    format    dates: how they are written (strptime); "" for a column that has a type of dates.
    unit      dates: "days" or "seconds".
    blank     words that stand for nothing in this column, beside those that always do ("", "?", "NA", "null" ...).
    note      what a person should know of it.
    """

    name: str
    kind: str
    dtype: str = "object"
    values: tuple[Any, ...] = ()
    step: float | None = None
    low: float | None = None
    high: float | None = None
    peaks: tuple[float, ...] = ()
    missing: float = 0.0
    format: str = ""
    unit: str = ""
    blank: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"column {self.name!r}: no kind {self.kind!r}; expected one of {', '.join(KINDS)}")
        if len(set(map(repr, self.values))) != len(self.values):
            raise ValueError(f"column {self.name!r}: a value stands twice in its values; expected each once")

    @property
    def learnt(self) -> bool:
        """Whether a model sees it."""
        return self.kind not in ASIDE

    @property
    def numbers(self) -> bool:
        """Whether its cells are numbers or dates."""
        return self.kind in NUMBERS

    def told(self) -> str:
        """The column in words, without its name."""
        parts: list[str] = []
        if self.values and self.kind != "constant":
            shown = ", ".join(str(v) for v in self.values[:5]) + (", ..." if len(self.values) > 5 else "")
            parts.append(f"{len(self.values):,} values: {shown}")
        elif self.kind == "constant":
            parts.append("all missing" if not self.values else f"always {self.values[0]}")
        elif self.numbers and self.low is not None and self.high is not None:
            ends = [written_number(self, v) for v in (self.low, self.high)]
            parts.append(f"{ends[0]} .. {ends[1]}")
        if self.peaks and not self.values:
            parts.append(f"peaks at {', '.join(written_number(self, v) for v in self.peaks[:4])}")
        if self.missing:
            parts.append(f"{self.missing:.1%} missing")
        if not self.learnt and self.kind != "constant":
            parts.append("set aside")
        if self.note:
            parts.append(self.note)
        return f"{self.kind:<11} {'; '.join(parts)}"


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The columns of a table in their order, and the rules that hold within every row."""

    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = field(default=())

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"a schema names each column once; got {sorted({n for n in names if names.count(n) > 1})}")
        for rule in self.rules:
            for name in rule.columns:
                if name not in names:
                    raise ValueError(f"a rule names the column {name!r}, which is not there; {_expected(names)}")

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise ValueError(f"no column {name!r}; {_expected([c.name for c in self.columns])}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def learnt(self) -> tuple[Column, ...]:
        """The columns that a model sees."""
        return tuple(c for c in self.columns if c.learnt)

    def lines(self, most: int = SHOWN) -> list[str]:
        """The schema for a person, a line a column and a line a rule."""
        width = max(len(c.name) for c in self.columns[:most])
        told = [f"  {c.name:<{width}}  {c.told()}" for c in self.columns[:most]]
        if len(self.columns) > most:
            told.append(f"  ... and {len(self.columns) - most} more columns")
        return [*told, *(f"  in every row: {rule.told()}" for rule in self.rules)]

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``Schema.from_json`` turns into an equal schema; what is usual is left out."""
        columns = [column_to_json(c) for c in self.columns]
        return {"format": FORMAT, "columns": columns, "rules": [rule.to_json() for rule in self.rules]}

    @staticmethod
    def from_json(value: Any) -> Schema:
        """The schema that ``to_json`` or a person wrote; ValueError, in one line, where it is none."""
        if not isinstance(value, Mapping) or not isinstance(value.get("columns"), list):
            raise ValueError('no schema: expected {"columns": [{"name": ..., "kind": ...}, ...]}')
        if value.get("format", FORMAT) > FORMAT:
            raise ValueError(f"a schema of format {value['format']}; this version reads up to {FORMAT}")
        columns = [column_from_json(given) for given in value["columns"]]
        return Schema(columns=tuple(columns), rules=tuple(rule_from_json(r) for r in value.get("rules", ())))


def column_to_json(column: Column) -> dict[str, Any]:
    """A column as JSON; what is usual is left out."""
    usual = {f.name: f.default for f in dataclasses.fields(Column)}
    return {
        k: [*map(_finite, v)] if isinstance(v, tuple) else v for k, v in vars(column).items() if v != usual[k]
    }  # fmt: skip


def column_from_json(value: Any) -> Column:
    """The column that ``column_to_json`` or a person wrote; ValueError where it is none."""
    known = {f.name for f in dataclasses.fields(Column)}
    if not isinstance(value, Mapping) or "name" not in value or "kind" not in value:
        raise ValueError(f"a column of a schema needs a name and a kind; got {json.dumps(value)[:120]}")
    if strange := set(value) - known:
        raise ValueError(
            f"column {value['name']!r}: nothing is called {sorted(strange)[0]!r}; expected {', '.join(sorted(known))}"
        )
    told: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    if "peaks" in told:
        told["peaks"] = tuple(map(float, told["peaks"]))
    return Column(**told)


def read_schema(path: Path | str) -> Schema:
    """The schema in a JSON file; ValueError that names the file where it is none."""
    path = Path(path).expanduser()
    try:
        return Schema.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_schema(schema: Schema, path: Path | str) -> None:
    """Write a schema as JSON, to be looked at and edited."""
    write_json(Path(path), schema.to_json())


def written_number(column: Column, value: float) -> str:
    """A number of a column as its cells have it: dates as dates, decimals as many as its step has."""
    from simulacra.modalities.tables.cells import written

    return str(written(column, value))


def _finite(value: Any) -> Any:
    """A value as JSON has it, which knows no infinity."""
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _expected(names: Sequence[str]) -> str:
    return f"expected one of {', '.join(names[:12])}" + (", ..." if len(names) > 12 else "")
