"""``simulacra quickstart``: the main job, once, on the built-in digits."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from simulacra.cli.parse import parse
from simulacra.cli.words import say
from simulacra.evaluation.report import text_table
from simulacra.modalities.sources import open_data
from simulacra.recipes import quickstart
from simulacra.runs import Run, fit
from simulacra.runs.pages import write_comparison, write_report
from simulacra.training.progress import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where to, and from which seed.

    Attributes:
        out: folder of the runs and the report; it must be new or empty.
        seed: every draw is a function of it.
    """

    out: Path = Path("runs/quickstart")
    seed: int = 0


def main(arguments: Sequence[str]) -> None:
    """Fit several families on the built-in digits, judge them, and write one report."""
    options = parse(Options, arguments, verb="quickstart")
    out = _fresh(options.out)
    began = time.perf_counter()
    loaded = open_data(quickstart.DATA)
    runs: list[Run] = []
    for entry in quickstart.entries(loaded.train.space, len(loaded.train)):
        run = fit(
            entry.family,
            loaded,
            out=out / entry.family,
            config=entry.config,
            training=dataclasses.replace(entry.training, seed=options.seed),
            hooks=[Progress()],
            say=say,
        )
        if run.recipe.ended == "interrupted":
            say("stopped; the runs so far are in " + str(out))
            return
        figures = run.evaluate()
        write_report(run, figures=figures)
        Console().print(text_table(figures))
        runs.append(run)
    page = write_comparison(runs, out / "report.html", title="Quickstart: handwritten digits", say=say)
    say(f"{len(runs)} models fitted and judged in {time.perf_counter() - began:.0f} s: open {page}")
    say(f"draw from one with: simulacra sample {runs[0].path} -n 64 --y 7 --out sevens.png")


def _fresh(folder: Path) -> Path:
    """The folder, or the next free one beside it where it is taken: nothing is ever overwritten."""
    number, free = 1, folder
    while free.exists() and any(free.iterdir()):
        number, free = number + 1, folder.with_name(f"{folder.name}-{number + 1}")
    return free
