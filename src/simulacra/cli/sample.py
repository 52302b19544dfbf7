"""``simulacra sample RUN -n N --out FILE``."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import tyro
from torch import Tensor

from simulacra.cli.inputs import HELD_OUT
from simulacra.cli.parse import Count, parse, positionals
from simulacra.cli.words import say
from simulacra.core.capabilities import ConditionalSampler, Sampler, require
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.modalities.samples import write_samples
from simulacra.recipes.families import SETTINGS
from simulacra.runs import load

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to draw, and where to.

    Attributes:
        n: how many examples.
        out: FILE.png for a grid, FILE.npy or FILE.npz for an array, anything else is a folder of pictures.
        y: a class, by its name or number; drawn from the labels' marginal unless given. Of a run of captions, a
            caption (--caption is the same), or "held-out" for those of its held-out part, one each.
        average: width of the weights' average, made of those a run fitted with --snapshots has stored: 0.05, 0.1 ...
        guide: another run, of a weaker model of the same data, to be guided away from (with --guidance 2, say).
        seed: the same seed draws the same examples, whatever n: the first 8 of 64 are those of 8.
    """

    n: Count = 64
    out: Path = Path("samples.png")
    y: Annotated[str | None, tyro.conf.arg(aliases=["--caption"])] = None
    average: float | None = None
    guide: Path | None = None
    seed: int = 0


def main(arguments: Sequence[str]) -> None:
    """Draw new examples from a run."""
    path, rest = positionals(arguments, ("RUN",), "sample")
    if not path:
        parse(Options, rest, verb="sample RUN")
        return
    run = load(path[0])
    if isinstance(run.model, ConditionalSampler) and not isinstance(run.model, Sampler):
        method = run.model.sample_given
    else:
        method = require(run.model, Sampler, "sample").sample
    options, own = with_own(Options(), method, ("n", "y", "y_length", "rng", "guide"), rest, "sample RUN")
    run = run if options.average is None else run.averaged(options.average)
    guide = None if options.guide is None else load(options.guide)
    y: str | Tensor | None = options.y
    if y == HELD_OUT and isinstance(run.recipe.space.y, Space):
        held = run.data().held_out
        given = held.batch(torch.arange(options.n) % len(held), Rng(options.seed)).y
        assert isinstance(given, Tensor)
        y = given
    batch = run.sample(options.n, y=y, seed=options.seed, guide=guide, **own)
    say(write_samples(batch, run.recipe.space, options.out))


def with_own(
    options: T, function: Callable[..., Any] | None, known: Sequence[str], arguments: Sequence[str], verb: str
) -> tuple[T, dict[str, Any]]:
    """A verb's options, and by name a family's own ones: the keyword-only ones of a method beside the ``known``."""
    own = None if function is None else extra_options(function, known)
    fields = [("options", Annotated[type(options), tyro.conf.arg(name="")], dataclasses.field(default=options))]
    if own is not None:
        fields.append(("own", Annotated[own, tyro.conf.arg(name="")], dataclasses.field(default=own())))
    both: Any = parse(
        dataclasses.make_dataclass("Arguments", fields, kw_only=True), arguments, verb=verb, functions=SETTINGS
    )
    return both.options, {} if own is None else vars(both.own)


def extra_options(function: Callable[..., Any], known: Sequence[str]) -> type[Any] | None:
    """A family's own keyword-only options of a method, read from its signature; None where it has none."""
    kinds = typing.get_type_hints(function)
    fields = [
        (name, kinds.get(name, Any), dataclasses.field(default=parameter.default))
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in known and parameter.kind is parameter.KEYWORD_ONLY
    ]
    return dataclasses.make_dataclass("the family's own", fields, frozen=True, kw_only=True) if fields else None
