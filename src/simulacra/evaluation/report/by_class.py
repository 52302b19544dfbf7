"""Figures of single classes, gathered into one table: a row a class, a column a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.table import Table
from rich.text import Text

from simulacra.core.figure import Figure
from simulacra.evaluation.report.figures import ARROWS, subject, value_text
from simulacra.evaluation.report.numbers import count, write

OF_CLASS = ", class "  # as in "coverage (k=5), class 7"


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """subject as of other figures; columns: names; rows: class -> its figures by column, some of which it may lack."""

    subject: str
    columns: Sequence[str]
    rows: Mapping[str, Mapping[str, Figure]]


def apart(figures: Sequence[Figure]) -> tuple[list[Figure], list[ClassTable]]:
    """The figures of all classes together, and tables of those of single ones."""
    whole: list[Figure] = []
    found: dict[str, dict[str, dict[str, Figure]]] = {}
    for f in figures:
        name, of_class, which = f.name.partition(OF_CLASS)
        if not of_class:
            whole.append(f)
            continue
        found.setdefault(subject(f), {}).setdefault(which, {})[name] = replace(f, name=name)
    tables = []
    for about, rows in found.items():
        columns = list(dict.fromkeys(name for row in rows.values() for name in row))
        tables.append(ClassTable(subject=about, columns=columns, rows=rows))
    return whole, tables


def heading(table: ClassTable, column: str) -> str:
    """A column's name, with an arrow to where it is better."""
    some = next(row[column] for row in table.rows.values() if column in row)
    return f"{column} {ARROWS[some.direction]}".strip()


def cell(f: Figure | None) -> tuple[str, str]:
    """A value and its interval as text; empty where there is none."""
    if f is None:
        return "", ""
    return value_text(f), write(f.value, f.interval).interval


def examples(row: Mapping[str, Figure]) -> str:
    """How many samples and real examples of the class there are: "48 / 38"."""
    most = [f for f in row.values() if f.n_real is not None]
    return f"{count(most[0].n)} / {count(most[0].n_real or 0)}" if most else ""


def text(table: ClassTable) -> Table:
    """The table for a terminal: values alone, their intervals are in the JSON and the report."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    made.add_column("class")
    made.add_column("samples / real", justify="right")
    for column in table.columns:
        made.add_column(heading(table, column), justify="right")
    for which, row in table.rows.items():
        # Text, not markup: a class may be called [red]
        cells = [Text(cell(row.get(column))[0]) for column in table.columns]
        made.add_row(Text(which), examples(row), *cells)
    return made


def view(table: ClassTable) -> dict[str, object]:
    """The table as the page's template takes it."""
    return {
        "subject": table.subject,
        "columns": [heading(table, column) for column in table.columns],
        "rows": [
            (which, examples(row), [cell(row.get(column)) for column in table.columns])
            for which, row in table.rows.items()
        ],
    }
