"""What a run is before its first step: a model as it is drawn, or with the weights of the run that it starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulacra.core.batch import Data
from simulacra.recipes.families import FAMILIES
from simulacra.runs import adapting, transfer
from simulacra.runs.recipe import Recipe, replace
from simulacra.runs.run import Run, parent_of
from simulacra.training import resume as going_on
from simulacra.training.carry import Carried, counting
from simulacra.training.loop import closed_form


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model as it is before its first step, and what is to be learnt by counting; said: where its weights are from.

    begin  leaves alone what is taken over from a parent.
    """

    recipe: Recipe
    model: Any
    begin: Callable[[Any, Data], None] = closed_form
    said: Sequence[str] = ()


def start(recipe: Recipe, folder: Path, parent: Run | None) -> Start:
    """First weights: drawn, or taken over from a parent where there is one; and the recipe that says which.

    A run that goes on reads its weights from its own state; the parent is needed if there is none yet.
    """
    model = FAMILIES[recipe.family].build(recipe.config, recipe.modelled, rng=recipe.training.seed)
    frozen = getattr(recipe.config, "frozen", 0)
    if parent is None and not recipe.lineage:
        if frozen:
            raise ValueError(
                f"frozen={frozen} keeps layers of a critic that has learnt; give the run it is of as --from"
            )
        return Start(recipe=recipe, model=model)
    axes, said = transfer.grown(recipe), []
    if not recipe.lineage or going_on.latest(folder) is None:
        parent = parent_of(recipe, folder) if recipe.lineage or parent is None else parent
        carried = transfer.take_over(model, recipe, parent, axes)
        if frozen:
            transfer.learnt_before(model, carried)
        recipe = replace(recipe, lineage=transfer.lineage(parent, carried, folder))
        said = transfer.told(parent, carried)
    else:
        carried = Carried(**{f.name: tuple(recipe.lineage[f.name]) for f in dataclasses.fields(Carried)})
    if recipe.adapter is not None:
        adapting.adapt(model, recipe)
        said.append(f"{learning(model):,} numbers learn beside them, the others stay as they are")
    return Start(recipe=recipe, model=model, begin=counting(carried, axes), said=said)


def learning(model: Any) -> int:
    """Number of learnable numbers that are not frozen."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
