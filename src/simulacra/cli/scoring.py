"""``classify`` and ``novelty``: what a model's likelihood says of examples."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from torch import Tensor

from simulacra.cli.inputs import HELD_OUT, examples, others
from simulacra.cli.parse import AtMost, Count, JsonFlag, parse, positionals
from simulacra.cli.words import say, warn
from simulacra.core.checkpoint import write
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.evaluation.extractors import values
from simulacra.evaluation.report import figures_to_json, text_table
from simulacra.modalities.samples import is_pictures
from simulacra.runs import Run, load
from simulacra.uses.classify import figures_of_classes, fit_temperature, reliability, scores
from simulacra.uses.novelty import (
    Coded,
    Ratio,
    Score,
    Surprise,
    Typicality,
    bits_of,
    figure_of,
    model_bits,
    png_bits,
    zlib_bits,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifying:
    """How, and where to.

    Attributes:
        out: a table: number, label, its probability, the probability of every class.
        n: at most so many of the examples; all unless given.
        calibrate: held-out examples a temperature is fitted on, that are then not classified; 0 leaves it at 1.
        seed: of whatever the likelihood draws.
        json: print the figures as JSON.
    """

    out: Path = Path("labels.csv")
    n: AtMost = None
    calibrate: int = 200
    seed: int = 0
    json: JsonFlag = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring:
    """Against what, and where to.

    Attributes:
        background: a run whose likelihood is the background of a ratio; PNG or zlib are always one.
        out: a table of every example's scores, if given.
        n: at most so many examples of either kind.
        seed: of whatever is drawn.
        json: print the figures as JSON.
    """

    background: Path | None = None
    out: Path | None = None
    n: Count = 500
    seed: int = 0
    json: JsonFlag = False


def main_classify(arguments: Sequence[str]) -> None:
    """The class of each example by Bayes' rule, with its probability; how good it is where labels are there."""
    found, rest = positionals(arguments, ("RUN", "INPUT"), "classify")
    options = parse(Classifying, rest, verb="classify RUN INPUT")
    tell = warn if options.json else say
    run = load(found[0])
    if not isinstance(run.recipe.space.y, Classes):
        raise ValueError("classify needs a model of classes; this run was fitted without labels: fit data with labels")
    temperature, used = _temperature(run, options)
    skip = used if found[1] == HELD_OUT else 0
    wanted = None if options.n is None else options.n + skip
    x, y = examples(run, found[1], n=wanted, seed=options.seed)
    x, y = x[skip:], None if y is None else y[skip:]
    done = scores(run.model, x, rng=options.seed)
    log_probs = done.log_probs(temperature)
    _table(options.out, run.recipe.space.classes.names, log_probs)
    tell(f"{options.out}: {len(x):,} examples; likelihood of kind {done.kind}")
    if used:
        tell(f"temperature {temperature:.3g}, fitted on {used:,} held-out examples that are not among these")
    if y is not None:
        figures = figures_of_classes(log_probs, y, kind=done.kind, seed=options.seed)
        _print(figures, options.json)
        for low, high, count, sure, right in () if options.json else reliability(log_probs, y).rows:
            say(
                f"  probability {low:.2f} to {high:.2f}: {count:>6,} examples, {sure:.3f} on average, right {right:.3f}"
            )


def main_novelty(arguments: Sequence[str]) -> None:
    """How strange examples are to the model, by several scores, each with its known failure.

    INPUT is a file, a folder or data known by name; areas under the curve compare it with the run's held-out part.
    """
    found, rest = positionals(arguments, ("RUN", "INPUT"), "novelty")
    options = parse(Scoring, rest, verb="novelty RUN INPUT")
    run = load(found[0])
    own, half = run.data().held_out, Rng(options.seed)
    count = min(2 * options.n, len(own))
    usual = values(own, count, half("usual"))
    # typicality's mean comes from examples of the same kind that are not compared
    reference, usual = usual[: count // 2], usual[count // 2 :]
    strange = values(others(run, found[1]), options.n, half("strange"))
    parts = {name: bits_of(run.model, x, rng=half("bits")) for name, x in (("usual", usual), ("strange", strange))}
    mean = float(bits_of(run.model, reference, rng=half("bits"))[0].mean())
    kind = parts["usual"][1]
    each = _scores(run, mean, options.background)
    worth = [(score, score(parts["usual"][0], usual), score(parts["strange"][0], strange)) for score in each]
    figures = [figure_of(score, a, b, kind=kind, seed=options.seed) for score, a, b in worth]
    _print(figures, options.json)
    tell = warn if options.json else say
    for score, a, b in worth:
        tell(f"{score.name}, mean in bits: {float(a.mean()):.5g} held out, {float(b.mean()):.5g} {found[1]}")
    if options.out is not None:
        rows = [[i, *(f"{float(b[i]):.6g}" for _, _, b in worth)] for i in range(len(strange))]
        _write_csv(options.out, ["example", *(score.name for score in each)], rows)
        tell(f"{options.out}: {len(rows):,} examples, {len(each)} scores")


def _scores(run: Run, mean: float, background: Path | None) -> list[Score]:
    space = run.recipe.space
    found: list[Score] = [Surprise(), Typicality(mean)]
    ratios: list[tuple[Coded, str]] = []
    if is_pictures(space):
        ratios = [(png_bits, "PNG"), (zlib_bits, "zlib")]
    if background is not None:
        other = load(background)
        if other.recipe.space.fields != space.fields:
            raise ValueError(f"{background} models another space than this run; a ratio needs two models of one")
        ratios.append((model_bits(other.model), str(background)))
    return [*found, *(Ratio(coded, space, what) for coded, what in ratios)]


def _temperature(run: Run, options: Classifying) -> tuple[float, int]:
    """The temperature, and how many of the first held-out examples it was fitted on."""
    if options.calibrate < 0:
        raise ValueError(f"calibrate is a number of held-out examples, 0 for none; got {options.calibrate}")
    if not options.calibrate:
        return 1.0, 0
    x, y = examples(run, HELD_OUT, n=options.calibrate, seed=options.seed)
    if y is None:
        return 1.0, 0
    if len(run.data().held_out) <= len(x):
        raise ValueError(f"calibrating takes all {len(x)} held-out examples; give a smaller --calibrate, or 0")
    return fit_temperature(scores(run.model, x, rng=options.seed), y), len(x)


def _table(path: Path, names: Sequence[str], log_probs: Tensor) -> None:
    p = log_probs.exp()
    best = p.max(1)
    rows = [
        [i, names[int(best.indices[i])], f"{float(best.values[i]):.6g}", *(f"{float(v):.6g}" for v in p[i])]
        for i in range(len(p))
    ]
    _write_csv(path, ["example", "label", "probability", *(f"p({name})" for name in names)], rows)


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write(path, out.getvalue().encode())


def _print(figures: list[Figure], as_json: bool) -> None:
    if as_json:
        print(figures_to_json(figures))
    else:
        Console().print(text_table(figures))
