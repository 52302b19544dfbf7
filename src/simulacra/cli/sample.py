"""``simulacra sample RUN -n N --out FILE``."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from simulacra.cli.parse import Count, parse, positionals
from simulacra.cli.words import say
from simulacra.core.capabilities import Sampler, require
from simulacra.modalities.samples import write_samples
from simulacra.runs import load


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to draw, and where to.

    Attributes:
        n: how many examples.
        out: FILE.png for a grid, FILE.npy or FILE.npz for an array, anything else is a folder of pictures.
        y: a class, by its name or number; drawn from the labels' marginal unless given.
        average: width of the weights' average, made of those a run fitted with --snapshots has stored: 0.05, 0.1 ...
        guide: another run, of a weaker model of the same data, to be guided away from (with --guidance 2, say).
        seed: the same seed draws the same examples, whatever n: the first 8 of 64 are those of 8.
    """

    n: Count = 64
    out: Path = Path("samples.png")
    y: str | None = None
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
    own = extra_options(require(run.model, Sampler, "sample").sample, ("n", "y", "rng", "guide"))
    fields = [("options", Annotated[Options, tyro.conf.arg(name="")], dataclasses.field(default=Options()))]
    if own is not None:
        fields.append(("own", Annotated[own, tyro.conf.arg(name="")], dataclasses.field(default=own())))
    both: Any = parse(dataclasses.make_dataclass("Sample", fields, kw_only=True), rest, verb="sample RUN")
    options: Options = both.options
    run = run if options.average is None else run.averaged(options.average)
    guide = None if options.guide is None else load(options.guide)
    its_own = {} if own is None else vars(both.own)
    batch = run.sample(options.n, y=options.y, seed=options.seed, guide=guide, **its_own)
    say(write_samples(batch, run.recipe.space, options.out))


def extra_options(function: Callable[..., Any], known: Sequence[str]) -> type[Any] | None:
    """A family's own keyword-only options of a method, read from its signature; None where it has none."""
    kinds = typing.get_type_hints(function)
    fields = [
        (name, kinds.get(name, Any), dataclasses.field(default=parameter.default))
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in known and parameter.kind is parameter.KEYWORD_ONLY
    ]
    return dataclasses.make_dataclass("the family's own", fields, frozen=True, kw_only=True) if fields else None
