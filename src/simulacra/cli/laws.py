"""``simulacra laws RUN|MODULE:FACTORY``."""

from __future__ import annotations

import dataclasses
import json as json_
import sys
from collections.abc import Sequence
from pathlib import Path

from simulacra import laws
from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import Loading, say
from simulacra.modalities.sources import open_data
from simulacra.recipes.families import FAMILIES
from simulacra.runs import load


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Loading):
    """What the laws are tried on.

    Attributes:
        data: examples to try the laws on, a path or a known name; drawn at random from the model's space unless given.
        seed: of everything that is drawn.
        json: print the results as JSON.
    """

    data: str | None = None
    seed: int = 0
    json: JsonFlag = False


def main(arguments: Sequence[str]) -> None:
    """Put a model through the laws that its capabilities imply; exit 1 where one is broken."""
    target, rest = positionals(arguments, ("RUN|MODULE:FACTORY",), "laws")
    options = parse(Options, rest, verb="laws RUN|MODULE:FACTORY")
    data = None if options.data is None else open_data(options.data, **options.options()).held_out
    if Path(target[0]).is_dir():
        run = load(target[0])
        data = data or run.data().held_out
        # each law gets a model of its own, carrying the run's weights
        results = laws.check(lambda: load(target[0]).model, data, options.seed)
    elif target[0] in FAMILIES:
        raise ValueError(f"laws are tried on a model, not a family; fit one first: simulacra fit {target[0]} DATA")
    else:
        results, _ = laws.run(target[0], data, options.seed)
    if options.json:
        print(json_.dumps([dataclasses.asdict(result) for result in results], indent=1, default=str))
    else:
        say(laws.table(results))
    if any(result.failed for result in results):
        sys.exit(1)
