"""Generative against discriminative, run: part by part, each data set's results kept as they come."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulacra.core.checkpoint import told as in_words
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation.report.versus import Contest, Section, findings, render_versus
from simulacra.evaluation.report.versus import said as sentences
from simulacra.evaluation.versus.sweeps import SIZE, Sweep
from simulacra.mathematics.crossings import band
from simulacra.recipes.versus import parts
from simulacra.recipes.versus.parts import Part
from simulacra.recipes.versus.tasks import data_folder

NAME = "generative-vs-discriminative"
FORMAT = 1  # of kept results


@dataclass(frozen=True, kw_only=True)
class Form:
    """How large: its parts, and what is to be said of it."""

    parts: Sequence[Part]
    notes: tuple[str, ...] = ()
    options: str = ""


def full() -> Form:
    """All of it, as far as the data are at hand."""
    missing = (
        "Without SIMULACRA_DATA there are only the data sets that scikit-learn carries: no pictures, texts and tables."
    )
    return Form(parts=parts.full(), notes=() if data_folder() is not None else (missing,))


def quick() -> Form:
    """To see that it runs."""
    note = "This is the quick form: a few repetitions of small models. It shows that the experiment runs, nothing else."
    return Form(parts=parts.quick(), notes=(note,), options=" --quick")


def run(form: Form, folder: Path, seed: int, say: Callable[[str], None]) -> Contest:
    """Everything, in the order of the parts; what the folder holds already, made alike, is read instead."""
    sections: list[Section] = []
    for part in form.parts:
        found: list[Sweep] = []
        for task in part.tasks():
            path = folder / "parts" / f"{part.name}-{re.sub('[^a-z0-9]+', '-', task.name.casefold()).strip('-')}.json"
            key = {"format": FORMAT, "seed": seed, **part.key(task)}
            kept = _read(path, key)
            say(f"{part.title}: {task.name}" + ("" if kept is None else ", kept"))
            if kept is None:
                kept = part.run(task, Rng(seed)(part.name), say)
                _write(path, {"key": key, "sweeps": [s.to_json() for s in kept]})
            found += kept
        sections.append(Section(title=part.title, sweeps=found, learning=part.name in ("worlds", "curves")))
    return Contest(
        sections=sections,
        seed=seed,
        command=f"simulacra reproduce {NAME} --seed {seed}{form.options}",
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        notes=form.notes,
    )


def _read(path: Path, key: dict[str, Any]) -> list[Sweep] | None:
    """Kept results of that key; None where there are none."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if value.get("key") != json.loads(json.dumps(key)):
        return None
    return [Sweep.from_json(s) for s in value["sweeps"]]


def _write(path: Path, value: Any) -> None:
    with in_words(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".new")
        half.write_text(json.dumps(value) + "\n")
        half.replace(path)  # so that an interrupted run leaves no half of one


def page(contest: Contest) -> str:
    """The experiment as one HTML file."""
    return render_versus(contest)


def said(contest: Contest) -> list[str]:
    """What was found, in sentences."""
    return sentences(contest)


def figures(contest: Contest) -> list[Figure]:
    """Each pair's difference at the end of each axis, and where learning curves cross."""
    found: list[Figure] = []
    for section in contest.sections:
        for sweep in section.sweeps:
            one, two = sweep.pair
            values = sweep.results[one] - sweep.results[two]
            ends = band(values)
            where = findings(sweep)[0].found
            common: dict[str, Any] = {"n": len(values), "seed": contest.seed, "unit": sweep.unit}
            for place in (0, -1):
                found.append(
                    Figure(
                        name=f"{sweep.task}: {sweep.measure} of {one} less that of {two} at"
                        f" {sweep.values[place]:g} ({sweep.axis})",
                        value=float(ends.mean[place]),
                        direction="neither",
                        interval=(float(ends.low[place]), float(ends.high[place])),
                        interval_method="Student's t over paired repetitions",
                        note=sweep.asked,
                        **common,
                    )
                )
            if sweep.axis == SIZE and where.place is not None:
                found.append(
                    Figure(
                        name=f"{sweep.task}: {sweep.measure} of {one} and {two} cross",
                        value=where.place,
                        direction="neither",
                        interval=where.interval,
                        interval_method="inversion of Student's t over paired repetitions",
                        note=where.verdict,
                        **{**common, "unit": SIZE},
                    )
                )
    return found
