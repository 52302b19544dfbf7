"""Several runs side by side: which figures may share a column, which run is best if that can be told, and exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from simulacra.core.figure import Figure
from simulacra.evaluation.differences import Distinction
from simulacra.evaluation.report.by_class import apart
from simulacra.evaluation.report.contents import Report
from simulacra.evaluation.report.figures import extractor_text, finite, subject

# estimates whose expectation moves with the number of examples: at unequal N the smaller set is at a disadvantage
UNBIASED = "without bias"
BIASED_BY_N = ("frechet", "precision", "recall", "density", "coverage", "score")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run such a cell

Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs to be set side by side.

    runs      two or more, their names unique.
    real      a PNG grid of real pictures in the geometry of the runs' samples; by default the first run's.
    command   the line that makes the page again.
    tests     every pair of runs, every figure: whether they differ beyond chance.
    """

    title: str
    runs: Sequence[Report]
    subtitle: str = ""
    date: str = ""
    real: bytes | None = None
    command: str = ""
    tests: Sequence[Distinction] = ()

    def __post_init__(self) -> None:
        names = [r.name for r in self.runs]
        if len(names) < 2:
            raise ValueError(f"a comparison needs at least two runs; got {len(names)}")
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"the runs of a comparison need names of their own; {twice[0]!r} is there twice")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One measure over the runs of a table.

    figures  run name -> its figure; a run that lacks it is absent.
    best     the run that is best beyond doubt, or None; doubt says why there is none ("" for a single figure).
    tied     the runs that share the first place because their intervals overlap, best value first.
    """

    figures: Mapping[str, Figure]
    best: str | None
    doubt: str
    tied: Sequence[str] = ()

    @property
    def figure(self) -> Figure:
        """Any of them: all agree in name, unit, direction and extractor."""
        return next(iter(self.figures.values()))

    @property
    def heading(self) -> str:
        """The name and, where there is one, the extractor."""
        return " · ".join(p for p in (self.figure.name, extractor_text(self.figure)) if p)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A table: rows are runs, columns are measures that look at the same features.

    subject  what they look at: "Features: classifier (3fa92c1b)", or "" for what needs no extractor.
    reason   why the table stands apart from the leaderboard; "" for the leaderboard itself.
    """

    runs: Sequence[str]
    columns: Sequence[Column]
    subject: str = ""
    reason: str = ""


def column(figures: Mapping[str, Figure]) -> Column:
    """One column of a table. Raises ValueError where two of the figures measure different things."""
    if not figures:
        raise ValueError("a column needs at least one figure; got none")
    first = next(iter(figures.values()))
    for other in figures.values():
        first.comparable_to(other)
    best, doubt, tied = _best(figures)
    return Column(figures=dict(figures), best=best, doubt=doubt, tied=tied)


def boards(comparison: Comparison) -> list[Board]:
    """The leaderboard, a table for each extractor; then the figures that may not stand in it, each with the reason.

    A run judged against other data than the first run starts a table of its own, since every figure depends on it.
    """
    found: list[Board] = []
    apart: list[Board] = []
    identities = dict.fromkeys(r.data_identity for r in comparison.runs)
    for identity in identities:
        runs = [r for r in comparison.runs if r.data_identity == identity]
        main, refused = _columns(runs)
        reason = ""
        if len(identities) > 1:
            short = identity[:12] or "no fingerprint"
            reason = f"Judged against {runs[0].data} ({short}); figures on different data are not set side by side"
        subjects = dict.fromkeys(subject(c.figure) for c in main)
        for wanted in subjects:
            of_it = [c for c in main if subject(c.figure) == wanted]
            names = [r.name for r in runs if any(f.compared_in[0] == c.figure.name for f in r.figures for c in of_it)]
            found.append(Board(runs=names, columns=of_it, subject=wanted, reason=reason))
        apart += refused
    return found + apart


def better(a: Figure, b: Figure) -> bool:
    """Whether a is better than b beyond doubt: their intervals lie apart, and b is no bound that may hide better.

    A bound stands on the side that cannot flatter, so it may beat an exact value but never loses to one. Two bounds
    are compared as the bounds they are. Raises ValueError where the two measure different things.
    """
    a.comparable_to(b)
    if a.interval is None or b.interval is None or a.direction == "neither":
        return False
    if b.kind == "bound" and a.kind != "bound":
        return False
    return a.interval[1] < b.interval[0] if a.direction == "lower" else a.interval[0] > b.interval[1]


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One flat row for every figure of every run, with what decides whether two of them may be compared."""
    return [
        {
            "run": run.name,
            "family": run.family,
            "data": run.data,
            "data_identity": run.data_identity,
            "figure": f.name,
            "value": f.value,
            "low": None if f.interval is None else f.interval[0],
            "high": None if f.interval is None else f.interval[1],
            "level": None if f.interval is None else f.level,
            "interval_method": f.interval_method,
            "unit": f.unit,
            "direction": f.direction,
            "kind": f.kind,
            "n": f.n,
            "n_real": f.n_real,
            "seed": f.seed,
            "extractor": f.extractor,
            "extractor_hash": f.extractor_hash,
            "dtype": f.dtype,
            "note": f.note,
            "cpu_seconds": run.costs.cpu_seconds,
            "seconds_per_sample": run.costs.seconds_per_sample,
            "parameters": run.costs.parameters,
        }
        for run in comparison.runs
        for f in run.figures
    ]


def comparison_csv(comparison: Comparison) -> str:
    """The rows for a spreadsheet, in full precision; text that a spreadsheet would run as a formula is quoted by '."""
    rows = comparison_rows(comparison)
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _harmless(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def comparison_json(comparison: Comparison) -> str:
    """The rows as a JSON list, in full precision."""
    return json.dumps(finite(comparison_rows(comparison)), indent=2, ensure_ascii=False, allow_nan=False)


def differences_csv(comparison: Comparison) -> str:
    """Every test of a difference for a spreadsheet, in full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = ("low", "high", "kind_a", "kind_b")
    names = [f.name for f in fields(Distinction) if f.name not in ("interval", "kinds")]
    writer.writerow([*names, *ends, "better"])
    for d in comparison.tests:
        row = (*(getattr(d, name) for name in names), *d.interval, *d.kinds, d.better)
        writer.writerow([_harmless(value) for value in row])
    return out.getvalue()


def _columns(runs: Sequence[Report]) -> tuple[list[Column], list[Board]]:
    """Columns of the leaderboard, and tables of the figures refused a place in it, each with the reason.

    Two ways of measuring one figure are rivals where some run has only the first and another only the second: their
    columns would invite the comparison that may not be made. Of rivals, the way that most runs share keeps its place.
    """
    by_key: dict[Key, dict[str, Figure]] = {}
    for run in runs:
        for f in apart(run.figures)[0]:
            by_key.setdefault(f.compared_in, {})[run.name] = f
    placed: list[Key] = []
    refused: dict[tuple[Any, ...], list[Column]] = {}
    for key in sorted(by_key, key=lambda k: -len(by_key[k])):  # stable: the earliest first among equals
        rival = next((k for k in placed if k[0] == key[0] and _rivals(by_key[k], by_key[key])), None)
        if rival is None:
            placed.append(key)
        else:
            group = (tuple(by_key[key]), _difference(by_key[key], by_key[rival]))
            refused.setdefault(group, []).append(column(by_key[key]))
    main = [column(figures) for key, figures in by_key.items() if key in placed]
    tables = [
        Board(runs=list(names), columns=columns, subject=subject(columns[0].figure), reason=reason)
        for (names, reason), columns in refused.items()
    ]
    return main, tables


def _rivals(a: Mapping[str, Figure], b: Mapping[str, Figure]) -> bool:
    return bool(a.keys() - b.keys()) and bool(b.keys() - a.keys())


def _difference(ours: Mapping[str, Figure], theirs: Mapping[str, Figure]) -> str:
    """Why the figures of some runs may not stand beside those of the others."""
    a, b = next(iter(ours.values())), next(iter(theirs.values()))
    if a.unit != b.unit:
        ways = (a.unit or "no unit", b.unit or "no unit")
        return f"In {ways[0]}, while the leaderboard's are in {ways[1]}: different quantities, not to be compared"
    ways = (extractor_text(a) or "no extractor", extractor_text(b) or "no extractor")
    return f"Measured with {ways[0]}, the leaderboard's with {ways[1]}: different quantities, not to be compared"


def _best(figures: Mapping[str, Figure]) -> tuple[str | None, str, list[str]]:
    """The run that is better than every other beyond doubt, or None, why there is none, and who shares the place."""
    some = list(figures.values())
    if len(some) < 2:
        return None, "", []
    if some[0].direction == "neither":
        return None, "neither direction is better", []
    if len({(f.n, f.n_real) for f in some}) > 1 and _biased_by_n(some[0].name):
        return None, "not comparable: N differs, and this figure depends on it", []
    sign = 1 if some[0].direction == "lower" else -1
    order = sorted(figures, key=lambda name: sign * figures[name].value)
    first = figures[order[0]]
    rivals = [name for name in order[1:] if not better(first, figures[name])]
    if not rivals:
        return order[0], "", []
    if first.interval is None or any(figures[name].interval is None for name in rivals):
        return None, "not distinguishable: an interval is missing", []
    tied = [order[0], *rivals]
    if first.kind != "bound" and any(figures[name].kind == "bound" for name in rivals):
        return None, "not distinguishable: a bound never loses to an exact value", tied
    return None, "not distinguishable: intervals overlap", tied


def _biased_by_n(name: str) -> bool:
    plain = name.casefold()
    return UNBIASED not in plain and any(word in plain for word in BIASED_BY_N)


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
