"""A report, or a comparison of several, as one HTML file: nothing in it is fetched from anywhere."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from simulacra.core.figure import Figure
from simulacra.evaluation.report import figures as text
from simulacra.evaluation.report.comparison import Board, Column, Comparison, boards
from simulacra.evaluation.report.contents import Report, Verdict, picture
from simulacra.evaluation.report.curves import curves
from simulacra.evaluation.report.numbers import count, duration, short, write
from simulacra.evaluation.report.plots import COLOURS, Ladder, Point, Scatter, ladder, scatter

# a monitor's level -> how the page shows it; the shown word and the icon carry the meaning, colour only repeats it
LEVELS = {
    "ok": "good", "good": "good", "fine": "good", "pass": "good", "healthy": "good",
    "note": "note", "info": "note", "hint": "note",
    "warning": "warning", "warn": "warning", "caution": "warning",
    "error": "problem", "bad": "problem", "problem": "problem", "stop": "problem", "fail": "problem",
    "critical": "problem",
}  # fmt: skip
SEVERITY = {"problem": 0, "warning": 1, "note": 2, "good": 3}


@dataclass(frozen=True)
class Row:
    """A figure as the table shows it: every part as text."""

    name: str
    meaning: str
    value: str
    interval: str
    method: str
    missing: str
    arrow: str
    better: str
    kind: str
    basis: str
    seed: str
    extractor: str
    note: str


def render(report: Report) -> str:
    """The report of one run as a whole HTML file. Raises ValueError where a picture is neither PNG nor GIF."""
    return _render("report.html", title=f"{report.name} · simulacra", run=_run(report), report=report)


def render_comparison(comparison: Comparison) -> str:
    """Several runs on one page: the tables and plots of all, then each run's own report.

    Figures that measure different things never share a column. Raises ValueError as ``render`` does.
    """
    colours = {r.name: i % COLOURS for i, r in enumerate(comparison.runs)}
    tables = boards(comparison)
    real = comparison.real or comparison.runs[0].real
    return _render(
        "comparison.html",
        title=f"{comparison.title} · simulacra",
        comparison=comparison,
        boards=[{"board": b, "rows": _cells(b, comparison.runs)} for b in tables],
        colours=colours,
        anchors={r.name: anchor(r.name, i) for i, r in enumerate(comparison.runs)},
        families={r.name: r.family for r in comparison.runs},
        real=picture(real, "Held-out real data, not seen in training") if real else None,
        grids=[(r, picture(r.samples, f"Samples of {r.name}")) for r in comparison.runs if r.samples],
        ladders=[_ladder(c, b.runs, colours) for b in tables if not b.reason for c in b.columns if len(c.figures) > 1],
        plots=_plots(comparison.runs, tables[0].columns if tables else (), colours),
        runs=[_run(r) for r in comparison.runs],
    )


def anchor(name: str, number: int) -> str:
    """An id for a run's section: readable, and unique by its number whatever the name holds."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
    return f"run-{number + 1}-{readable}".rstrip("-")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("simulacra.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(short=short, count=count, duration=duration)
    return environment


@cache
def _asset(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    folder = importlib.resources.files("simulacra.evaluation.report") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def _render(template: str, **values: Any) -> str:
    script = _asset("page.js")
    # the page allows its own script by its digest, so that nothing smuggled into a name could ever run
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(style=_asset("page.css"), script=script, script_digest=digest, **values)
    )


def _run(report: Report) -> dict[str, Any]:
    """What the template of one run shows, every part ready to print and empty where there is nothing."""
    return {
        "report": report,
        "facts": _facts(report),
        "verdicts": sorted((_verdict(v) for v in report.verdicts), key=lambda v: SEVERITY[v["kind"]]),
        "samples": picture(report.samples, f"Samples drawn by {report.name}") if report.samples else None,
        "real": picture(report.real, "Held-out real data, not seen in training") if report.real else None,
        "reconstructions": picture(report.reconstructions, "Held-out pictures and their reconstructions")
        if report.reconstructions
        else None,
        "interpolations": picture(report.interpolations, "Interpolations") if report.interpolations else None,
        "nearest": [
            (picture(n.sample, "A sample"), picture(n.real, "Its nearest training picture"), f"{n.ratio:.2f}")
            for n in report.nearest
        ],
        "progress": [(count(s), picture(p, f"Samples at step {count(s)}")) for s, p in report.progress],
        "animation": picture(report.animation, "Samples as training went on") if report.animation else None,
        "curves": [(turn or "Run", panels) for turn, panels in curves(report.log, report.units).items()],
        "rows": [row(f) for f in report.figures],
        "costs": _costs(report),
        "recipe": _flat(report.recipe),
        "provenance": [
            ("Licence of the data", report.licence or "not stated"),
            ("Consent for the data", report.consent or "not stated"),
        ],
    }


def row(f: Figure) -> Row:
    """A figure's parts as text."""
    written = write(f.value, f.interval)
    return Row(
        name=f.name,
        meaning=text.explain(f.name),
        value=text.value_text(f),
        interval=" ".join(p for p in (written.interval, written.power) if p) if f.interval else "",
        method=f"{text.level(f)} {f.interval_method}".strip() if f.interval else "",
        missing="" if f.interval else text.no_interval_reason(f),
        arrow=text.ARROWS[f.direction],
        better=text.BETTER[f.direction],
        kind=f.kind,
        basis=text.basis(f),
        seed="" if f.seed is None else str(f.seed),
        extractor=text.extractor_text(f),
        note=f.note,
    )


def _verdict(v: Verdict) -> dict[str, str]:
    kind = LEVELS.get(v.level.casefold(), "note")
    return {"kind": kind, "name": v.name, "text": v.text, "step": "" if v.step is None else count(v.step)}


def _facts(r: Report) -> list[tuple[str, str]]:
    c = r.costs
    facts = [
        ("Family", r.family),
        ("Data", r.data),
        ("Parameters", "" if c.parameters is None else count(c.parameters)),
        ("Steps", "" if c.steps is None else count(c.steps)),
        ("Training time", "" if c.wall_seconds is None else duration(c.wall_seconds)),
        ("Date", r.date),
    ]
    return [(name, value) for name, value in facts if value]


def _costs(r: Report) -> list[tuple[str, str]]:
    c = r.costs
    rows = [
        ("Training, wall clock", None if c.wall_seconds is None else duration(c.wall_seconds)),
        ("Training, processor time", None if c.cpu_seconds is None else f"{short(round(c.cpu_seconds, 1))} CPU-s"),
        ("Steps", None if c.steps is None else count(c.steps)),
        ("Examples seen", None if c.examples is None else count(c.examples)),
        ("Speed", None if c.steps_per_second is None else f"{short(c.steps_per_second)} steps/s"),
        ("Parameters", None if c.parameters is None else count(c.parameters)),
        ("One sample", None if c.seconds_per_sample is None else duration(c.seconds_per_sample)),
        ("Machine", c.machine or None),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (dotted name, text) lines."""
    if isinstance(value, Mapping):
        return [line for k, v in value.items() for line in _flat(v, f"{prefix}.{k}" if prefix else str(k))]
    if isinstance(value, (list, tuple)):
        return [(prefix, ", ".join(str(v) for v in value))]
    return [(prefix, "—" if value is None or value == "" else str(value))]


def _cells(board: Board, runs: Sequence[Report]) -> list[tuple[str, list[Any]]]:
    """Table rows: run name and, column by column, what to print, whether it is best, and a number to sort by.

    An empty cell says whether the run lacks the figure ("—") or measured it otherwise ("apart").
    """
    measured = {r.name: {f.name for f in r.figures} for r in runs}
    standing = {(name, c.figure.name) for c in board.columns for name in c.figures}
    table = []
    for name in board.runs:
        cells: list[Any] = []
        for c in board.columns:
            if (f := c.figures.get(name)) is not None:
                bare = row(dataclasses.replace(f, unit=""))  # the heading has the unit
                cells.append({"row": bare, "best": c.best == name, "sort": repr(float(f.value))})
            else:
                otherwise = c.figure.name in measured[name] and (name, c.figure.name) not in standing
                cells.append("apart" if otherwise else "")
        table.append((name, cells))
    return table


def _ladder(c: Column, runs: Sequence[str], colours: Mapping[str, int]) -> Ladder:
    rows = []
    for name in runs:
        if (f := c.figures.get(name)) is not None:
            rows.append((name, colours[name], f.value, f.interval, write(f.value, f.interval).value, c.best == name))
    unit = "" if c.figure.unit == c.figure.name else c.figure.unit
    parts = (unit, text.BETTER[c.figure.direction], text.extractor_text(c.figure))
    return ladder(rows, title=c.figure.name, subtitle=" · ".join(p for p in parts if p))


def _plots(runs: Sequence[Report], columns: Sequence[Column], colours: Mapping[str, int]) -> list[Scatter]:
    """Quality against what it costs, and believability against variety, where two runs or more have both."""

    def find(word: str) -> Column | None:
        return next((c for c in columns if word in c.figure.name.casefold()), None)

    plots: list[Scatter] = []
    distance, precision, recall = find("frechet"), find("precision"), find("recall")
    costs = {
        "training, CPU-seconds": {r.name: r.costs.cpu_seconds for r in runs},
        "drawing one sample, seconds": {r.name: r.costs.seconds_per_sample for r in runs},
    }
    for cost, values in costs.items():
        if distance is None:
            continue
        points = [
            Point(name=n, colour=colours[n], x=values[n] or 0.0, y=f.value, y_interval=f.interval)
            for n, f in distance.figures.items()
            if values.get(n) is not None
        ]
        if len(points) > 1:
            title = f"Quality against the cost of {cost.split(',')[0]}"
            note = "Down and to the left is better."
            plots.append(scatter(points, title=title, x_title=cost, y_title=distance.heading, log_x=True, note=note))
    if precision is not None and recall is not None:
        points = [
            Point(name=n, colour=colours[n], x=f.value, y=precision.figures[n].value,
                  x_interval=f.interval, y_interval=precision.figures[n].interval)
            for n, f in recall.figures.items()
            if n in precision.figures
        ]  # fmt: skip
        if len(points) > 1:
            note = "Up and to the right is better: believable, and varied."
            plots.append(
                scatter(
                    points, title="Believable and varied", x_title=recall.heading, y_title=precision.heading, note=note
                )
            )
    return plots
