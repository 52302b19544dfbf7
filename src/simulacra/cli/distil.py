"""``simulacra distil RUN --out OUT``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from simulacra.cli.parse import parse, positionals
from simulacra.cli.words import say
from simulacra.core import across
from simulacra.recipes.vocabulary import SETTINGS
from simulacra.runs import load
from simulacra.runs.distil import distil, pupil
from simulacra.runs.pages import write_report
from simulacra.training.progress import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How long, and where to.

    Attributes:
        out: the new run's directory; RUN-distilled unless given.
        steps: budget in optimiser steps.
        minutes: budget in minutes of training; whichever budget is reached first ends the run.
        examples: budget in examples seen.
        seed: every draw of the run is a function of it.
        no_report: leave figures and report.html to `simulacra evaluate`.
    """

    out: Path | None = None
    steps: int | None = None
    minutes: float | None = None
    examples: int | None = None
    seed: int | None = None
    no_report: bool = False


def main(arguments: Sequence[str]) -> None:
    """Fit the faster model that a run teaches, on the run's own data."""
    path, rest = positionals(arguments, ("RUN",), "distil")
    if not path:
        parse(Options, rest, verb="distil RUN")
        return
    teacher = load(path[0])
    _, settings = pupil(teacher)
    kinds = ((Options, "options", Options()), (type(settings), "settings", settings))
    fields = [
        (name, Annotated[kind, tyro.conf.arg(name="")], dataclasses.field(default=value)) for kind, name, value in kinds
    ]
    both: Any = parse(
        dataclasses.make_dataclass("Distil", fields, frozen=True, kw_only=True), rest, verb="distil RUN",
        functions=SETTINGS,
    )  # fmt: skip
    options: Options = both.options
    run = distil(
        teacher,
        out=options.out or teacher.path.with_name(f"{teacher.path.name}-distilled"),
        config=both.settings,
        steps=options.steps,
        minutes=options.minutes,
        examples=options.examples,
        seed=options.seed,
        hooks=[Progress()],
        say=say,
    )
    if across.rank() != 0:
        return
    if run.recipe.ended == "interrupted":
        source = run.recipe.data["source"]
        say(f"stopped and saved; go on with: simulacra fit {run.recipe.family} {source} --resume --out {run.path}")
        return
    if not options.no_report:
        say(f"wrote {write_report(run, say=say)}")
    say(f"draw from it with: simulacra sample {run.path} -n 64 --out samples.png")
