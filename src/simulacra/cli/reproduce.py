"""``simulacra reproduce NAME``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from simulacra.cli.parse import parse, positionals
from simulacra.cli.words import say
from simulacra.evaluation.report import format_figure
from simulacra.modalities.sources import open_data
from simulacra.recipes.published import PUBLISHED
from simulacra.runs import fit, load
from simulacra.runs.recipe import NAME, read
from simulacra.training.progress import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where to, and how much of it.

    Attributes:
        out: the run directory; runs/NAME unless given. One that is there already is resumed.
        seed: every draw is a function of it.
        steps: a smaller budget than the recipe's, to see that it runs; its figure is then no reproduction.
    """

    out: Path | None = None
    seed: int | None = None
    steps: int | None = None


def main(arguments: Sequence[str]) -> None:
    """Rerun a published figure, and put it beside the paper's."""
    if not arguments or arguments[0].startswith("-"):
        width = max(map(len, PUBLISHED))
        say("usage: simulacra reproduce NAME [--out RUN] [--seed S] [--steps N]\n")
        for name, known in PUBLISHED.items():
            say(f"  {name:<{width}}  {known.what} ({known.cost})")
        return
    (name,), rest = positionals(arguments, ("NAME",), "reproduce")
    options = parse(Options, rest, verb="reproduce NAME")
    if name not in PUBLISHED:
        raise ValueError(f"nothing published is known as {name!r}; expected one of {', '.join(PUBLISHED)}")
    known, out = PUBLISHED[name], options.out or Path("runs") / name
    if not (out / NAME).exists() or read(out).ended != "budget":
        fit(
            known.family,
            open_data(known.data, **known.options),
            out=out,
            config=known.config,
            training=known.training,
            steps=options.steps,
            seed=options.seed,
            resume=(out / NAME).exists(),
            hooks=[Progress()],
            say=say,
        )
    run = load(out)
    say("scoring")
    figure = known.score(run.model, run.data().held_out)
    value, direction = known.target
    reached = figure.value <= value if direction == "lower" else figure.value >= value
    say(f"\n{known.what}")
    for source, stated in known.published.items():
        say(f"  published  {stated}: {source}")
    say(f"  here       {format_figure(figure)}")
    bound = "at most" if direction == "lower" else "at least"
    say(f"  target     {bound} {value:g}: {'reached' if reached else 'NOT reached'}")
    if run.recipe.training.steps != known.training.steps:
        say(f"  {run.recipe.training.steps} steps instead of {known.training.steps}: this is no reproduction")
