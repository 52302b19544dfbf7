"""Drawn rows of a table: the figures of records and attacks (``evaluation.tables``) as findings."""

from __future__ import annotations

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation.tables.attacks import figures_of_attacks
from simulacra.evaluation.tables.records import figures_of_records
from simulacra.evaluation.tables.rows import Rows
from simulacra.responsibility.finding import Finding, unmeasured

# figure -> what an innocent model has; where the whole interval lies above it, attention is due
INNOCENT = {
    "nearer to training rows than to held-out ones": 0.5,
    "membership by distance": 0.5,
    "singling out risk": 0.0,
    "linkability risk": 0.0,
    "attribute inference risk": 0.0,
}
CERTAIN = 0.98  # an area from which no interval is known to hold, and none is needed to see that it is no chance


def findings_of_rows(fake: Rows, held: Rows, train: Rows, *, rng: Rng) -> list[Finding]:
    """A finding for each figure that has an innocent value and an interval; the others are listed in none."""
    figures = figures_of_records(fake, held, train, rng=rng("records"))
    figures += figures_of_attacks(fake, held, train, rng=rng("attacks"))
    by_name = {f.name: f for f in figures}
    return [_finding(name, innocent, by_name.get(name)) for name, innocent in INNOCENT.items()]


def _finding(name: str, innocent: float, figure: Figure | None) -> Finding:
    if figure is None:
        return unmeasured(name, "too few rows, or columns")
    if figure.interval is None and figure.value > CERTAIN:
        why = f"{figure.value:.3f} where {innocent:g} is innocent, too near the end for an interval; {figure.note}"
        return Finding(name=name, verdict="attention", why=why, figures=(figure,))
    if figure.interval is None:
        return unmeasured(name, f"{figure.value:.3f} without an interval ({figure.interval_method})")
    low, high = figure.interval
    verdict = "attention" if low > innocent else "pass"
    why = f"{figure.value:.3f} [{low:.3f}, {high:.3f}] where {innocent:g} is innocent; {figure.note}"
    return Finding(name=name, verdict=verdict, why=why, figures=(figure,))
