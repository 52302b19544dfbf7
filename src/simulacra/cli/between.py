"""``translate`` for models that turn examples of one class into those of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from simulacra.cli.inputs import examples
from simulacra.cli.parse import Count, parse
from simulacra.cli.words import say
from simulacra.core.batch import Batch
from simulacra.modalities import grids
from simulacra.modalities.images import to_uint8
from simulacra.modalities.samples import write_samples
from simulacra.runs import Run
from simulacra.uses.translate import translate_to as turned


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turning:
    """What the pictures are turned into, and where to.

    Attributes:
        to: the class that they become, by name or number; the one that they are not, where their own is known and
            there are two, unless given.
        out: FILE.png: each picture beside what it became. FILE.npy, FILE.npz or a folder: what they became alone.
        examples: at most so many of the pictures.
        y: their own class, where the file does not say it; not needed with --to.
    """

    to: str | None = None
    out: Path = Path("translated.png")
    examples: Count = 16
    y: str | None = None


def translate_to(run: Run, source: str, arguments: Sequence[str]) -> None:
    """Turn pictures into those of another class; the source "held-out" takes the run's own held-out part."""
    options = parse(Turning, arguments, verb="translate RUN INPUT")
    space = run.recipe.space
    x, own = examples(run, source, n=options.examples, y=options.y)
    if options.to is not None:
        y = run.labels(options.to, len(x))
    else:
        y = None if own is None or len(space.classes) != 2 else 1 - own
    if y is None:
        names = ", ".join(space.classes.names)
        raise ValueError(f"what are these pictures to become? give --to CLASS, one of {names}")
    there = turned(run.model, x, y)
    assert isinstance(there, torch.Tensor)
    if options.out.suffix.lower() == ".png":
        grids.pairs(to_uint8(x, space), to_uint8(there, space)).save(options.out)
        say(f"{options.out}: {len(x)} pairs, the picture and what it became")
    else:
        say(write_samples(Batch(x=there, y=y), space, options.out))
