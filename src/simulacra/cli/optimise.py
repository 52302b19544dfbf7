"""``simulacra optimise RUN --for qed|logp|similarity --out OUT``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from simulacra.cli.molecules import write_molecules
from simulacra.cli.parse import parse, positionals
from simulacra.cli.words import say
from simulacra.core.capabilities import LatentVariable, LogProb
from simulacra.core.checkpoint import told
from simulacra.evaluation.report import text_table
from simulacra.modalities.molecules.objectives import DrugLikeness, Likeness, Lipophilicity, Objective
from simulacra.runs import Run, load
from simulacra.runs.optimise import TRAINING, compared, optimise, searched
from simulacra.training.progress import Progress
from simulacra.uses.latent import Search
from simulacra.uses.optimise import Goal

SHOWN = 24  # of the best molecules, in the grid


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What for, how far, and where to.

    Attributes:
        wanted: what molecules are wanted for: qed (drug-likeness), logp (between 0 and 8, the higher the better), or
            similarity to the molecule given with --to.
        to: a SMILES, with --for similarity.
        sigma: nats of distance from what the run draws now that a point of the score, from 0 to 1, is worth.
        out: the new run's directory; RUN-WANTED unless given. The best molecules are written there too: best.csv and
            best.svg.
        steps: optimiser steps; of a run with codes, such as a sequence_vae, steps of the search among them.
        batch: molecules that are drawn a step.
        n: molecules that are drawn afterwards from either model to see what came of it; the codes that are searched.
        seed: every draw is a function of it.
    """

    wanted: Annotated[Literal["qed", "logp", "similarity"], tyro.conf.arg(name="for")] = "qed"
    to: str | None = None
    sigma: float = Goal().sigma
    out: Path | None = None
    steps: int | None = None
    batch: int = TRAINING.batch
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1_000
    seed: int = 0


def main(arguments: Sequence[str]) -> None:
    """Learn to draw molecules that score high while they stay near those of the run."""
    path, rest = positionals(arguments, ("RUN",), "optimise")
    options = parse(Options, rest, verb="optimise RUN")
    if not path:
        return
    objective, run = _objective(options), load(path[0])
    if not isinstance(run.model, LogProb) and isinstance(run.model, LatentVariable):
        return _search(run, objective, options)
    steps = TRAINING.steps if options.steps is None else options.steps
    made = optimise(
        run,
        objective,
        out=options.out or run.path.with_name(f"{run.path.name}-{options.wanted}"),
        goal=Goal(sigma=options.sigma),
        training=dataclasses.replace(TRAINING, steps=steps, batch=options.batch, seed=options.seed),
        hooks=[Progress()],
        say=say,
    )
    if made.recipe.ended == "interrupted":
        say(f"stopped after {made.recipe.cost['steps']} steps; what was learned is in {made.path}")
    found, figures = compared(made, run, objective, n=options.n, seed=options.seed)
    Console().print(text_table(figures))
    if found.best:
        say(write_molecules(found.best, made.path / "best.csv"))
        say(write_molecules(found.best[:SHOWN], made.path / "best.svg"))
    say(f"draw from it with: simulacra sample {made.path} -n 1000 --out drawn.smi")


def _search(run: Run, objective: Objective, options: Options) -> None:
    """Codes that score high, where the model itself stays as it is; the best molecules and what was gained."""
    settings = Search(sigma=options.sigma, steps=Search().steps if options.steps is None else options.steps)
    out = options.out or run.path.with_name(f"{run.path.name}-{options.wanted}")
    say(f"searching {options.n:,} codes for {objective}, sigma {settings.sigma:g}, {settings.steps} steps each")
    found, figures, accepted = searched(run, objective, settings, n=options.n, seed=options.seed)
    Console().print(text_table(figures))
    say(f"{accepted:.0%} of steps were accepted; the model is as it was, its codes are not kept")
    with told(f"make {out}"):
        out.mkdir(parents=True, exist_ok=True)
    if found.best:
        say(write_molecules(found.best, out / "best.csv"))
        say(write_molecules(found.best[:SHOWN], out / "best.svg"))


def _objective(options: Options) -> Objective:
    if (options.wanted == "similarity") != (options.to is not None):
        raise ValueError("--to SMILES goes with --for similarity, and neither without the other")
    if options.to is not None:
        return Likeness(options.to)
    return DrugLikeness() if options.wanted == "qed" else Lipophilicity()
