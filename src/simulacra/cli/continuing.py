"""``score``, and ``sample --suffix``: what a model of text says of continuations, and what stands before them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import say, warn
from simulacra.core.capabilities import Prompted, require
from simulacra.core.prompts import Prompt
from simulacra.core.randomness import Rng
from simulacra.modalities.tokens import Encoding
from simulacra.runs import Run, load
from simulacra.uses.continuations import infill, log_prob

POOR = 0.05  # share of the draws that carry the weight, below which middles are called poor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring:
    """After what.

    Attributes:
        prompt: what the text comes after; nothing unless given.
        ends: the text ends there too: of runs of texts with an end, which they are held to have unless --no-ends.
        y: a class, by its name or number, of a run of classes.
        json: print it as JSON.
    """

    prompt: str = ""
    ends: bool = True
    y: str | None = None
    json: JsonFlag = False


def main_score(arguments: Sequence[str]) -> None:
    """log p of a text, or of a file's whole text, after a prompt.

    Texts longer than the model's context are scored as they would be drawn: each token given the last ones.
    """
    found, rest = positionals(arguments, ("RUN", "TEXT"), "score")
    options = parse(Scoring, rest, verb="score RUN TEXT")
    run = load(found[0])
    model, encoding = text_model(run, "score")
    text = _text(found[1])
    before, x = (torch.from_numpy(encoding.encode(t)) for t in (options.prompt, text))
    y, end = run.labels(options.y, 1), end_of(run) if options.ends else None
    if not len(x) and end is None:
        raise ValueError("an empty text has nothing to score; give some")
    room = run.recipe.space.only.shape[0]
    if len(before) + len(x) > room:
        if run.recipe.space.only.varying:
            raise ValueError(
                f"this model knows texts of up to {room:,} tokens; got {len(before) + len(x):,}: give less"
            )
        warn(f"{len(before) + len(x):,} tokens, and this model sees {room}: each is given between {room // 2} and"
             f" {room - 1} before it")  # fmt: skip
    nats = float(log_prob(model, Prompt(tokens=before[None]), x[None], y=y, end=end))
    size = len(text.encode("utf-8", "surrogateescape"))
    figures = {
        "log_prob": nats,
        "tokens": len(x) + (end is not None),
        "bytes": size,
        "bits_per_byte": -nats / math.log(2) / size if size else None,
    }
    if options.json:
        print(json.dumps(figures))
        return
    bits = "" if not size else f", {figures['bits_per_byte']:.4g} bits a byte"
    ends = ", its end included" if end is not None else ""
    say(f"log p = {nats:.6g} nats of {figures['tokens']:,} tokens{ends}, {size:,} bytes{bits}")


def _text(given: str) -> str:
    """A text as it is given, or what is in a file."""
    try:
        if not Path(given).is_file():
            return given
    except (OSError, ValueError):  # too long for a path, or no name of one
        return given
    content = Path(given).read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{given}: not UTF-8 at place {error.start:,}; save it as UTF-8") from error


def text_model(run: Run, what: str) -> tuple[Prompted, Encoding]:
    """A run's model and tokens; ValueError for one that does not go on from beginnings of texts."""
    model, encoding = require(run.model, Prompted, what), run.encoding
    if encoding is None or not encoding.streams:
        of = run.recipe.space.measure if encoding is None else encoding.words
        raise ValueError(
            f"{what} is of text that goes on from its beginning, and this run is of {of}; take another run"
        )
    return model, encoding


def end_of(run: Run) -> int | None:
    """The output that ends a text; None for running text."""
    f = run.recipe.space.only
    return len(f.sizes or ()) or f.k if f.varying else None  # type: ignore[union-attr]


def infilled(
    run: Run, prompt: str, suffix: str, n: int, tokens: int, draws: int, y: Tensor | None, seed: int
) -> list[str]:
    """Whole texts: prompt, a middle, suffix; how much the draws are worth is said."""
    model, encoding = text_model(run, "--suffix")
    before, after = (torch.from_numpy(encoding.encode(t)) for t in (prompt, suffix))
    room = run.recipe.space.only.shape[0]
    most = room - len(before) - len(after)
    if most < 0:
        raise ValueError(
            f"prompt and suffix have {len(before) + len(after):,} tokens and this model sees {room}; give less of them"
        )
    done = infill(model, before, after, n, tokens=min(tokens, most), draws=draws, y=y, end=end_of(run),
                  rng=Rng(seed)("sample"))  # fmt: skip
    worth = f"{draws} middles drawn, worth {done.effective:.1f}; log p of the suffix {done.log_prob:.4g} nats"
    poor = done.effective < max(2.0, POOR * draws)
    warn(worth + (": few fit, more --draws would fit better" if poor else ""))
    return [prompt + encoding.decode(m.tolist()) + suffix for m in done.middles]
