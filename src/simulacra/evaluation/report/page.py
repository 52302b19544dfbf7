"""The report of one run as one HTML file: nothing in it is fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from simulacra.core.figure import Figure
from simulacra.evaluation.report import by_class, columns
from simulacra.evaluation.report import figures as text
from simulacra.evaluation.report.contents import Neighbour, Report, Verdict, picture
from simulacra.evaluation.report.curves import curves
from simulacra.evaluation.report.numbers import count, duration, short, write

# a monitor's level -> how the page shows it; the shown word and the icon carry the meaning, colour only repeats it
LEVELS = {
    "ok": "good", "good": "good", "fine": "good", "info": "note", "note": "note",
    "attention": "attention", "warning": "attention", "warn": "attention",
    "stop": "problem", "error": "problem", "problem": "problem", "bad": "problem", "critical": "problem",
}  # fmt: skip
SEVERITY = {"problem": 0, "attention": 1, "note": 2, "good": 3}


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
    return render_template("report.html", title=f"{report.name} · simulacra", run=run_view(report), report=report)


def capital(name: str) -> str:
    """The name with its first letter in upper case, the others as they are."""
    return name[:1].upper() + name[1:]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("simulacra.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(short=short, count=count, duration=duration, capital=capital)
    return environment


@cache
def _asset(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    folder = importlib.resources.files("simulacra.evaluation.report") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def render_template(template: str, **values: Any) -> str:
    """A template with the style and the script that every page carries."""
    script = _asset("page.js")
    # the page allows its own script by its digest, so that nothing smuggled into a name could ever run
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(style=_asset("page.css"), script=script, script_digest=digest, **values)
    )


def run_view(report: Report) -> dict[str, Any]:
    """What the template of one run shows, every part ready to print and empty where there is nothing."""
    whole, classes = by_class.apart(report.figures)
    return {
        "report": report,
        "facts": _facts(report),
        "verdicts": sorted((_verdict(v) for v in report.verdicts), key=lambda v: SEVERITY[v["kind"]]),
        "samples": picture(report.samples, f"Samples drawn by {report.name}") if report.samples else None,
        "real": picture(report.real, "Held-out real data, not seen in training") if report.real else None,
        "sounds": [
            (who, f"data:audio/wav;base64,{base64.b64encode(data).decode()}")
            for who, data in (("Samples", report.sound), ("Real", report.real_sound))
            if data
        ],
        "texts": list(report.texts),
        "real_texts": list(report.real_texts),
        "table": columns.view(report.table),
        "surprise": [(p, f"{bits:.1f} bits", surprise_level(bits)) for p, bits in report.surprise],
        "reconstructions": picture(report.reconstructions, "Held-out pictures and their reconstructions")
        if report.reconstructions
        else None,
        "interpolations": picture(report.interpolations, "Interpolations") if report.interpolations else None,
        "nearest": [
            (picture(n.sample, "A sample"), picture(n.real, "Its nearest training picture"), _close(n))
            for n in report.nearest
        ],
        "progress": [(count(s), picture(p, f"Samples at step {count(s)}")) for s, p in report.progress],
        "animation": picture(report.animation, "Samples as training went on") if report.animation else None,
        "curves": curves(report.log, report.units),
        "tables": _by_subject(whole),
        "classes": [by_class.view(table) for table in classes],
        "costs": _costs(report),
        "recipe": _flat(report.recipe),
        "provenance": [
            ("Licence of the data", report.licence or "not stated"),
            ("Consent for the data", report.consent or "not stated"),
        ],
    }


def _close(n: Neighbour) -> str:
    """A distance in words: "0.62 (1 % of unseen)"."""
    return f"{n.ratio:.2f}" + ("" if n.unseen is None else f" ({100 * n.unseen:.2g} % of unseen)")


def surprise_level(bits: float) -> int:
    """How strongly a piece of text is coloured, 0 .. 6: a level for each bit and a half."""
    return max(0, min(6, int(bits / 1.5)))


def _by_subject(figures: Sequence[Figure]) -> list[tuple[str, list[Row]]]:
    """Rows by what they look at, each meaning told only where it is first needed."""
    found: dict[str, list[Row]] = {}
    told: set[str] = set()
    for f in figures:
        one = row(f)
        found.setdefault(text.subject(f), []).append(replace(one, meaning="") if one.meaning in told else one)
        told.add(one.meaning)
    return list(found.items())


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


def _verdict(v: Verdict) -> dict[str, Any]:
    kind = LEVELS.get(v.level.casefold(), "note")
    step = "" if v.step is None else count(v.step)
    return {"kind": kind, "name": v.name, "text": v.text, "step": step, "measured": getattr(v, "measured", ())}


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
