"""``distil``: a run teaches a faster model: a diffusion run a consistency model, a flow one that runs straighter."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from simulacra.modalities.sources import Loaded
from simulacra.recipes.families import FAMILIES
from simulacra.runs.fitting import fit, kept_codec
from simulacra.runs.run import WEIGHTS, Run, learnt
from simulacra.training.settings import Training
from simulacra.training.state import weights


def pupil(run: Run) -> tuple[str, Any]:
    """The family and the config of the model that a run teaches; ValueError where its family teaches none."""
    entry = FAMILIES.get(run.recipe.family)
    if entry is None or entry.pupil is None:
        teaching = ", ".join(name for name, family in FAMILIES.items() if family.pupil is not None)
        raise ValueError(f"a run of {run.recipe.family!r} teaches no faster model; distil a run of {teaching}")
    return entry.pupil(run.recipe.config)


def distil(
    run: Run,
    data: Loaded | None = None,
    *,
    out: str | Path,
    config: Any = None,
    training: Training | None = None,
    **options: Any,
) -> Run:
    """Fit the faster model that a run teaches, from the run's averaged weights, into a directory of its own.

    data      None: what the run itself was fitted on; its space must be the run's.
    config    the pupil's settings, its backbone the run's; those of ``pupil(run)`` where None.
    training  the pupil's recipe for this data where None.
    options   as ``fit`` has them: steps, minutes, examples, seed, hooks, say ...

    The teacher stays in the new run's weights, so that the directory stands on its own and ``fit --resume`` goes on.
    Raises ValueError for a run that teaches nobody, and for data or a network that are not the run's.
    """
    family, settings = pupil(run)
    loaded = data if data is not None else run.data()
    if loaded.train.space != run.recipe.space:
        raise ValueError(f"{loaded.train.name} has another space than {run.path}; open it with the same options")
    told = f"taught by {run.path} ({run.recipe.family}, weights {run.recipe.files[WEIGHTS][:12]})"
    return fit(
        family,
        dataclasses.replace(loaded, notes=(*loaded.notes, told)),
        out=out,
        config=config or settings,
        training=training,
        codec=kept_codec(run.path),
        begin=lambda model: model.learn_from(weights(learnt(run.model))),
        **options,
    )
