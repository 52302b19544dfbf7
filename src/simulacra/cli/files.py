"""``compress`` and ``decompress``: examples to the bytes of a file and back, without loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from simulacra.cli.inputs import examples
from simulacra.cli.parse import AtMost, parse, positionals
from simulacra.cli.words import say
from simulacra.core.checkpoint import write
from simulacra.modalities.samples import write_samples
from simulacra.runs import load
from simulacra.uses.arithmetic import native, portable
from simulacra.uses.backends import constriction, rans
from simulacra.uses.compress import compress, decompress, describe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compressing:
    """Where to, and how.

    Attributes:
        out: the file to write.
        y: the class of the examples, where the model has classes; those they came with, or the likeliest, unless given.
        n: at most so many of the examples; all unless given.
        portable: evaluate the model in float64 and note what lies next to a rounding boundary, so that other machines
            read the file too; slower.
        backend: the coder: our own, or constriction's (extra coding), for models that know exact densities.
    """

    out: Path = Path("out.smlc")
    y: str | None = None
    n: AtMost = None
    portable: bool = False
    backend: Literal["rans", "constriction"] = "rans"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decompressing:
    """Where to.

    Attributes:
        out: FILE.npy or FILE.npz for an array, FILE.png for a grid to look at, anything else is a folder of pictures.
    """

    out: Path = Path("out.npz")


def main_compress(arguments: Sequence[str]) -> None:
    """Examples of a file, or "held-out", as a file that only this run's model reads; the better it is, the shorter."""
    found, rest = positionals(arguments, ("RUN", "FILE"), "compress")
    options = parse(Compressing, rest, verb="compress RUN FILE")
    run = load(found[0])
    x, y = examples(run, found[1], n=options.n, y=options.y)
    backend = {"rans": rans, "constriction": constriction}[options.backend]
    data = compress(run.model, x, y=y, arithmetic=portable if options.portable else native, backend=backend)
    write(options.out, data)
    header = describe(data)
    kind = {"walk": "the model's own probabilities", "bits-back": "bits-back, the model's bound"}[header["scheme"]]
    say(
        f"{options.out}: {len(data):,} bytes for {len(x):,} examples, {8 * len(data) / x.numel():.4g} bits an element"
        f" ({kind}; {header['arithmetic']} arithmetic, coder {header['backend']})"
    )


def main_decompress(arguments: Sequence[str]) -> None:
    """The examples in a file that ``compress`` wrote, by the run that wrote it."""
    found, rest = positionals(arguments, ("RUN", "C"), "decompress")
    options = parse(Decompressing, rest, verb="decompress RUN C")
    run = load(found[0])
    batch = decompress(run.model, Path(found[1]).read_bytes())
    say(write_samples(batch, run.recipe.space, options.out))
