"""Generative against discriminative as one HTML file; every sentence on it is made by ``evaluation.versus.words``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulacra.evaluation.report.lines import DASHED, DOTTED, SOLID, Series, chart
from simulacra.evaluation.report.numbers import write
from simulacra.evaluation.report.page import render_template
from simulacra.evaluation.versus import words
from simulacra.evaluation.versus.sweeps import Sweep
from simulacra.mathematics.crossings import band

HOW = (
    "In each repetition all methods learn from the same examples, the larger training sets holding the smaller, and"
    " answer for the same test examples; so methods are compared in pairs. Bands are Student's 95 % intervals of the"
    " mean over repetitions.",
    "That one of a pair is ahead somewhere is said where the intervals of the paired difference at all places of a"
    " curve together leave nought out at 95 %. A crossing is where the mean difference, straight between places, is"
    " nought; its interval is all that a 95 % interval of the difference does not exclude. Pairs were named before"
    " anything was measured; nothing is corrected for the number of curves.",
    "Repetitions are random splits of one data set: intervals are of the mean over such splits, not of another sample"
    " of the population, for which they are too narrow (Nadeau & Bengio 2003).",
    "Ng & Jordan 2002 expect naive Bayes to come near its own, possibly larger, final error on a number of examples"
    " that grows like the logarithm of the number of features, and logistic regression on one that grows in proportion"
    " to it; so that the one is ahead on few examples and the other on many. The slopes above are of logarithms, over"
    " data sets that differ in more than their number of features.",
    "A density-based classifier that misses features sums them out; a discriminative one answers for examples filled"
    " with means or commonest values, or for completions drawn by the density-based one, whose answers are averaged;"
    " counts of letters count what is there.",
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Sweeps of one part. learning: they are learning curves of one pair over many data sets."""

    title: str
    sweeps: Sequence[Sweep]
    learning: bool = False


@dataclass(frozen=True, kw_only=True)
class Contest:
    """All of the experiment.

    notes  what was left out and why, and whether this was the quick form.
    """

    sections: Sequence[Section]
    seed: int
    command: str
    date: str = ""
    notes: Sequence[str] = ()
    title: str = "Generative against discriminative"


def findings(sweep: Sweep) -> list[words.Finding]:
    """The pair of a sweep, and what else of it is worth a sentence."""
    return [words.compare(sweep, pair) for pair in words.pairs(sweep)]


def said(contest: Contest) -> list[str]:
    """What was found, in sentences: the learning curves, the theory, then each question over all the data."""
    told = list(contest.notes)
    for section in contest.sections:
        if section.learning and section.sweeps:
            for pair in words.pairs(section.sweeps[0]):
                lines = words.learning([words.compare(s, pair) for s in section.sweeps], pair)
                told += [f"{section.title}: {line}" for line in lines]
            told += [f"{section.title}: {line}" for line in words.theory(section.sweeps)]
    rest = [s for section in contest.sections if not section.learning for s in section.sweeps]
    for question in dict.fromkeys(words.question(s) for s in rest):
        told += words.over([s for s in rest if words.question(s) == question], question)
    return told


def render_versus(contest: Contest) -> str:
    """The experiment as a whole HTML file."""
    tasks = list(dict.fromkeys(s.task for section in contest.sections for s in section.sweeps))
    repetitions = [len(next(iter(s.results.values()))) for section in contest.sections for s in section.sweeps]
    found = said(contest)
    return render_template(
        "versus.html",
        title=f"{contest.title} · simulacra",
        contest=contest,
        lede="When does modelling the whole distribution pay, if all you want is the class?",
        facts=[
            ("Data sets", str(len(tasks))),
            ("Repetitions", f"{min(repetitions)} to {max(repetitions)}" if repetitions else ""),
            ("Seed", str(contest.seed)),
            ("Date", contest.date),
        ],
        said=found,
        sections=[_section(section) for section in contest.sections if section.sweeps],
        near=(
            f"Training examples from which on a method's error stays within {words.NEAR} of its own error at the"
            " most examples, or of the least error there is where that is known; — where it does not before the last"
            " size."
        ),
        how=HOW,
    )


def _section(section: Section) -> dict[str, Any]:
    views = [_view(s, section.learning) for s in section.sweeps]
    first = section.sweeps[0]
    rows = []
    for a in words.arrivals(section.sweeps) if section.learning else ():
        cells = [words.about(n) if n is not None else "—" for n in (a.sizes.get(w) for w in first.results)]
        rows.append((a.task, a.features, f"{math.log2(a.features):.1f}", cells))
    return {
        "title": section.title,
        "crossings": section.learning,
        "views": views,
        "methods": list(first.results),
        "arrivals": rows,
    }


def _view(sweep: Sweep, learning: bool) -> dict[str, Any]:
    """A sweep's chart, sentences and numbers."""
    found = findings(sweep)
    where = found[0].found
    span = None if where.interval is None or where.place is None else (*where.interval, where.place)
    drawn = sweep.results if len(sweep.results) <= 5 else words.of_pair(sweep)
    names = list(dict.fromkeys(words.base(sweep, who) for who in sweep.results))
    series = []
    for who in drawn:
        b = band(sweep.results[who])
        by = words.base(sweep, who)
        dash = DOTTED if who != by else SOLID if who in sweep.generative else DASHED
        series.append(
            Series(
                name=who, colour=names.index(by) % 8, values=b.mean.tolist(), low=b.low.tolist(), high=b.high.tolist(),
                dash=dash,
            )
        )  # fmt: skip
    return {
        "task": sweep.task,
        "features": sweep.features,
        "axis": sweep.axis,
        "chart": chart(
            sweep.values,
            series,
            title=sweep.task if learning else f"{sweep.task}: {sweep.asked}",
            x_title=sweep.axis,
            y_title=sweep.measure + (f", {sweep.unit}" if sweep.unit else ""),
            logarithmic=sweep.logarithmic,
            span=span,
            level=sweep.asymptote,
        ),
        "sentences": [f.text for f in found],
        "place": "" if where.place is None else words.about(where.place),
        "interval": "" if where.interval is None else " to ".join(map(words.about, where.interval)),
        "places": [words.written(v) for v in sweep.values],
        "rows": [(who, _cells(sweep, who)) for who in sweep.results],
    }


def _cells(sweep: Sweep, who: str) -> list[str]:
    b = band(sweep.results[who])
    found = []
    for mean, low, high in zip(b.mean.tolist(), b.low.tolist(), b.high.tolist(), strict=True):
        text = write(mean, (low, high))
        found.append(f"{text.value} {text.interval}")
    return found
