"""Several runs side by side: which figures may share a column, which run is best where that can be told, and exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulacra.core.figure import Figure
from simulacra.evaluation.report.contents import Report
from simulacra.evaluation.report.figures import extractor_text, finite

# estimates whose expectation moves with the number of examples: at unequal N the smaller set is at a disadvantage
BIASED_BY_N = ("frechet", "precision", "recall", "density", "coverage", "score")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run such a cell

Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs to be set side by side.

    runs      two or more, their names unique.
    real      a PNG grid of real pictures in the geometry of the runs' samples; by default the first run's.
    command   the line that makes the page again.
    """

    title: str
    runs: Sequence[Report]
    subtitle: str = ""
    date: str = ""
    real: bytes | None = None
    command: str = ""

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
    """

    figures: Mapping[str, Figure]
    best: str | None
    doubt: str

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
    """A table: rows are runs, columns are measures that all agree in what they measure. reason: why it stands apart."""

    runs: Sequence[str]
    columns: Sequence[Column]
    reason: str = ""


def column(figures: Mapping[str, Figure]) -> Column:
    """One column of a table. Raises ValueError where two of the figures measure different things."""
    if not figures:
        raise ValueError("a column needs at least one figure; got none")
    first = next(iter(figures.values()))
    for other in figures.values():
        first.comparable_to(other)
    best, doubt = _best(figures)
    return Column(figures=dict(figures), best=best, doubt=doubt)


def boards(comparison: Comparison) -> list[Board]:
    """The leaderboard, then one small table for each group of figures that may not stand in it, with the reason.

    A run judged against other data than the first run starts a table of its own, since every figure depends on it.
    """
    found: list[Board] = []
    apart: list[Board] = []
    identities = dict.fromkeys(r.data_identity for r in comparison.runs)
    for identity in identities:
        runs = [r for r in comparison.runs if r.data_identity == identity]
        main, refused = _columns(runs)
        names = [r.name for r in runs]
        reason = ""
        if len(identities) > 1:
            short = identity[:12] or "no fingerprint"
            reason = f"judged against {runs[0].data} ({short}); figures on different data are not set side by side"
        if main:
            found.append(Board(runs=names, columns=main, reason=reason))
        apart += [Board(runs=list(c.figures), columns=[c], reason=why) for c, why in refused]
    return found + apart


def better(a: Figure, b: Figure) -> bool:
    """Whether a is better than b beyond doubt: their intervals lie apart, and b is no bound that may hide a better value.

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


def _columns(runs: Sequence[Report]) -> tuple[list[Column], list[tuple[Column, str]]]:
    """Columns of the leaderboard, and those refused a place in it, each with the reason.

    A figure is refused where some run measured the same thing in another way and not in this one: its empty cell would
    invite the comparison that may not be made. A run that merely lacks a figure leaves a gap.
    """
    by_key: dict[Key, dict[str, Figure]] = {}
    for run in runs:
        for f in run.figures:
            by_key.setdefault(f.compared_in, {})[run.name] = f
    main: list[Column] = []
    refused: list[tuple[Column, str]] = []
    for key, figures in by_key.items():
        rivals = [other for other in by_key if other != key and other[0] == key[0]]
        elsewhere = {name: other for other in rivals for name in by_key[other] if name not in figures}
        if not elsewhere:
            main.append(column(figures))
            continue
        name, other = next(iter(elsewhere.items()))
        refused.append((column(figures), _difference(figures, key, name, by_key[other][name])))
    return main, refused


def _difference(figures: Mapping[str, Figure], key: Key, name: str, theirs: Figure) -> str:
    ours = next(iter(figures.values()))
    if ours.unit != theirs.unit:
        ways = f"in {ours.unit or 'no unit'}, {name} in {theirs.unit or 'no unit'}"
    else:
        ways = f"with {extractor_text(ours) or 'no extractor'}, {name} with {extractor_text(theirs) or 'no extractor'}"
    return f"{', '.join(figures)} measured {key[0]} {ways}; the two are different quantities"


def _best(figures: Mapping[str, Figure]) -> tuple[str | None, str]:
    """The run that is better than every other beyond doubt, or None and why."""
    some = list(figures.values())
    if len(some) < 2:
        return None, ""
    if some[0].direction == "neither":
        return None, "neither direction is better"
    sizes = {(f.n, f.n_real) for f in some}
    if len(sizes) > 1 and any(word in some[0].name.casefold() for word in BIASED_BY_N):
        return None, "not comparable: N differs, and this figure depends on it"
    if all(f.interval is None for f in some):
        return None, "not distinguishable: no intervals"
    for name, f in figures.items():
        if all(better(f, other) for rival, other in figures.items() if rival != name):
            return name, ""
    sign = 1 if some[0].direction == "lower" else -1
    order = sorted(figures, key=lambda n: sign * figures[n].value)
    first, rivals = figures[order[0]], [n for n in order[1:] if not better(figures[order[0]], figures[n])]
    if first.interval is None or any(figures[n].interval is None for n in rivals):
        return None, "not distinguishable: an interval is missing"
    if any(figures[n].kind == "bound" and first.kind != "bound" for n in rivals):
        return None, "not distinguishable: a bound never loses to an exact value"
    return None, f"not distinguishable: {order[0]} and {', '.join(rivals)} overlap"


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
