"""What stands beside the figures: strengths from preferences, the mixed model, intervals that overlook the raters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.intervals import Interval
from simulacra.evaluation.study import shares
from simulacra.evaluation.study.answers import Answer
from simulacra.evaluation.study.designs import LEFT, REAL, RIGHT
from simulacra.evaluation.study.mixed import logistic_mixed
from simulacra.evaluation.study.preferences import FIRST, SECOND, TIE, Strengths, davidson
from simulacra.evaluation.study.protocol import Study


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the page: title, meaning, column heads, rows of text; names: how many columns are no numbers."""

    title: str
    about: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    names: int = 1


def strengths_of(study: Study, answers: Sequence[Answer]) -> tuple[list[Figure], list[Table]]:
    """Each system's strength as a figure, and the pairs' probabilities as a table; why, where there are none."""
    systems = list(study.plan.systems)
    number = {s: i for i, s in enumerate(systems)}
    first = np.array([number[a.trial.systems[0]] for a in answers])
    second = np.array([number[a.trial.systems[1]] for a in answers])
    outcome = np.array([{LEFT: FIRST, RIGHT: SECOND}.get(a.choice, TIE) for a in answers])
    raters = np.array([a.rater for a in answers])
    clusters = len(np.unique(raters))
    try:
        found = davidson(first, second, outcome, raters, len(systems))
    except ValueError as error:
        told = Table(title="Strengths", about=f"No strengths: {error}.", heads=(), rows=[])
        return [], [told]
    figures = []
    for i, system in enumerate(systems):
        interval = _strength_interval(found, i, clusters)
        figures.append(
            Figure(
                name=f"strength, {system}", value=float(found.values[i]), unit="log-odds", direction="higher",
                n=len(answers), interval=interval.bounds, interval_method=interval.method,
                note=f"{clusters} raters; the mean of all is 0",
            )
        )  # fmt: skip
    rows = []
    for i, j in combinations(range(len(systems)), 2):
        p, (low, high) = found.beats(i, j, max(clusters - 1, 1))
        rows.append(
            (systems[i], systems[j], f"{p:.3f}", f"[{low:.3f}, {high:.3f}]" if clusters >= shares.LEAST_RATERS else "—")
        )
    kind = (
        f"Bradley-Terry with ties (Davidson 1970), nu = {np.exp(found.tie):.3f}"
        if found.tie is not None
        else "Bradley-Terry"
    )
    table = Table(
        title="Strengths",
        about=f"{kind}: the probability that the first is preferred where one is; clustered by rater.",
        heads=("First", "Second", "Probability", "95 % interval"), rows=rows, names=2,
    )  # fmt: skip
    return figures, [table]


def _strength_interval(found: Strengths, i: int, clusters: int) -> Interval:
    if clusters < shares.LEAST_RATERS:
        return intervals.none(f"{clusters} raters, the sandwich holds from {shares.LEAST_RATERS} on")
    error = float(np.sqrt(found.covariance[i, i]))
    return intervals.normal(float(found.values[i]), error, "sandwich clustered by rater", freedom=clusters - 1)


def mixed_table(study: Study, answers: Sequence[Answer]) -> list[Table]:
    """The logistic mixed model, one log-odds a system."""
    groups = list(study.design.groups(study.plan.systems))
    number = {i.id: n for n, i in enumerate(study.plan.items)}
    about = (
        "Log-odds of a wrong answer for a typical rater and a typical stimulus, both being random effects (Laplace's"
        " approximation; the intervals are Wald's with Student's t, and take the two deviations as known)."
    )
    try:
        found = logistic_mixed(
            np.array([wrong(a) for a in answers]),
            np.array([groups.index(a.trial.group) for a in answers]),
            np.array([a.rater for a in answers]),
            # of a pair, the generated one is what differs from trial to trial
            np.array([number[a.trial.items[-1 if a.trial.systems[0] == REAL else 0]] for a in answers]),
            len(groups),
        )
    except (ValueError, np.linalg.LinAlgError) as error:
        return [Table(title="Mixed model", about=f"No mixed model: {error}.", heads=(), rows=[])]
    rows = []
    for i, group in enumerate(groups):
        value, interval = float(found.values[i]), found.interval(i)
        p, low, high = (1 / (1 + np.exp(-x)) for x in (value, *(interval.bounds or (0.0, 0.0))))
        told = "—" if interval.bounds is None else f"[{low:.3f}, {high:.3f}]"
        rows.append((group, f"{value:.3f}", f"{p:.3f}", told))
    rows.append(("deviation of raters", f"{found.sd_rater:.3f}", "", ""))
    rows.append(("deviation of stimuli", f"{found.sd_item:.3f}", "", ""))
    return [
        Table(title="Mixed model", about=about, heads=("System", "Log-odds", "Probability", "95 % Wald"), rows=rows)
    ]


def spread_row(study: Study, group: str, own: Sequence[Answer]) -> tuple[str, ...]:
    """A group's wrong answers, Wilson's interval, that of the bootstrap of raters, and the design effect."""
    values = np.array([wrong(a) for a in own])
    sums, counts = shares.totals(np.array([a.rater for a in own]), values)
    wilson = shares.wilson(int(values.sum()), len(own))
    drawn = shares.by_rater(sums, counts, Rng(study.plan.seed)("spread", group))
    told = ["—" if b is None else f"[{b[0]:.3f}, {b[1]:.3f}]" for b in (wilson.bounds, drawn.bounds)]
    effect = shares.design_effect(sums, counts, float((values**2).sum()))
    return group, f"{int(values.sum())} of {len(own)}", *told, f"{effect:.2f}"


def spread_table(rows: list[tuple[str, ...]]) -> Table:
    """The table of those rows."""
    return Table(
        title="Other intervals",
        about="Wilson's interval, which overlooks that a rater's answers resemble one another; the design effect says"
        " by how much the variance is larger in truth. The bootstrap of raters holds the truth too seldom near 0"
        " and 1, and with few raters.",
        heads=("System", "Wrong answers", "95 % Wilson", "95 % bootstrap of raters", "Design effect"),
        rows=rows,
    )


def wrong(a: Answer) -> float:
    """1 where the rater was deceived, 0 where not."""
    return float(not a.right)
