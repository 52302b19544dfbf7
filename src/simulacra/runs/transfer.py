"""A run that starts from another run's weights: what it takes over, what it begins anew, and what it stands on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from simulacra.core.capabilities import Learner
from simulacra.core.checkpoint import digest, save_tensors, write_json
from simulacra.core.checkpoint import told as faults
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.modalities.sources import Loaded
from simulacra.modalities.tokens import Encoding
from simulacra.recipes.families import FAMILIES
from simulacra.recipes.settings import to_json
from simulacra.runs.recipe import NAME, Recipe, replace
from simulacra.runs.run import ENCODING, MUSIC, TABLE, WEIGHTS, Run
from simulacra.training.carry import Axes, Carried, carry, label_axes, placed
from simulacra.training.state import named, weights

SHOWN = 6  # names said in a line


def settled(space: Space, parent: Space) -> Space:
    """A space whose continuous fields have the parent's centre and scale, in which its weights have learnt to see.

    Raises ValueError where the two have no field in common.
    """
    fields = dict(space.fields)
    if not set(fields) & set(parent.fields):
        raise ValueError(
            f"the parent models {', '.join(parent.fields)}, this data has {', '.join(fields)}: nothing fits"
            "; give data of the parent's kind"
        )
    for name, here in fields.items():
        there = parent.fields.get(name)
        if there is None:
            continue
        if isinstance(here, Categorical) != isinstance(there, Categorical):
            raise ValueError(f"{name!r} is categorical in one of parent and data and continuous in the other")
        if isinstance(here, Continuous) and isinstance(there, Continuous):
            fields[name] = dataclasses.replace(here, centre=there.centre, scale=there.scale)
    return dataclasses.replace(space, fields=fields)


def same_encoding(parent: Run, loaded: Loaded) -> None:
    """ValueError where a parent's text was cut into other tokens than this: its weights would mean others."""
    theirs, ours = parent.encoding, loaded.encoding
    if (None if theirs is None else theirs.to_json()) != (None if ours is None else ours.to_json()):
        raise ValueError(f"{parent.path} knows other tokens than this text is cut into; cut both into bytes or letters")
    if parent.music != loaded.music:
        raise ValueError(f"{parent.path} knows other events than this music has; fit it anew, or give the same music")


def same_table(parent: Run, loaded: Loaded) -> None:
    """ValueError where a parent's columns became other fields than these: its weights would mean others."""
    theirs, ours = parent.table, loaded.table
    if (None if theirs is None else theirs.to_json()) != (None if ours is None else ours.to_json()):
        raise ValueError(f"{parent.path} knows its columns by other values than this table has; fit it anew, or give "
                         "the same table")  # fmt: skip


def grown(recipe: Recipe) -> Axes:
    """What of a recipe's model belongs to classes; nothing where its condition is another space."""
    if isinstance(recipe.space.y, Space):
        return {}
    family = FAMILIES[recipe.family]
    return label_axes(lambda classes: family.build(recipe.config, dataclasses.replace(recipe.space, y=classes)))


def take_over(model: Any, recipe: Recipe, parent: Run, axes: Axes) -> Carried:
    """A parent's averaged weights into a new model, in place; ValueError where nothing fits."""
    if not isinstance(model, Learner):
        raise ValueError(f"{recipe.family} learns in closed form: it has no weights to start from; leave --from out")
    ours, theirs = ((s.y if isinstance(s.y, Classes) else None) for s in (recipe.space, parent.recipe.space))
    return carry(model, placed(model, parent.model), axes, ours=ours, theirs=theirs)


def learnt_before(model: Any, carried: Carried) -> None:
    """ValueError where a weight that is not to learn was not taken over: it would stay as it was drawn."""
    anew = {*carried.anew}
    if missing := [name for name, t in named(model).items() if name in anew and _frozen(t)]:
        raise ValueError(f"{missing[0]} is frozen, but the parent has none of its shape; freeze less, or give data of"
                         " the parent's channels")  # fmt: skip


def _frozen(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and not tensor.requires_grad


def lineage(parent: Run, carried: Carried, folder: Path) -> dict[str, Any]:
    """What ``recipe.json`` keeps of it: the parent, by its place and hashes, its own parents, and each name's fate."""
    about = {
        "path": os.path.relpath(parent.path.resolve(), folder.resolve()),
        "family": parent.recipe.family,
        "data": parent.recipe.data.get("name"),
        "recipe": digest(parent.path / NAME) if (parent.path / NAME).exists() else None,
        "weights": parent.recipe.files.get(WEIGHTS),
    }
    before = parent.recipe.lineage.get("ancestors", [])
    fates = {name: list(value) for name, value in dataclasses.asdict(carried).items()}
    return {"parent": about, "ancestors": [about["weights"], *before], **fates}


def told(parent: Run, carried: Carried) -> list[str]:
    """What was taken over and what begins anew, in plain lines."""
    lines = [
        f"starts from {parent.path} ({parent.recipe.family} on {parent.recipe.data.get('name')}):"
        f" {len(carried.whole)} tensors taken over"
    ]
    if carried.partly:
        lines.append(f"taken over for the classes both know: {_few(carried.partly)}")
    if carried.anew:
        lines.append(f"begun anew: {_few(carried.anew)}")
    return lines


def _few(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def write_merged(run: Run, folder: Path) -> Run:
    """A run of the same model in another directory, its adapters added to its weights: it stands on no other run.

    Raises ValueError for a run without adapters, and for a directory that is not empty.
    """
    if run.recipe.adapter is None:
        raise ValueError(f"{run.path} has no adapters to merge; it is whole as it is")
    about = {**run.recipe.lineage, "merged": to_json(run.recipe.adapter)}
    return _write(
        replace(run.recipe, adapter=None, lineage=about),
        run.model,
        folder,
        {ENCODING: run.encoding, TABLE: run.table, MUSIC: run.music},
    )


def write_imported(recipe: Recipe, model: Any, source: Path, folder: Path, encoding: Encoding | None = None) -> Run:
    """What was read from another library's directory as a run; ValueError for a directory that is not empty."""
    about = {"path": os.path.relpath(source.resolve(), folder.resolve()), "weights": recipe.files[WEIGHTS]}
    return _write(replace(recipe, lineage={"imported": about, "ancestors": [about["weights"]]}), model, folder,
                  {ENCODING: encoding})  # fmt: skip


def _write(recipe: Recipe, model: Any, folder: Path, encodings: Mapping[str, Any] | None = None) -> Run:
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; give an empty or a new folder with --out")
    with faults(f"make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    kept = {f"model/{name}": tensor for name, tensor in weights(model).items()}
    files = {WEIGHTS: save_tensors(folder / WEIGHTS, kept)}
    for name, encoding in (encodings or {}).items():
        if encoding is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            write_json(folder / name, encoding.to_json())
            files[name] = digest(folder / name)
    recipe = replace(recipe, files=files)
    recipe.write(folder)
    return Run(folder, recipe, model)
