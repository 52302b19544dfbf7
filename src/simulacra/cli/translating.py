"""``translate`` and ``redraw``: pictures for what is given, and pictures drawn again from what noise leaves of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simulacra.cli import between
from simulacra.cli.inputs import HELD_OUT, examples
from simulacra.cli.parse import Count, positionals
from simulacra.cli.sample import with_own
from simulacra.cli.words import say
from simulacra.core.batch import Batch
from simulacra.core.capabilities import ConditionalSampler, Denoiser, Translator, require
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.modalities import grids
from simulacra.modalities.conditions import as_pictures, picture_given, read_conditions
from simulacra.modalities.given import Derived, given_by
from simulacra.modalities.images import to_uint8
from simulacra.modalities.samples import is_pictures, write_samples
from simulacra.runs import Run, load
from simulacra.uses.redraw import level_of, redraw
from simulacra.uses.translate import translate

GRIDS = (".png", ".jpg", ".jpeg", ".gif")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translating:
    """What is given, how often it is drawn for, and where to.

    Attributes:
        out: FILE.png: a row for each picture that is given, that first, then the draws. FILE.npy, FILE.npz or a folder:
            the draws alone.
        n: draws for each picture.
        examples: at most so many of the pictures.
        whole: INPUT holds whole pictures: what is given is made of them first (grey, a sketch ...), and they are shown.
        seed: of what is drawn.
    """

    out: Path = Path("translated.png")
    n: Count = 4
    examples: int = 8
    whole: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redrawing:
    """How much is forgotten, and what it is to become.

    Attributes:
        strength: how much of each picture is forgotten: 0 returns it, 1 leaves nothing of it.
        out: FILE.png: a row for each picture, itself first, then the draws. FILE.npy, FILE.npz or a folder: the draws.
        n: draws for each picture.
        examples: at most so many of the pictures.
        y: the class or the caption that it is drawn as; its own, where it is known, unless given.
        guidance: 1 draws what is asked for; more exaggerates it.
        steps: of the solver at strength 1, fewer in proportion.
        seed: of what is drawn.
    """

    strength: float = 0.5
    out: Path = Path("redrawn.png")
    n: Count = 4
    examples: int = 8
    y: str | None = None
    guidance: float = 1.0
    steps: int = 32
    seed: int = 0


def main_translate(arguments: Sequence[str]) -> None:
    """Draw pictures for those that are given: in colour, of high resolution, from a sketch; INPUT may be "held-out"."""
    found, rest = positionals(arguments, ("RUN", "INPUT"), "translate")
    if not found:
        with_own(Translating(), None, (), rest, "translate RUN INPUT")
        return
    run = load(found[0])
    if isinstance(run.model, Translator):
        between.translate_to(run, found[1], rest)
        return
    sampler = require(run.model, ConditionalSampler, "translate")
    verb = "translate RUN INPUT"
    options, own = with_own(Translating(), sampler.sample_given, ("y", "y_length", "rng"), rest, verb)
    y, whole = _given(run, found[1], options)
    draws = translate(run.model, y, draws=options.n, rng=options.seed, options=own)
    assert isinstance(draws, Tensor)
    columns = [as_pictures(y, run.recipe.space)]
    if whole is not None:
        columns.append(to_uint8(whole, run.recipe.space))
    said = "what is given, the picture it was made of" if whole is not None else "what is given"
    _write(run, columns, draws, options.out, said)


def main_redraw(arguments: Sequence[str]) -> None:
    """Noise pictures and take the noise out again (SDEdit); INPUT "held-out" takes the run's own held-out part."""
    found, rest = positionals(arguments, ("RUN", "INPUT"), "redraw")
    options, _ = with_own(Redrawing(), None, (), rest, "redraw RUN INPUT")
    run = load(found[0])
    require(run.model, Denoiser, "redraw")
    space = run.recipe.space
    x, y = examples(run, found[1], n=options.examples, y=options.y, seed=options.seed)
    many, labels = x.repeat(options.n, 1, 1, 1), None if y is None else y.repeat(options.n, *[1] * (y.ndim - 1))
    draws = redraw(
        run.model, many, options.strength, y=labels, guidance=options.guidance, steps=options.steps, rng=options.seed
    )
    assert isinstance(draws, Tensor)
    known = "" if y is not None or not isinstance(space.y, Classes) else "; of no known class"
    level = f"strength {options.strength:g}, noise of {level_of(options.strength):.3g} standard deviations{known}"
    say(level if options.strength else "strength 0: nothing is forgotten")
    _write(run, [to_uint8(x, space)], draws.reshape(options.n, len(x), *x.shape[1:]), options.out, "the picture")


def _given(run: Run, source: str, options: Translating) -> tuple[Tensor, Tensor | None]:
    """What is given, and the pictures it was made of, where they are known."""
    space = run.recipe.space
    if picture_given(space) is None or not is_pictures(space):
        raise ValueError("this model is given no pictures to draw pictures for; draw from it with sample, and --y")
    if source == HELD_OUT:
        held = run.data().held_out
        batch = held.batch(torch.arange(min(options.examples, len(held))), Rng(options.seed))
        assert isinstance(batch.x, Tensor)
        assert isinstance(batch.y, Tensor)
        return batch.y, batch.x
    if not options.whole:
        return read_conditions(source, space)[: options.examples], None
    how = run.recipe.data["options"].get("given")
    by = None if how is None else given_by(how)
    if not isinstance(by, Derived):
        raise ValueError(
            "this run's data does not say what was made of its pictures; give what it is given, not --whole"
        )
    x, _ = examples(run, source, n=options.examples)
    return by(x, Rng(options.seed)("given")), x


def _write(run: Run, columns: list[np.ndarray], draws: Tensor, out: Path, said: str) -> None:
    """A grid, a row for each picture; an array or a folder holds the draws (draws, n, c, h, w) alone."""
    space = run.recipe.space
    if out.suffix.lower() not in GRIDS:
        say(write_samples(Batch(x=draws.flatten(0, 1)), space, out))
        return
    rows = np.stack([*columns, *(to_uint8(d, space) for d in draws)], 1)
    grids.grid(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1]).save(out)
    say(f"{out}: {len(rows)} rows: {said}, {len(draws)} draws")
