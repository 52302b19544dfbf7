"""``simulacra compare RUN...``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from simulacra.cli.parse import parse
from simulacra.cli.words import say
from simulacra.evaluation.report import text_table
from simulacra.runs import load
from simulacra.runs.pages import stored_figures, write_comparison


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where to.

    Attributes:
        out: the page.
        title: its title.
    """

    out: Path = Path("comparison.html")
    title: str = "Comparison"


def main(arguments: Sequence[str]) -> None:
    """One page and one table of several runs."""
    first = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    options = parse(Options, arguments[first:], verb="compare RUN...")
    if first < 2:
        raise ValueError(f"compare needs at least two runs; got {first}: simulacra compare RUN RUN ...")
    runs = [load(path) for path in arguments[:first]]
    path = write_comparison(runs, options.out, title=options.title, say=say)
    for run in runs:
        say(str(run.path))
        Console().print(text_table(stored_figures(run) or []))
    say(f"wrote {path}")
