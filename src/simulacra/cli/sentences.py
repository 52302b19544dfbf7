"""``translate`` for runs of pairs of sentences: text in, text out, a line for each line."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from simulacra.cli.inputs import HELD_OUT
from simulacra.cli.parse import parse
from simulacra.cli.words import say, warn
from simulacra.core.checkpoint import told, write
from simulacra.core.randomness import Rng
from simulacra.evaluation.translation import ALPHA, WIDTH
from simulacra.modalities import grids
from simulacra.modalities.pairs import read_lines, sources_of
from simulacra.runs import Run
from simulacra.runs.sentences import attention_picture, translations

AT_ONCE = 64  # lines of a file or of standard input that are read before they are translated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentences:
    """How sentences are translated, and where to.

    Attributes:
        width: lanes of the beam search; 1 takes the likeliest token every time.
        alpha: power of the length norm that hypotheses are compared by: 0 favours short ones, larger values long ones.
        temperature: draw translations by chance instead of searching: 1 as likely as the model says, below 1 nearer to
            the likeliest.
        seed: of what is drawn.
        out: FILE.txt for the translations, a line each; the terminal unless given.
        attention: FILE.png for a heat map of where the first translation looks in its source.
    """

    width: int = WIDTH
    alpha: float = ALPHA
    temperature: float | None = None
    seed: int = 0
    out: Path | None = None
    attention: Path | None = None


def translate_sentences(run: Run, source: str, arguments: Sequence[str]) -> None:
    """INPUT is a sentence, a text file of one a line, "-" for lines of standard input, or "held-out"."""
    options = parse(Sentences, arguments, verb="translate RUN INPUT")
    lines, done = _lines(run, source), list[str]()
    for first in range(0, len(lines), AT_ONCE):
        part = lines[first : first + AT_ONCE]
        found = translations(
            run, part, width=options.width, alpha=options.alpha, temperature=options.temperature,
            rng=Rng(options.seed)("translate").rows(first),
        )  # fmt: skip
        if options.out is None:
            say("\n".join(found))
        done += found
    if options.out is not None:
        with told(f"write {options.out}"):
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text("".join(f"{line}\n" for line in done), encoding="utf-8")
        say(f"{options.out}: {len(done):,} translations")
    if options.attention is not None:
        shown = next(((s, t) for s, t in zip(lines, done, strict=True) if s), None)
        if shown is None:
            raise ValueError(f"{source}: there is no sentence whose attention could be shown")
        picture = attention_picture(run, *shown)
        with told(f"write {options.attention}"):
            write(options.attention, grids.png(picture))
        warn(f"{options.attention}: where {shown[1]!r} looks, {picture.width}x{picture.height}")


def _lines(run: Run, source: str) -> list[str]:
    """The sentences that are meant; an empty line stays one, so that lines of the output are those of the input."""
    if source == HELD_OUT:
        held, encoding = run.data().held_out, run.encoding
        assert encoding is not None
        return sources_of(held.batch(torch.arange(len(held)), Rng(0)), encoding)
    if source == "-":
        return [line.strip() for line in sys.stdin.read().removesuffix("\n").split("\n")]
    if os.path.isfile(source):  # False, and no error, for a sentence too long to be a path
        return read_lines(Path(source))
    if not source.strip():
        raise ValueError("there is no sentence to translate; give one, a text file, or - for standard input")
    return [source.strip()]
