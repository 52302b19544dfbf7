"""``simulacra study new | serve | result | plan``: human evaluation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from simulacra.cli.parse import JsonFlag, parse, positionals
from simulacra.cli.words import say, warn
from simulacra.core.checkpoint import write
from simulacra.core.randomness import Rng
from simulacra.evaluation.report import figures_to_json, text_table
from simulacra.evaluation.study import DESIGNS, Design, Exclusion, Study, Timed, create, open_study, planning
from simulacra.evaluation.study.answers import apply_exclusion, collect, export_csv, export_jsonl
from simulacra.evaluation.study.page import static_page
from simulacra.evaluation.study.results import results_of
from simulacra.evaluation.study.results_page import results_page
from simulacra.evaluation.study.stimuli import Stimulus, of_array, read

RECIPE = "recipe.json"  # what tells a run from a folder of samples
MOST_DRAWN = 200  # examples drawn from a run
DesignName = Literal["2afc", "preference", "untimed", "timed", "mos"]
USAGE = """simulacra study: human evaluation

usage: simulacra study new FOLDER NAME=SAMPLES ...    make a study; the name of real examples is "real"
       simulacra study serve FOLDER                   serve it to raters
       simulacra study result FOLDER                  figures with intervals, and a page
       simulacra study plan                           how many raters and trials an effect needs

SAMPLES is a folder, archive or array of pictures, a folder of .txt, .wav or .mid files, a run, or data known by name.
Each --help says more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class New:
    """What is asked, of how many, and what is left out.

    Attributes:
        design: 2afc (which of two is real), preference (which of two is better), untimed (real or generated), timed
            (the same after a glance), mos (1 to 5).
        each: trials a rater has of every system, or of every pair of systems.
        checks: attention checks a rater has; a tenth of the trials, at least 2, unless given.
        raters: finished raters after which nobody new is let in.
        seed: of who sees what, in which order, on which side.
        question: the sentence above every trial, in place of the design's own.
        title: what the study is called on its pages.
        consent: a text file that raters agree to; a plain account of what is recorded unless given.
        size: side to which pictures are cropped and resized.
        most: stimuli of a system, at most, evenly spread over what there is.
        no_ties: a preference has to be given.
        matched: pairs show files of the same name, as for the same prompt.
        static: also write FOLDER/study.html, which needs no server.
        exclusion: whose answers are left out.
        glance: exposures of a timed study, ms.
    """

    design: DesignName = "2afc"
    each: int = 20
    checks: int | None = None
    raters: int = 20
    seed: int = 0
    question: str | None = None
    title: str = ""
    consent: Path | None = None
    size: int | None = None
    most: int = 500
    no_ties: bool = False
    matched: bool = False
    static: bool = False
    exclusion: Exclusion = dataclasses.field(default_factory=Exclusion)
    glance: Timed = dataclasses.field(default_factory=Timed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serving:
    """Where to listen.

    Attributes:
        host: the address of this machine to listen on; 0.0.0.0 lets other machines in.
        port: 0 takes any that is free.
    """

    host: str = "127.0.0.1"
    port: int = 8000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """Which answers, and where to.

    Attributes:
        answers: a file, or a folder of files, that raters saved from study.html; besides those the server kept.
        out: the page; FOLDER/results.html unless given.
        csv: also write every answer as a table.
        jsonl: also write every answer as a line of JSON.
        json: print the figures as JSON.
    """

    answers: Path | None = None
    out: Path | None = None
    csv: Path | None = None
    jsonl: Path | None = None
    json: JsonFlag = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planning:
    """The effect that is to be seen.

    Attributes:
        share: the true share of wrong answers, or of preferences, to be told from another.
        against: that other share; one half is guessing.
        effect: in place of a share: a difference of mean opinions, over the deviation of one rating.
        power: the chance to see it.
        rho: how much the answers of one rater resemble one another; 0.05 to 0.2 is usual.
        json: print it as JSON.
    """

    share: float = 0.4
    against: float = 0.5
    effect: float | None = None
    power: float = 0.8
    rho: float = 0.1
    json: JsonFlag = False


def main(arguments: Sequence[str]) -> None:
    """Run one of the four."""
    parts = {"new": _new, "serve": _serve, "result": _result, "plan": _plan}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return
    if arguments[0] not in parts:
        raise ValueError(f"study has no {arguments[0]!r}; expected one of {', '.join(parts)}")
    parts[arguments[0]](arguments[1:])


def _new(arguments: Sequence[str]) -> None:
    count = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    options = parse(New, arguments[count:], verb="study new FOLDER NAME=SAMPLES ...")
    if count < 2:
        raise ValueError("study new needs FOLDER NAME=SAMPLES ...; got " + (" ".join(arguments[:count]) or "nothing"))
    systems: dict[str, list[Stimulus]] = {}
    for given in arguments[1:count]:
        name, equals, source = given.partition("=")
        if not equals or not source:
            raise ValueError(f"a system is given as NAME=SAMPLES; got {given!r}")
        if name in systems:
            raise ValueError(f"two systems are called {name!r}; give each a name of its own")
        systems[name] = _stimuli(source, options)
    study = create(
        Path(arguments[0]), _design(options), systems, each=options.each, checks=options.checks, raters=options.raters,
        exclusion=options.exclusion, seed=options.seed, matched=options.matched, title=options.title,
        consent=None if options.consent is None else options.consent.read_text(encoding="utf-8"),
    )  # fmt: skip
    say(_told(study))
    say(f"registered as SHA-256 {study.digest}: publish it before the first answer")
    if options.static:
        write(study.folder / "study.html", static_page(study).encode())
        say(f"wrote {study.folder / 'study.html'}; send each rater study.html#1, study.html#2 ...")
    say(f"next: simulacra study serve {study.folder}")


def _design(options: New) -> Design:
    timed = options.design == "timed"
    if not timed and options.glance != Timed():
        raise ValueError(f"exposures are those of a timed study; this one is {options.design}: leave --glance out")
    if options.no_ties and options.design != "preference":
        raise ValueError(f"only a preference has ties; this design is {options.design}: leave --no-ties out")
    changes: dict[str, Any] = {} if options.question is None else {"question": options.question}
    if options.no_ties:
        changes["ties"] = False
    return dataclasses.replace(options.glance if timed else DESIGNS[options.design](), **changes)


def _stimuli(source: str, options: New) -> list[Stimulus]:
    """Of files, of a run, which draws them, or of the held-out part of data known by name."""
    path = Path(source)
    if path.exists() and not (path / RECIPE).is_file():
        return read(path, most=options.most, size=options.size)
    # imported here, because files need none of it, nor does a server that is to be up again soon
    from simulacra.modalities.images import to_uint8
    from simulacra.modalities.names import KNOWN
    from simulacra.modalities.samples import is_pictures
    from simulacra.modalities.sources import open_data
    from simulacra.runs import load

    if path.exists():
        run = load(path)
        x, space = run.sample(min(options.most, MOST_DRAWN), seed=options.seed).x, run.recipe.space
    elif source in KNOWN or source in ("digits", "sprites"):
        data = open_data(source).held_out
        count = min(options.most, len(data))
        x, space = data.batch(torch.arange(count) * len(data) // count, Rng(0)).x, data.space
    else:
        return read(path)  # which says that it is not there
    if not is_pictures(space) or not isinstance(x, torch.Tensor):
        raise ValueError(f"{source} gives {space.measure}; only pictures are shown from runs: give files of samples")
    return of_array(to_uint8(x, space), source, most=options.most, size=options.size)


def _told(study: Study) -> str:
    plan = study.plan
    return (
        f"{study.folder}: {plan.design.name} of {', '.join(plan.systems)}, {study.kind}s; {plan.length} trials a rater"
        f" ({plan.checks} of them checks), {study.raters} raters, seed {plan.seed}"
    )


def _serve(arguments: Sequence[str]) -> None:
    folder, rest = positionals(arguments, ("FOLDER",), "study serve")
    options = parse(Serving, rest, verb="study serve FOLDER")
    study = open_study(folder[0])
    try:
        from simulacra.evaluation.study.server import serve
    except ImportError as error:
        raise ImportError("serving a study needs fastapi and uvicorn: pip install 'simulacra[study]'") from error
    serve(study, host=options.host, port=options.port, say=say)


def _result(arguments: Sequence[str]) -> None:
    folder, rest = positionals(arguments, ("FOLDER",), "study result")
    options = parse(Result, rest, verb="study result FOLDER")
    study = open_study(folder[0])
    answers, duplicates = collect(study, () if options.answers is None else (options.answers,))
    kept = apply_exclusion(study, answers, duplicates)
    for path, export in ((options.csv, export_csv), (options.jsonl, export_jsonl)):
        if path is not None:
            write(path, export(kept).encode())
    results = results_of(study, kept)
    out = options.out or study.folder / "results.html"
    write(out, results_page(study, kept, results).encode())
    told = warn if options.json else say
    told(
        f"{kept.raters} raters, {len(kept.excluded)} left out; {len(kept.counted):,} answers count;"
        f" {duplicates} files repeat a rater"
    )
    for rater, why in sorted(kept.excluded.items()):
        told(f"rater {rater + 1} left out: {why}")
    if options.json:
        print(figures_to_json(results.figures))
    else:
        Console().print(text_table(results.figures))
    told(f"wrote {out}")


def _plan(arguments: Sequence[str]) -> None:
    options = parse(Planning, arguments, verb="study plan")
    planning.check(options.power, 0.95, options.rho)
    if options.effect is None:
        independent = planning.of_share(options.share, against=options.against, power=options.power)
        what = f"a share of {options.share:g} to be told from {options.against:g}"
    else:
        independent = planning.of_difference(options.effect, power=options.power)
        what = f"a difference of {options.effect:g} deviations of a rating"
    found = planning.needs(independent, options.rho)
    if options.json:
        print(json.dumps({"independent": independent, "needs": [dataclasses.asdict(n) for n in found]}, indent=2))
        return
    say(f"{what}, power {options.power:.0%}, 95 % two-sided, correlation within raters {options.rho:g}:")
    say(f"{independent:.0f} independent answers of every system (or pair); as sessions:")
    for need in found:
        say(
            f"  {need.each:3d} trials each: {need.raters:4d} raters, {need.answers:5,d} answers"
            f" (design effect {need.design_effect:.2f})"
        )
    say("intervals need 20 raters at least, however large the effect")
