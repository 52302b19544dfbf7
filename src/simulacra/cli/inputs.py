"""Which examples a verb works on: those of a file, with labels where it has them, or the run's own held-out part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Data
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Space
from simulacra.modalities import arrays, images
from simulacra.modalities.captions import is_captions
from simulacra.modalities.names import KNOWN
from simulacra.modalities.samples import is_pictures, read_labelled
from simulacra.modalities.sources import TOYS, open_data
from simulacra.runs import Run

HELD_OUT = "held-out"


def examples(
    run: Run, source: str, *, n: int | None, y: str | None = None, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """At most n examples and their labels: ``y`` for all of them, or those they came with, or None."""
    if source == HELD_OUT:
        data, labels = run.data().held_out, None
    else:
        data, labels = read_labelled(source, run.recipe.space)
    count = len(data) if n is None else min(n, len(data))
    batch = data.batch(torch.arange(count), Rng(seed))
    if not isinstance(batch.x, Tensor):
        raise ValueError(f"examples of one field are read from files; {source} has several")
    if y is not None:
        return batch.x, run.labels(y, count)
    if source == HELD_OUT and run.recipe.space.y is not None and isinstance(batch.y, Tensor):
        labels = batch.y
    return batch.x, None if labels is None else labels[:count]


def classes_needed(run: Run, y: Tensor | None, verb: str) -> None:
    """ValueError where a model of classes, or one that is given something, is to be asked for examples of none."""
    if y is None and isinstance(run.recipe.space.y, Space):
        what = "--y CAPTION" if is_captions(run.recipe.space.y) else f'INPUT "{HELD_OUT}", whose it knows'
        raise ValueError(f"this model draws for a condition; {verb} needs that of the examples: {what}")
    if y is None and isinstance(run.recipe.space.y, Classes):
        names = ", ".join(run.recipe.space.classes.names[:12])
        raise ValueError(
            f"this model was fitted with labels; {verb} needs the class of the examples: --y, one of {names}"
        )


def others(run: Run, source: str) -> Data:
    """Examples that need not be the run's: the held-out part of data known by name, a file, or the run's own."""
    if source == HELD_OUT:
        return run.data().held_out
    space = run.recipe.space
    if source not in KNOWN and source not in TOYS and source != "sprites":
        return read_labelled(source, space)[0]
    options = {k: v for k, v in run.recipe.data["options"].items() if k in ("size", "channels", "binarise")}
    found = open_data(source, **options).held_out
    if found.space.only.shape != space.only.shape or getattr(found.space.only, "levels", None) != getattr(
        space.only, "levels", None
    ):
        raise ValueError(
            f"{source} has examples of {found.space.measure} {found.space.only.shape}, this model's are"
            f" {space.measure} {space.only.shape}; give data of that kind"
        )
    return found


def holes(path: Path, run: Run) -> tuple[Tensor, Tensor]:
    """Examples of an array file in which NaN marks what is missing: x with NaN, and what is known, bool.

    Pictures as in ``arrays.pictures_from``, floats (n, h, w, c) or (n, c, h, w); points (n, d).
    """
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: what is missing is marked by NaN in an array; expected .npy or .npz")
    found = arrays.read_arrays(path)
    values = np.array(found.get("x", next(iter(found.values()))))
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"{path.name}: {values.dtype}; expected floats, NaN where a value is missing")
    space, known = run.recipe.space, ~np.isnan(values)
    if not known.any():
        raise ValueError(f"{path.name}: nothing is known; draw whole examples with sample instead")
    if not is_pictures(space):
        return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(known)
    field = images.picture_field(space)
    c, h, w = field.shape
    if values.shape[1:] == (h, w, c):
        values, known = values.transpose(0, 3, 1, 2), known.transpose(0, 3, 1, 2)
    elif values.shape[1:] == (h, w) and c == 1:
        values, known = values[:, None], known[:, None]
    if values.shape[1:] != field.shape:
        raise ValueError(f"{path.name}: shape {values.shape}; expected pictures (n, {h}, {w}, {c}), as the model's own")
    # what is missing takes a known value while the scale is recognised
    plain = np.where(known, values, values[known].flat[0])
    pictures, _ = arrays.pictures_from(plain, path.name, "nchw")
    level = torch.from_numpy(np.rint(pictures * (((field.levels or 256) - 1) / 255)).astype(np.int64))
    x = field.value(level.to(torch.get_default_dtype()))
    mask = torch.from_numpy(np.ascontiguousarray(known))
    return torch.where(mask, x, torch.nan), mask
