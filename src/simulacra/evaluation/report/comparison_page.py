"""Several runs as one HTML file: tables and plots of all of them, then each run's own report."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from simulacra.evaluation.report import figures as text
from simulacra.evaluation.report.comparison import Board, Column, Comparison, boards
from simulacra.evaluation.report.contents import Report, picture
from simulacra.evaluation.report.numbers import write
from simulacra.evaluation.report.page import render_template, row, run_view
from simulacra.evaluation.report.plots import COLOURS, Ladder, Point, Scatter, ladder, scatter

SECONDS = ((1.0, "seconds"), (1e-3, "milliseconds"), (1e-6, "microseconds"))


def render_comparison(comparison: Comparison) -> str:
    """Several runs on one page: the tables and plots of all, then each run's own report.

    Figures that measure different things never share a column. Raises ValueError as ``render`` does.
    """
    colours = {r.name: i % COLOURS for i, r in enumerate(comparison.runs)}
    tables = boards(comparison)
    real = comparison.real or comparison.runs[0].real
    return render_template(
        "comparison.html",
        title=f"{comparison.title} · simulacra",
        comparison=comparison,
        sections=_sections(tables),
        colours=colours,
        anchors={r.name: anchor(r.name, i) for i, r in enumerate(comparison.runs)},
        families={r.name: r.family for r in comparison.runs},
        real=picture(real, "Held-out real data, not seen in training") if real else None,
        grids=[(r, picture(r.samples, f"Samples of {r.name}")) for r in comparison.runs if r.samples],
        ladders=[_ladder(c, b.runs, colours) for b in tables if not b.reason for c in b.columns if _worth_drawing(c)],
        plots=_plots(comparison.runs, [c for b in tables if not b.reason for c in b.columns], colours),
        tests=_tests(comparison),
        runs=[run_view(r) for r in comparison.runs],
    )


def anchor(name: str, number: int) -> str:
    """An id for a run's section: readable, and unique by its number whatever the name holds."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
    return f"run-{number + 1}-{readable}".rstrip("-")


def _sections(tables: Sequence[Board]) -> list[dict[str, Any]]:
    """Tables under one heading where one reason holds for them; the leaderboard's own come first."""
    apart = {(name, c.figure.name) for b in tables if b.reason for c in b.columns for name in c.figures}
    found: dict[str, list[dict[str, Any]]] = {}
    for b in tables:
        found.setdefault(b.reason, []).append({"board": b, "rows": [(n, _cells(n, b, apart)) for n in b.runs]})
    return [{"reason": reason, "tables": several} for reason, several in found.items()]


def _cells(name: str, board: Board, apart: Container[tuple[str, str]]) -> list[Any]:
    """A run's row, column by column: what to print, whether it is best, and a number to sort by.

    An empty cell says whether the run lacks the figure ("") or has it in a table of its own ("apart").
    """
    cells: list[Any] = []
    for c in board.columns:
        if (f := c.figures.get(name)) is not None:
            bare = row(dataclasses.replace(f, unit=""))  # the heading has the unit
            cells.append({"row": bare, "best": c.best == name, "sort": repr(float(f.value))})
        else:
            cells.append("apart" if (name, c.figure.name) in apart else "")
    return cells


def _tests(comparison: Comparison) -> list[dict[str, str]]:
    """Every difference as text, those beyond chance first, the surest of them first."""
    rows: list[dict[str, str]] = []
    for t in sorted(comparison.tests, key=lambda t: (not t.better, t.adjusted)):
        written = write(t.difference, t.interval)
        rows.append({
            "figure": " · ".join(p for p in (t.figure, t.extractor) if p),
            "who": f"{t.a} less {t.b}",
            "difference": " ".join(p for p in (written.value, written.power, t.unit) if p),
            "interval": written.interval,
            "p": f"{t.adjusted:.2g}" if t.adjusted >= 1e-4 else "< 0.0001",
            "better": t.better,
            "method": t.method,
        })  # fmt: skip
    return rows


def _worth_drawing(c: Column) -> bool:
    """Whether a picture tells more than the table: two runs or more, a better direction and an interval."""
    intervals = any(f.interval is not None for f in c.figures.values())
    return len(c.figures) > 1 and c.figure.direction != "neither" and intervals


def _ladder(c: Column, runs: Sequence[str], colours: Mapping[str, int]) -> Ladder:
    rows = []
    for name in runs:
        if (f := c.figures.get(name)) is not None:
            rows.append(
                (
                    name,
                    colours[name],
                    f.value,
                    f.interval,
                    text.value_text(dataclasses.replace(f, unit="")),
                    c.best == name,
                )
            )
    unit = "" if c.figure.unit == c.figure.name else c.figure.unit
    parts = (unit, text.BETTER[c.figure.direction], text.extractor_text(c.figure))
    return ladder(rows, title=c.figure.name, subtitle=" · ".join(p for p in parts if p))


def _plots(runs: Sequence[Report], columns: Sequence[Column], colours: Mapping[str, int]) -> list[Scatter]:
    """Quality against what it costs, and believability against variety, where two runs or more have both."""
    plots: list[Scatter] = []
    if (distance := _find(columns, "frechet")) is not None:
        training = {r.name: r.costs.cpu_seconds for r in runs}
        drawing = {r.name: r.costs.seconds_per_sample for r in runs}
        plots += _against_cost(distance, training, "Quality and the cost of training", "training, CPU-", colours)
        plots += _against_cost(distance, drawing, "Quality and the cost of a sample", "drawing one sample, ", colours)
        sizes = {r.name: float(r.costs.parameters) for r in runs if r.costs.parameters}
        plots += _against_count(distance, sizes, "Quality and size", colours)
    if (variety := _find(columns, "coverage") or _find(columns, "recall")) is not None:
        training = {r.name: r.costs.cpu_seconds for r in runs}
        note = "Up and to the left is better: more of the variety, for less."
        plots += _against_cost(variety, training, "Variety and the cost of training", "training, CPU-", colours, note)
    precision, recall = _find(columns, "precision"), _find(columns, "recall")
    if precision is not None and recall is not None:
        points = [
            Point(name=n, colour=colours[n], x=r.value, y=p.value, x_interval=r.interval, y_interval=p.interval)
            for n, r in recall.figures.items()
            if (p := precision.figures.get(n)) is not None
        ]
        note = "Up and to the right is better: believable, and varied."
        plots += _scatter(points, "Believable and varied", recall.heading, precision.heading, note)
    return plots


def _find(columns: Sequence[Column], word: str) -> Column | None:
    """The column of that name; one whose figures have intervals, where there is one."""
    found = [c for c in columns if word in c.figure.name.casefold() and len(c.figures) > 1]
    with_interval = [c for c in found if c.figure.interval is not None]
    return next(iter(with_interval or found), None)


def _against_cost(
    quality: Column,
    costs: Mapping[str, float | None],
    title: str,
    cost: str,
    colours: Mapping[str, int],
    note: str = "Down and to the left is better.",
) -> list[Scatter]:
    """A figure against seconds, in the unit that suits the largest."""
    known = {n: c for n, c in costs.items() if c is not None and c > 0 and n in quality.figures}
    most = max(known.values(), default=1.0)
    scale, unit = next((s, u) for s, u in SECONDS if most >= s or s == SECONDS[-1][0])
    points = [
        Point(name=n, colour=colours[n], x=known[n] / scale, y=f.value, y_interval=f.interval)
        for n, f in quality.figures.items()
        if n in known
    ]
    return _scatter(points, title, cost + unit, quality.heading, note, log_x=True)


def _against_count(
    quality: Column, sizes: Mapping[str, float], title: str, colours: Mapping[str, int]
) -> list[Scatter]:
    """A figure against the number of parameters."""
    points = [
        Point(name=n, colour=colours[n], x=sizes[n], y=f.value, y_interval=f.interval)
        for n, f in quality.figures.items()
        if n in sizes
    ]
    return _scatter(points, title, "parameters", quality.heading, "Down and to the left is better.", log_x=True)


def _scatter(points: Sequence[Point], title: str, x: str, y: str, note: str, log_x: bool = False) -> list[Scatter]:
    """The plot of those points that are finite, or none where they are fewer than two."""
    finite = [p for p in points if math.isfinite(p.x) and math.isfinite(p.y)]
    return [scatter(finite, title=title, x_title=x, y_title=y, log_x=log_x, note=note)] if len(finite) > 1 else []
