"""A table's columns on the page: what each holds, how pairs differ, what is missing, and some rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 300.0, 110.0  # of a histogram, in units of its own view box
CELL = 13.0  # of the map of differences
LABELS = 118.0  # beside it
STRONGEST = 0.3  # difference that has the full colour
LONGEST = 18  # characters of a column's name beside the map


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """One column: shares of real rows and of samples in each of its bins.

    labels   of values, most frequent first; of numbers the two ends of the range.
    numbers  whether bins are neighbours along a line.
    about    a line of words: similarity, what lies beside.
    """

    name: str
    labels: Sequence[str]
    real: Sequence[float]
    fake: Sequence[float]
    numbers: bool
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class TableView:
    """What the page of a run of a table shows beside its figures.

    header, rows, real_rows  samples and held-out rows, as text.
    names, differences       of each pair of columns how far its samples' dependence is from the real one, 0 .. 1; None
                             where it is not known.
    missing                  (column, share of real cells, share of samples' cells) where something is.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    real_rows: Sequence[Sequence[str]]
    marginals: Sequence[Marginal]
    names: Sequence[str]
    differences: Sequence[Sequence[float | None]]
    missing: Sequence[tuple[str, float, float]]


def view(table: TableView | None) -> dict[str, Any] | None:
    """The table as its template draws it."""
    if table is None:
        return None
    return {
        "header": table.header,
        "sets": [("Samples", "drawn by the model", table.rows), ("Real", "held out from training", table.real_rows)],
        "numbers": [_histogram(m) for m in table.marginals if m.numbers],
        "values": [_bars(m) for m in table.marginals if not m.numbers],
        "map": _map(table) if len(table.names) > 1 else None,
        "missing": [(name, f"{100 * real:.1f} %", f"{100 * fake:.1f} %") for name, real, fake in table.missing],
    }


def _histogram(m: Marginal) -> dict[str, Any]:
    top = max([*m.real, *m.fake, 1e-9])
    step = WIDTH / max(1, len(m.real))

    def height(share: float) -> float:
        return HEIGHT * (1 - share / top)

    edges = [(i * step, height(s)) for i, s in enumerate(m.fake)]
    line = "".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}H{x + step:.1f}"
                   for i, (x, y) in enumerate(edges))  # fmt: skip
    columns = [(f"{i * step + 0.5:.1f}", f"{height(s):.1f}", f"{step - 1:.1f}", f"{HEIGHT - height(s):.1f}")
               for i, s in enumerate(m.real)]  # fmt: skip
    return {"name": m.name, "about": m.about, "columns": columns, "line": line, "ends": list(m.labels)}


def _bars(m: Marginal) -> dict[str, Any]:
    top = max([*m.real, *m.fake, 1e-9])
    rows = [
        (label, f"{100 * real / top:.1f}", f"{100 * fake / top:.1f}", f"{100 * real:.1f} %", f"{100 * fake:.1f} %")
        for label, real, fake in zip(m.labels, m.real, m.fake, strict=True)
    ]
    return {"name": m.name, "about": m.about, "rows": rows}


def _map(table: TableView) -> dict[str, Any]:
    side = CELL * len(table.names)
    cells = [
        (
            f"{LABELS + j * CELL:.1f}",
            f"{i * CELL:.1f}",
            f"{min(1.0, value / STRONGEST):.2f}",
            f"{table.names[i]} and {table.names[j]}: {value:.3f}",
        )
        for i, row in enumerate(table.differences)
        for j, value in enumerate(row)
        if value is not None and j < i
    ]
    names = [(n if len(n) <= LONGEST else n[: LONGEST - 1] + "…") for n in table.names]
    labels = [(f"{LABELS - 6:.1f}", f"{(i + 0.75) * CELL:.1f}", n) for i, n in enumerate(names)]
    return {"width": LABELS + side, "height": side + 6, "cell": CELL - 1, "cells": cells, "labels": labels}
