"""``styles`` and ``project``: what the styles of a style-based generator hold, and the style of a given picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from simulacra.cli.inputs import examples
from simulacra.cli.parse import Count, parse, positionals
from simulacra.cli.words import say
from simulacra.core.batch import Batch
from simulacra.core.capabilities import require
from simulacra.core.space import Classes
from simulacra.modalities import grids
from simulacra.modalities.images import to_uint8
from simulacra.modalities.samples import write_samples
from simulacra.runs import Run, load
from simulacra.uses.project import project
from simulacra.uses.styles import Styled, drawn_styles, mixture, shown, truncations


@dataclasses.dataclass(frozen=True, kw_only=True)
class Showing:
    """What is shown of the styles.

    Attributes:
        show: mixing: a row for each picture whose coarse layers are heard, a column for each whose fine layers are, the
            two themselves first; truncation: a row for each picture, drawn to the mean style by each of --psi.
        out: FILE.png: the grid.
        n: pictures down, and across where styles are mixed.
        cut: layers that hear the coarse style; half of them unless given.
        psi: shares of the distance from the mean style: 1 is the picture itself, 0 the mean, -1 its opposite.
        y: the class of all pictures, by name or number; all classes in turn unless given.
        seed: of the styles that are drawn.
    """

    show: Literal["mixing", "truncation"] = "mixing"
    out: Path = Path("styles.png")
    n: Count = 6
    cut: int | None = None
    psi: tuple[float, ...] = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)
    y: str | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Projecting:
    """What is projected, and for how long.

    Attributes:
        out: FILE.png: each picture beside the one that was found. FILE.npy, FILE.npz or a folder: those found alone.
        y: the class of the pictures, by name or number; their own where it is known.
        n: at most so many of the pictures.
        steps: of the search.
        seed: of the noise in the search.
    """

    out: Path = Path("projected.png")
    y: str | None = None
    n: Count = 4
    steps: int = 1000
    seed: int = 0


def main_styles(arguments: Sequence[str]) -> None:
    """A grid of mixed styles, or of styles drawn to their mean."""
    found, rest = positionals(arguments, ("RUN",), "styles")
    options = parse(Showing, rest, verb="styles RUN")
    run = load(found[0])
    model = require(run.model, Styled, "styles")
    y = _labels(run, options.y, options.n)
    w = drawn_styles(model, options.n, y=y, rng=options.seed)
    if options.show == "truncation":
        rows = truncations(model, w, options.psi, y=y)
        said = f"psi {', '.join(f'{p:g}' for p in options.psi)} across"
    else:
        other = drawn_styles(model, options.n, y=y, rng=options.seed + 1)
        cut = w.shape[1] // 2 if options.cut is None else options.cut
        inside = mixture(model, w, other, cut)
        with torch.no_grad():
            across, down = shown(model, other), shown(model, w)
        # where the first row meets the first column is no picture: white
        corner = torch.full_like(down[:1], float(run.recipe.space.only.high))  # type: ignore[union-attr]
        rows = torch.cat([torch.cat([corner, across])[None], torch.cat([down[:, None], inside], dim=1)])
        said = f"down: the first {cut} of {w.shape[1]} layers; across: the others"
    say(write_samples(Batch(x=rows.flatten(0, 1)), run.recipe.space, options.out, columns=rows.shape[1]))
    say(said)


def main_project(arguments: Sequence[str]) -> None:
    """Find the style that shows a picture best; INPUT "held-out" takes the run's own held-out part."""
    found, rest = positionals(arguments, ("RUN", "INPUT"), "project")
    options = parse(Projecting, rest, verb="project RUN INPUT")
    run = load(found[0])
    require(run.model, Styled, "project")
    x, y = examples(run, found[1], n=options.n, y=options.y, seed=options.seed)
    result = project(run.model, x, y=y, steps=options.steps, rng=options.seed)
    say(f"mean squared error {float(result.error.mean()):.4g} over {len(x)} pictures, in units of their scale")
    space = run.recipe.space
    if options.out.suffix.lower() == ".png":
        grids.pairs(to_uint8(x, space), to_uint8(result.x, space)).save(options.out)
        say(f"{options.out}: {len(x)} pairs, the picture and what was found")
    else:
        say(write_samples(Batch(x=result.x), space, options.out))


def _labels(run: Run, y: str | None, n: int) -> Tensor | None:
    labels = run.labels(y, n)
    if labels is None and isinstance(run.recipe.space.y, Classes):
        return torch.arange(n) % len(run.recipe.space.classes)
    return labels
