"""``reconstruct``, ``interpolate``, ``denoise``, ``edit``, ``traverse``: uses that show what a latent space holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from simulacra.cli.inputs import classes_needed, examples
from simulacra.cli.parse import Count, parse, positionals
from simulacra.cli.words import say
from simulacra.core.batch import Batch
from simulacra.core.capabilities import Codec, Labelled, require
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.modalities import films, grids, strips
from simulacra.modalities.images import to_uint8
from simulacra.modalities.samples import is_pictures, write_samples
from simulacra.modalities.sources import open_data
from simulacra.runs import Run, load
from simulacra.uses.denoise import denoise
from simulacra.uses.edit import STRENGTHS, codes, direction, edit, exchange
from simulacra.uses.interpolate import interpolate, interpolate_latents
from simulacra.uses.reconstruct import error, reconstruct
from simulacra.uses.styles import components, factors, traverse_styles
from simulacra.uses.traverse import Traversal, traverse

RANKED = 1000  # held-out examples that latent dimensions are ranked by


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """Where to, and for which class.

    Attributes:
        out: FILE.png for a grid, FILE.npy or FILE.npz for an array, anything else is a folder of pictures.
        y: the class of the examples, by name or number, where the model was fitted with labels.
        n: at most so many of the examples.
        seed: of whatever is drawn.
    """

    out: Path = Path("out.png")
    y: str | None = None
    n: Count = 64
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk(Output):
    """Walks between examples; FILE.gif or FILE.mp4 shows them as a film, there and back.

    Attributes:
        steps: pictures on each walk, its ends included.
        between: examples to walk between, each to the next; codes drawn at random unless given.
    """

    n: Count = 8
    steps: int = 10
    between: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise(Output):
    """Noise of known strength.

    Attributes:
        sigma: standard deviation of the noise, in units of the pixel range -1 .. 1.
        add: add such noise first (to see what denoising does to clean pictures) and write both.
    """

    sigma: float = 0.5
    add: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traverse:
    """Walks along single latent dimensions.

    Attributes:
        out: FILE.png for a picture, FILE.html for a page with sliders.
        y: the class of what is drawn, by name or number, where the model was fitted with labels; the first unless
            given.
        example: number of the held-out example whose code all walks pass through; the middle of the prior unless
            given.
        rows: at most so many dimensions, those that tell most.
        steps: pictures a row; 9 for a picture and 41 for a page unless given.
        directions: latent dimensions; or of a style-based generator those directions of its styles that its weights
            hear most (sefa), or that styles vary along most (pca).
        reach: the walk goes from -reach to reach, in standard deviations of the prior.
        seed: of the code that a model without an encoder starts from.
    """

    out: Path = Path("traversal.png")
    y: str | None = None
    example: int | None = None
    rows: Count = 16
    steps: int | None = None
    directions: Literal["latent", "sefa", "pca"] = "latent"
    reach: float = 2.0
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit(Output):
    """Where to move examples.

    Attributes:
        towards: the class to move towards, by name or number.
        strengths: how far, in units of the distance between the mean codes; 0 is the reconstruction.
    """

    n: Count = 8
    towards: str | None = None
    strengths: tuple[float, ...] = STRENGTHS


def main_reconstruct(arguments: Sequence[str]) -> None:
    """Examples through the latent space and back; INPUT "held-out" takes the run's own held-out part."""
    (path, source), options = _given(arguments, ("RUN", "INPUT"), Output, "reconstruct")
    run = load(path)
    x, y = _examples(run, source, options)
    again = reconstruct(run.model, x, y=y)
    say(f"mean squared error {float(error(x, again).mean()):.4g} over {len(x)} examples")
    assert isinstance(again, Tensor)
    _write(run, x, again, options)


def main_denoise(arguments: Sequence[str]) -> None:
    """Remove noise of known strength."""
    (path, source), options = _given(arguments, ("RUN", "INPUT"), Noise, "denoise")
    run = load(path)
    x, y = _examples(run, source, options)
    noisy = x
    if options.add:
        noisy = x + options.sigma * Rng(options.seed)("noise").normal(x.shape)
    clean = denoise(run.model, noisy, options.sigma, y=y, rng=options.seed)
    if options.add:
        before, after = (float(error(x, other).mean()) for other in (noisy, clean))
        say(f"mean squared error {before:.4g} noisy, {after:.4g} denoised")
    _write(run, noisy, clean, options)


def main_interpolate(arguments: Sequence[str]) -> None:
    """Walks between examples in latent space."""
    (path,), options = _given(arguments, ("RUN",), Walk, "interpolate")
    run = load(path)
    if options.between is None:
        y = run.labels(options.y, options.n)
        if y is None and isinstance(run.model, Labelled):
            y = torch.arange(options.n) % len(run.recipe.space.classes)
        walks = interpolate_latents(run.model, options.n, steps=options.steps, y=y, rng=options.seed)
    else:
        x, y = _examples(run, options.between, options)
        if len(x) < 2:
            raise ValueError(f"a walk needs two examples to go between; {options.between} has {len(x)}")
        walks = interpolate(run.model, x[:-1], x[1:], steps=options.steps, y=None if y is None else y[:-1])
    flat = walks.flatten(0, 1)
    if options.out.suffix.lower() in films.SUFFIXES and is_pictures(run.recipe.space):
        frames = to_uint8(flat, run.recipe.space)
        say(films.film(frames.reshape(*walks.shape[:2], *frames.shape[1:]), options.out))
        return
    say(write_samples(Batch(x=flat), run.recipe.space, options.out, columns=options.steps))


def main_traverse(arguments: Sequence[str]) -> None:
    """Walks along the latent dimensions that tell most."""
    (path,), options = _given(arguments, ("RUN",), Traverse, "traverse")
    run = load(path)
    space = run.recipe.space
    kind = options.out.suffix.lower()
    if kind not in (".png", ".html") or not is_pictures(space):
        raise ValueError(f"traverse writes pictures as .png or .html; got {options.out.name} of {space.measure}")
    y = run.labels(options.y, 1)
    if y is None and isinstance(space.y, Classes) and isinstance(run.model, Labelled):
        y = torch.zeros(1, dtype=torch.int64)
    steps = options.steps or (9 if kind == ".png" else 41)
    found = _along_styles(run, options, y, steps) if options.directions != "latent" else _along(run, options, y, steps)
    frames = to_uint8(found.frames.flatten(0, 1), space)
    frames = frames.reshape(len(found.dimensions), steps, *frames.shape[1:])
    if kind == ".png":
        strips.captioned(list(frames), found.captions()).save(options.out)
    else:
        title = f"Latent dimensions of {run.recipe.family} on {run.recipe.data.get('name')}"
        order = "information (KL from the prior)" if found.measure == "nats" else "change"
        about = f"{len(frames)} of {found.of} latent dimensions, in the order of their {order}."
        text = strips.page(frames, found.captions(), found.at.tolist(), title=title, about=about)
        options.out.write_text(text, encoding="utf-8")
    say(f"{options.out}: {', '.join(found.captions()[:4])}{' ...' if len(frames) > 4 else ''}")


def _along_styles(run: Run, options: Traverse, y: Tensor | None, steps: int) -> Traversal:
    """Walks along directions of a style-based generator's styles."""
    if options.example is not None:
        raise ValueError("walks along styles start from a style that is drawn; leave --example out")
    directions, tells = factors(run.model) if options.directions == "sefa" else components(run.model, y=y)
    return traverse_styles(
        run.model, directions, tells, y=y, steps=steps, reach=options.reach, rows=options.rows, rng=options.seed
    )


def _along(run: Run, options: Traverse, y: Tensor | None, steps: int) -> Traversal:
    """Walks along latent dimensions, through the code of a held-out example where one is asked for."""
    seen, start = None, None
    if isinstance(run.model, Codec):
        held = run.data().held_out
        given = held.batch(torch.arange(min(RANKED, len(held))), Rng(options.seed))
        if isinstance(given.y, Tensor) and y is not None and bool((given.y == y).any()):
            given = given.rows((given.y == y).nonzero()[:, 0])
        seen = given.x
        if options.example is not None:
            if not 0 <= options.example < len(held):
                raise ValueError(f"held-out examples are numbered 0 .. {len(held) - 1}; got {options.example}")
            one = held.batch(torch.tensor([options.example]), Rng(options.seed))
            y = one.y if isinstance(one.y, Tensor) and options.y is None else y
            with torch.no_grad():
                start = run.model.encode(one.x, y=y)[0]
    elif options.example is not None:
        raise ValueError("this model has no encoder to find an example's code with; leave --example out")
    return traverse(
        run.model, start=start, examples=seen, y=y, steps=steps, reach=options.reach, rows=options.rows,
        rng=options.seed,
    )  # fmt: skip


def main_edit(arguments: Sequence[str]) -> None:
    """Move examples towards a class: along the direction between codes, or, by a model of classes, under that class."""
    (path, source), options = _given(arguments, ("RUN", "INPUT"), Edit, "edit")
    run = load(path)
    require(run.model, Codec, "edit")
    if options.towards is None:
        raise ValueError("edit needs to know what towards: --towards LABEL, a class of the data")
    x, y = _examples(run, source, options)
    space = run.recipe.space
    if isinstance(space.y, Classes):
        # the class is no part of the code here: the same code under the other class is the edit
        assert y is not None
        to = run.labels(options.towards, len(x))
        assert to is not None
        columns = [x, exchange(run.model, x, y, y), exchange(run.model, x, y, to)]
        said = f"the example, its reconstruction, and the same code as {options.towards}"
    else:
        loaded = open_data(run.recipe.data["source"], **_with_labels(run.recipe.data["options"]))
        towards = loaded.train.space.classes.index(options.towards)
        z, labels = codes(run.model, loaded.train, rng=options.seed)
        strip = edit(run.model, x, direction(z, labels == towards), strengths=options.strengths)
        columns = [x, *strip.unbind(1)]
        said = f"the example, then strengths {', '.join(f'{s:g}' for s in options.strengths)} towards {options.towards}"
    rows = torch.stack(columns, 1)
    say(write_samples(Batch(x=rows.flatten(0, 1)), space, options.out, columns=len(columns)))
    say(f"a row: {said}")


def _with_labels(options: Mapping[str, Any]) -> dict[str, Any]:
    """How the run's data is opened, its labels kept even where the run left them aside."""
    return {name: value for name, value in options.items() if not (name == "labels" and Path(value).name == "none")}


def _given(arguments: Sequence[str], names: Sequence[str], kind: type, verb: str) -> tuple[list[str], Any]:
    found, rest = positionals(arguments, names, verb)
    return found, parse(kind, rest, verb=f"{verb} {' '.join(names)}")


def _examples(run: Run, source: str, options: Output) -> tuple[Tensor, Tensor | None]:
    """Examples from a file, or the run's own held-out part with its labels."""
    x, y = examples(run, source, n=options.n, y=options.y, seed=options.seed)
    classes_needed(run, y, "this")
    return x, y


def _write(run: Run, before: Tensor, after: Tensor, options: Output) -> None:
    """A grid shows both; an array or a folder holds the result alone."""
    space = run.recipe.space
    if options.out.suffix.lower() in (".png", ".jpg", ".jpeg", ".gif") and is_pictures(space):
        image = grids.pairs(to_uint8(before, space), to_uint8(after, space))
        image.save(options.out)
        say(f"{options.out}: {len(before)} pairs, before and after")
    else:
        say(write_samples(Batch(x=after), space, options.out))
