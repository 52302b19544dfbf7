"""``simulacra reproduce NAME``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from simulacra.cli.parse import parse, positionals
from simulacra.cli.words import say
from simulacra.core.checkpoint import told
from simulacra.evaluation.report import figures_to_json, format_figure
from simulacra.modalities.sources import open_data
from simulacra.recipes.experiments import EXPERIMENTS
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
        quick: of an experiment, a small form that shows in seconds that it runs; its findings are then none.
    """

    out: Path | None = None
    seed: int | None = None
    steps: int | None = None
    quick: bool = False


def main(arguments: Sequence[str]) -> None:
    """Rerun a published figure or experiment, and put it beside the paper's."""
    if not arguments or arguments[0].startswith("-"):
        width = max(map(len, (*PUBLISHED, *EXPERIMENTS)))
        say("usage: simulacra reproduce NAME [--out RUN] [--seed S] [--steps N] [--quick]\n")
        for name, known in (PUBLISHED | EXPERIMENTS).items():
            say(f"  {name:<{width}}  {known.what} ({known.cost})")
        return
    (name,), rest = positionals(arguments, ("NAME",), "reproduce")
    options = parse(Options, rest, verb="reproduce NAME")
    if name in EXPERIMENTS:
        return experiment(name, options)
    if name not in PUBLISHED:
        raise ValueError(
            f"nothing published is known as {name!r}; expected one of {', '.join((*PUBLISHED, *EXPERIMENTS))}"
        )
    if options.quick:
        raise ValueError(f"--quick is of experiments, and {name} is one figure; give it fewer --steps")
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


def experiment(name: str, options: Options) -> None:
    """Run an experiment, or go on with it where it stopped, and write its page, its figures and what was found."""
    if options.steps is not None:
        raise ValueError(f"--steps is of runs, and {name} is an experiment; --quick is its small form")
    known, out = EXPERIMENTS[name], options.out or Path("runs") / name
    form = known.quick() if options.quick else known.full()
    found = known.run(form, out, options.seed or 0, say)
    with told(f"write {out}"):
        out.mkdir(parents=True, exist_ok=True)
        (out / "index.html").write_text(known.page(found), encoding="utf-8")
        (out / "figures.json").write_text(figures_to_json(known.figures(found)), encoding="utf-8")
    say(f"\n{known.what}")
    for source, stated in known.published.items():
        say(f"  published  {stated}: {source}")
    for line in known.said(found):
        say(f"  here       {line}")
    say(f"  page       {out / 'index.html'}")
