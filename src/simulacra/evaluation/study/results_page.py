"""The results of a study as one HTML file: figures, tables, what was left out, and the protocol as registered."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from simulacra.core.figure import Figure
from simulacra.evaluation.report.page import Row, row
from simulacra.evaluation.study.answers import Kept
from simulacra.evaluation.study.designs import Timed
from simulacra.evaluation.study.page import asset, render, script_digest
from simulacra.evaluation.study.protocol import Study
from simulacra.evaluation.study.psychometric import Psychometric
from simulacra.evaluation.study.results import Results

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, END = 640, 260, 46, 220, 14, 520
# what a figure means to someone who has to decide by it, by how its name begins
MEANINGS = {
    "deception rate": "How often the generated one was taken for the real one beside it.",
    "error rate": "How often raters were wrong about a stimulus, half of them being real.",
    "generated taken": "How often something generated was called real.",
    "real taken": "How often something real was called generated: how suspicious raters were.",
    "threshold": "How long raters must look to be right so often: the longer, the harder it is to tell from real.",
    "mean opinion": "The mean of ratings from 1, bad, to 5, excellent; comparable within this study only.",
    "strength": "How strongly a system is preferred: a difference of 1.1 is three preferences to one.",
    "preference": "The share of answers, ties aside, in which the first was preferred.",
    "Krippendorff": "How far raters agree about the same thing, beyond chance.",
}
TICKS_MS = (20, 50, 100, 200, 500, 1000, 2000)


@dataclass(frozen=True)
class Curve:
    """A psychometric function as drawn: its name and colour, its path, circles (x, y, radius) of what was observed."""

    name: str
    colour: int
    path: str
    dots: list[tuple[float, float, float]]
    label_y: float


def results_page(study: Study, kept: Kept, results: Results) -> str:
    """The page. Everything in it is in the file; nothing is fetched."""
    script = asset("report", "page.js")
    return render(
        "results.html",
        {
            "title": f"{study.title} · results",
            "study": study,
            "facts": _facts(study, kept),
            "rows": _explained(results.figures),
            "tables": results.tables,
            "curves": _curves(study, kept, results.curves),
            "ticks": _ticks(study),
            "frame": {"width": WIDTH, "height": HEIGHT, "left": LEFT, "bottom": BOTTOM, "top": TOP, "end": END},
            "excluded": _excluded(kept),
            "protocol": _protocol(study),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "style": asset("report", "page.css"),
            "script": script,
            "script_digest": script_digest(script),
        },
    )


def _explained(figures: Sequence[Figure]) -> list[Row]:
    """The figures as rows, each meaning told where it is first needed."""
    told: set[str] = set()
    rows = []
    for figure in figures:
        meaning = next((text for start, text in MEANINGS.items() if figure.name.startswith(start)), "")
        rows.append(replace(row(figure), meaning="" if meaning in told else meaning))
        told.add(meaning)
    return rows


def _facts(study: Study, kept: Kept) -> list[tuple[str, str]]:
    counted = kept.counted
    return [
        ("Design", study.design.name),
        ("Systems", ", ".join(study.plan.systems)),
        ("Raters", f"{kept.raters - len(kept.excluded):,} of {kept.raters:,}"),
        ("Answers", f"{len(counted):,} of {sum(not a.trial.check for a in kept.answers):,}"),
        ("Registered", study.digest[:12]),
    ]


def _excluded(kept: Kept) -> list[tuple[str, str]]:
    """What was left out and why, counted."""
    raters = [(f"Rater {n + 1}, all answers", why) for n, why in sorted(kept.excluded.items())]
    pairs = zip(kept.answers, kept.reasons, strict=True)
    single = Counter(why.split(" instead")[0].split(" ms")[0] if why.startswith("shown") else why
                     for a, why in pairs if why and a.rater not in kept.excluded)  # fmt: skip
    wrong_time = sum(n for why, n in single.items() if why.startswith("shown"))
    other = [(f"{n:,} answers", why) for why, n in single.items() if not why.startswith("shown")]
    times = [(f"{wrong_time:,} answers", "shown for another time than was asked")] if wrong_time else []
    again = [(f"{kept.duplicates:,} files", "repeat a rater who is counted once")] if kept.duplicates else []
    return [*raters, *times, *other, *again]


def _protocol(study: Study) -> list[tuple[str, str]]:
    p, rule = study.plan, study.exclusion
    design = ", ".join(f"{k} {v}" for k, v in asdict(p.design).items() if k != "question")  # pyright: ignore[reportArgumentType]
    pairs = [
        ("Question", study.design.question),
        ("Design", f"{study.design.name}{': ' + design if design else ''}"),
        ("Trials a rater", f"{p.length}, of which {p.checks} attention checks"),
        ("Of every group", str(p.each)),
        ("Raters planned", str(study.raters)),
        ("Seed", str(p.seed)),
        ("Stimuli", ", ".join(f"{n} {s}" for s, n in Counter(i.system for i in p.items).items())),
        ("Checks passed, at least", f"{rule.checks:.0%}"),
        (f"Answers under {rule.fast_ms:g} ms, at most", f"{rule.hasty:.0%}"),
        ("Trials answered, at least", f"{rule.finished:.0%}"),
        ("Registered as SHA-256", study.digest),
    ]
    if isinstance(study.design, Timed):
        pairs.insert(-1, ("Exposure off, at most", f"{rule.frames:g} frames; in sight throughout"))
    return pairs


def _x(study: Study, ms: float) -> float:
    assert isinstance(study.design, Timed)
    low, high = np.log(study.design.low * 0.9), np.log(study.design.high * 1.1)
    return float(LEFT + (END - LEFT) * (np.log(max(ms, 1)) - low) / (high - low))


def _y(p: float) -> float:
    return float(BOTTOM - (BOTTOM - TOP) * (p - 0.3) / 0.7)


def _ticks(study: Study) -> list[tuple[float, str]]:
    if not isinstance(study.design, Timed):
        return []
    inside = [t for t in TICKS_MS if study.design.low * 0.9 <= t <= study.design.high * 1.1]
    return [(_x(study, t), f"{t:,} ms") for t in inside]


def _curves(study: Study, kept: Kept, found: dict[str, Psychometric]) -> list[Curve]:
    """Each function over what was observed: answers in eight bins of exposure, circles of an area by their number."""
    if not isinstance(study.design, Timed):
        return []
    out = []
    grid = np.geomspace(study.design.low, study.design.high, 60)
    ends = [float(c.probability(grid[-1:])[0]) for c in found.values()]
    order = np.argsort(ends)
    labels = np.array([_y(e) for e in ends])
    for previous, this in zip(order[1:][::-1], order[:-1][::-1], strict=True):  # from the top down, none over another
        labels[this] = max(labels[this], labels[previous] + 14)
    for i, (name, curve) in enumerate(found.items()):
        points = zip(grid, curve.probability(grid), strict=True)
        path = "M" + "L".join(f"{_x(study, t):.1f} {_y(p):.1f}" for t, p in points)
        own = [a for a in kept.counted if a.trial.group == name and a.shown]
        ms, right = np.array([a.shown for a in own], float), np.array([bool(a.right) for a in own])
        edges = np.quantile(ms, np.linspace(0, 1, 9))
        bins = np.clip(np.searchsorted(edges, ms, "right") - 1, 0, 7)
        dots = []
        for b in np.unique(bins):
            here = bins == b
            middle = float(np.exp(np.log(ms[here]).mean()))
            dots.append(
                (_x(study, middle), _y(max(0.3, float(right[here].mean()))), float(0.55 * np.sqrt(here.sum()) + 1.5))
            )
        out.append(Curve(name, i % 8, path, dots, float(labels[i]) + 4))
    return out
