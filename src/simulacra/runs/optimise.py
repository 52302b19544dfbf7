"""``optimise``: a run of molecules learns to draw what an objective likes, and becomes a run of its own."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data, Stored
from simulacra.core.checkpoint import told
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation.goals import Scored, figures_of_goal
from simulacra.modalities.molecules.objectives import Objective
from simulacra.runs.fitting import Say, keep, keep_encoding, plan, settle, silent
from simulacra.runs.run import WEIGHTS, Run, learned_texts
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.uses.latent import Search, search
from simulacra.uses.optimise import Goal, Towards, log_prob

# half a minute of molecules on one core; an average that looks back a few steps
TRAINING = Training(steps=300, batch=64, clip=1.0, average_half_life=1_000.0, log_every=10, save_seconds=None)


def optimise(
    run: Run,
    objective: Objective,
    *,
    out: str | Path,
    goal: Goal | None = None,
    training: Training = TRAINING,
    hooks: Sequence[Any] = (),
    say: Say = silent,
) -> Run:
    """Learn towards an objective from a run's weights, into a directory of its own that ``load`` reads like any other.

    training  its batch is how many molecules are drawn a step.

    Raises ValueError for a run that is not of molecules, or a model that cannot (``uses.optimise``).
    """
    if run.recipe.data["modality"] != "molecules":
        raise ValueError(f"objectives are of molecules, and {run.path} is a run of {run.recipe.data['modality']}")
    goal = goal or Goal()
    loaded, folder = run.data(), Path(out)

    def score(batch: Batch) -> Tensor:
        return torch.from_numpy(objective(run.texts(batch))).to(_on(batch))

    learner = Towards(copy.deepcopy(run.model), score, goal)
    line = f"optimised for {objective}, sigma {goal.sigma:g}, from {run.path} ({run.recipe.files[WEIGHTS][:12]})"
    loaded = dataclasses.replace(loaded, notes=(*loaded.notes, line))
    recipe = settle(folder, plan(run.recipe.family, loaded, config=run.recipe.config, training=training), {}, False)
    say(line)
    with told(f"make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    recipe = keep_encoding(folder, recipe, loaded)
    recipe.write(folder)
    cpu = time.process_time()
    # of the data only its size and place are looked at: nothing is to be spelt afresh for that
    data = dataclasses.replace(loaded.train, change=None) if isinstance(loaded.train, Stored) else loaded.train
    trained = train(learner, data, recipe.training, hooks=hooks, folder=folder, begin=_as_it_is)
    trained = dataclasses.replace(trained, model=trained.model.model, averaged=trained.averaged.model)
    recipe = keep(folder, recipe, trained, time.process_time() - cpu)
    return Run(folder, recipe, trained.averaged, trained)


def compared(now: Run, before: Run, objective: Objective, *, n: int, seed: int = 0) -> tuple[Scored, list[Figure]]:
    """What n draws of the run that was optimised show beside n of the run it comes from, with the figures of both."""
    drawn = now.sample(n, seed=seed)
    with torch.no_grad():
        distance = (log_prob(now.model, drawn) - log_prob(before.model, drawn)).double().cpu()
    after = Scored.of(now.texts(drawn), objective)
    was = Scored.of(before.texts(before.sample(n, seed=seed)), objective)
    known = learned_texts(before.data())
    return after, figures_of_goal(after, was, distance, objective=objective, known=known, seed=seed)


def searched(
    run: Run, objective: Objective, settings: Search, *, n: int, seed: int = 0
) -> tuple[Scored, list[Figure], float]:
    """What n codes come to that are searched for an objective, beside the codes they began with; the model stays.

    Third: the share of accepted steps. ValueError for a run that is not of molecules, or of a model without codes.
    """
    if run.recipe.data["modality"] != "molecules":
        raise ValueError(f"objectives are of molecules, and {run.path} is a run of {run.recipe.data['modality']}")

    def score(batch: Batch) -> Tensor:
        return torch.from_numpy(objective(run.texts(batch))).to(_on(batch))

    found = search(run.model, score, n, settings, rng=Rng(seed)("search"))
    # log of the tilted prior of codes over the prior, its constant estimated from the codes of the beginning
    constant = (settings.sigma * found.scores_before).logsumexp(0) - math.log(n)
    distance = (settings.sigma * found.scores - constant).cpu()
    after, was = Scored.of(run.texts(found.batch), objective), Scored.of(run.texts(found.before), objective)
    known = learned_texts(run.data())
    figures = figures_of_goal(after, was, distance, objective=objective, known=known, seed=seed)
    note = f"KL of codes, if chains have mixed; log Z estimated from {n:,} codes of the prior"
    figures = [dataclasses.replace(f, note=note, kind="estimate") if f.name == "distance from before" else f
               for f in figures]  # fmt: skip
    return after, figures, found.accepted


def _on(batch: Batch) -> torch.device:
    assert isinstance(batch.x, Tensor)
    return batch.x.device


def _as_it_is(model: Any, data: Data) -> None:
    """Counts nothing: what was learnt by counting stays as it was."""
