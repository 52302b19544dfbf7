"""``simulacra audit RUN`` and ``simulacra card RUN``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated

import tyro

from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import say
from simulacra.evaluation.report.figures import finite
from simulacra.responsibility.audit import MOST
from simulacra.responsibility.page import table_text
from simulacra.runs import load
from simulacra.runs.audits import PAGE, audit_run, write_cards


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How much is looked at.

    Attributes:
        n: samples, and at most that many held-out examples.
        seed: of the samples that are drawn.
        references: runs fitted to other examples of the same kind, with commas between: membership inference is then
            calibrated by what they score.
        json: print the findings as JSON.
    """

    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = MOST
    seed: int = 0
    references: str | None = None
    json: JsonFlag = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardOptions:
    """A card has no settings: it says what was measured."""


def main_audit(arguments: Sequence[str]) -> None:
    """Ask everything that applies of a run; prints pass, attention or not measured, and writes audit.html and cards."""
    found, rest = positionals(arguments, ("RUN",), "audit")
    options = parse(Options, rest, verb="audit RUN")
    if options.n < 1:
        raise ValueError(f"n is how many samples to draw, at least 1; got {options.n}")
    run = load(found[0])
    references = [load(path) for path in (options.references or "").split(",") if path]
    findings = audit_run(run, references=references, n=options.n, seed=options.seed)
    if options.json:
        print(json.dumps([finite(f.to_json()) for f in findings], indent=2, ensure_ascii=False, allow_nan=False))
        return
    for line in table_text(findings):
        say(line)
    say(f"wrote {run.path / PAGE} and its cards")


def main_card(arguments: Sequence[str]) -> None:
    """Write a run's model card and data card from what was measured of it so far."""
    found, rest = positionals(arguments, ("RUN",), "card")
    parse(CardOptions, rest, verb="card RUN")
    for path in write_cards(load(found[0])):
        say(f"wrote {path}")
