"""``impute`` and ``inpaint``: what is missing, drawn several times over."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from simulacra.cli import tables
from simulacra.cli.inputs import classes_needed, examples, holes
from simulacra.cli.parse import Count, parse, positionals
from simulacra.cli.words import say
from simulacra.core.batch import Batch
from simulacra.core.space import Space
from simulacra.modalities import grids
from simulacra.modalities.images import picture_field, to_uint8
from simulacra.modalities.samples import is_pictures, write_samples
from simulacra.runs import Run, load
from simulacra.uses.impute import Imputed, impute


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imputing:
    """How often, and where to.

    Attributes:
        out: FILE.npy or FILE.npz: an array, all examples completed once, then all of them again ...; of a table,
            FILE.csv or FILE.parquet, each draw's rows after the last one's, numbered in a column "draw"; of a tune,
            .mid, .wav or piano rolls .png, which show the tune itself first.
        fill: of a tune: what is drawn anew: harmony (all under its highest voice), voice:N (the highest is 1), or
            bars:A-B of four quarters.
        n: draws for each example.
        y: the class of the examples, by name or number, where the model was fitted with labels.
        seed: of what is drawn.
    """

    out: Path = Path("imputed.npz")
    fill: str | None = None
    n: Count = 1
    y: str | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inpainting:
    """What is to be filled in, how often, and where to.

    Attributes:
        mask: a picture of the model's size: white where it is to be filled in, black where it is kept.
        out: FILE.png: a row for each picture: itself, what is kept of it, the draws. FILE.npy or .npz: the draws alone.
        n: draws for each picture.
        examples: at most so many of the pictures.
        y: the class of the pictures, by name or number, where the model was fitted with labels.
        seed: of what is drawn.
    """

    mask: Path
    out: Path = Path("inpainted.png")
    n: Count = 4
    examples: int = 8
    y: str | None = None
    seed: int = 0


def main_impute(arguments: Sequence[str]) -> None:
    """Fill in the NaN of an array, the empty cells of a table, or a voice of a tune."""
    found, rest = positionals(arguments, ("RUN", "INPUT"), "impute")
    options = parse(Imputing, rest, verb="impute RUN INPUT")
    run = load(found[0])
    if run.table is not None:
        out = Path("imputed.csv") if options.out == Imputing().out else options.out
        tables.impute(run, Path(found[1]), out, draws=options.n, seed=options.seed)
        return
    if run.recipe.data.get("modality") in ("music", "frames"):
        _tune(run, found[1], options)
        return
    if options.fill is not None:
        raise ValueError(f"--fill is of tunes, and this run is of {run.recipe.space.measure}; leave it out")
    if options.out.suffix not in (".npy", ".npz"):
        raise ValueError(f"{options.out}: completed examples are written as an array; expected .npy or .npz")
    x, known = holes(Path(found[1]), run)
    y = run.labels(options.y, len(x))
    classes_needed(run, y, "impute")
    done = impute(run.model, x, known, draws=options.n, y=y, rng=options.seed)
    assert isinstance(done.draws, Tensor)
    say(_said(done, int((~known).sum()), len(x)))
    say(write_samples(Batch(x=done.draws.flatten(0, 1)), run.recipe.space, options.out))


def _tune(run: Run, source: str, options: Imputing) -> None:
    """A tune filled in; a picture shows it as it was before what was drawn."""
    from simulacra.cli.music import write_tunes
    from simulacra.cli.tunes import filled

    out = Path("imputed.mid") if options.out == Imputing().out else options.out
    fill, y = options.fill or "harmony", run.labels(options.y, 1)
    before, done, drawn = filled(run, source, fill=fill, draws=options.n, y=y, seed=options.seed)
    say(f"{fill} of {len(before.bars)} bars drawn anew; draws are {done.kind} ({done.method})")
    say(write_tunes([before, *drawn] if out.suffix == ".png" else drawn, out))


def main_inpaint(arguments: Sequence[str]) -> None:
    """Draw what lies under a mask; INPUT "held-out" takes the run's own held-out part."""
    found, rest = positionals(arguments, ("RUN", "INPUT"), "inpaint")
    options = parse(Inpainting, rest, verb="inpaint RUN INPUT")
    run = load(found[0])
    space = run.recipe.space
    if not is_pictures(space):
        raise ValueError(f"inpaint works on pictures, this run's examples are {space.measure}; use impute")
    known = read_mask(options.mask, space)
    x, y = examples(run, found[1], n=options.examples, y=options.y, seed=options.seed)
    classes_needed(run, y, "inpaint")
    known = known.expand_as(x)
    done = impute(run.model, x, known, draws=options.n, y=y, rng=options.seed)
    assert isinstance(done.draws, Tensor)
    say(_said(done, int((~known).sum()), len(x)))
    _write(run, x, known, done.draws, options.out)


def read_mask(path: Path, space: Space) -> Tensor:
    """What a mask keeps, bool (1, 1, h, w): where it is darker than half. ValueError for another size or no picture."""
    try:
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: no picture that can be read; expected a mask, white where to fill in") from error
    _, h, w = picture_field(space).shape
    if grey.shape != (h, w):
        raise ValueError(
            f"{path}: a mask of {grey.shape[0]}x{grey.shape[1]}; expected {h}x{w}, as the model's pictures"
        )
    if (grey >= 128).all():
        raise ValueError(f"{path}: all of it is white, so nothing is kept; draw whole pictures with sample instead")
    if not (grey >= 128).any():
        raise ValueError(f"{path}: none of it is white, so there is nothing to fill in; expected white where to")
    return torch.from_numpy(grey < 128)[None, None]


def _said(done: Imputed, missing: int, n: int) -> str:
    return f"{missing:,} entries of {n:,} examples filled in; draws are {done.kind} ({done.method})"


def _write(run: Run, x: Tensor, known: Tensor, draws: Tensor, out: Path) -> None:
    space = run.recipe.space
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".gif"):
        say(write_samples(Batch(x=draws.flatten(0, 1)), space, out))
        return
    whole = to_uint8(x, space)
    kept = np.array(whole)
    gone = ~known.permute(0, 2, 3, 1).numpy()
    h, w = whole.shape[1:3]
    # what is gone is a chequer of greys, which is no picture's own content
    chequer = np.where((np.arange(h)[:, None] + np.arange(w)) % 2 == 0, 96, 160).astype(np.uint8)
    kept = np.where(gone, chequer[None, :, :, None], kept)
    rows = np.stack([whole, kept, *(to_uint8(d, space) for d in draws)], 1)
    grids.grid(rows.reshape(-1, *whole.shape[1:]), columns=rows.shape[1]).save(out)
    say(f"{out}: {len(x)} rows: the picture, what is kept of it, {len(draws)} draws")
