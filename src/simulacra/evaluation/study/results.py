"""From answers to figures: what each design measures, with the interval that raters, not answers, support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.study import agreement, shares
from simulacra.evaluation.study.answers import Answer, Kept
from simulacra.evaluation.study.designs import LEFT, REAL, RIGHT, Discern, Prefer, Rate, Timed, Untimed
from simulacra.evaluation.study.models import Table, mixed_table, spread_row, spread_table, strengths_of, wrong
from simulacra.evaluation.study.protocol import Study
from simulacra.evaluation.study.psychometric import Psychometric, fit, threshold_interval

Direction = Literal["lower", "higher", "neither"]
MOST_PAIRS = 15  # of systems whose differences are listed


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a study came to: figures, tables beside them, and the psychometric functions of a timed one."""

    figures: list[Figure]
    tables: list[Table] = field(default_factory=list)
    curves: dict[str, Psychometric] = field(default_factory=dict)


def results_of(study: Study, kept: Kept) -> Results:
    """Figures and tables of the answers that count. ValueError where none does."""
    answers = kept.counted
    if not answers:
        raise ValueError(
            f"{study.folder}: no answer counts yet ({kept.raters} raters, {len(kept.excluded)} excluded by the"
            " registered rule); wait for more"
        )
    design = study.design
    if isinstance(design, Prefer):
        return _preferences(study, answers)
    if isinstance(design, Rate):
        return _ratings(study, answers)
    if isinstance(design, Timed):
        return _glances(study, design, answers)
    assert isinstance(design, Discern | Untimed)
    return _errors(study, answers)


def _errors(study: Study, answers: Sequence[Answer]) -> Results:
    """Discern and Untimed: how often raters were deceived."""
    pairs = isinstance(study.design, Discern)
    name = "deception rate, {}" if pairs else "error rate, {}"
    figures: list[Figure] = []
    spread: list[tuple[str, ...]] = []
    for group in study.design.groups(study.plan.systems):
        own = [a for a in answers if a.trial.group == group]
        if not own:
            continue
        figures.append(_mean(study, name.format(group), own, wrong, "higher", note="0.5: raters can only guess"))
        spread.append(spread_row(study, group, own))
        fake = [a for a in own if a.trial.systems[0] != REAL]
        if not pairs and fake:
            figures.append(_mean(study, f"generated taken for real, {group}", fake, wrong, "higher"))
    real = [a for a in answers if not pairs and a.trial.systems[0] == REAL]
    if real:
        figures.append(_mean(study, "real taken for generated", real, wrong, "neither"))
    figures += _differences(study, name.split(",")[0], answers, wrong)
    figures += [] if pairs else _alpha(study, answers, {"nominal": agreement.nominal}, lambda a: a.choice == "real")
    return Results(figures=figures, tables=[spread_table(spread), *mixed_table(study, answers)])


def _ratings(study: Study, answers: Sequence[Answer]) -> Results:
    figures: list[Figure] = []
    rows: list[tuple[str, ...]] = []
    for group in study.design.groups(study.plan.systems):
        own = [a for a in answers if a.trial.group == group]
        if not own:
            continue
        figures.append(_mean(study, f"mean opinion, {group}", own, _rating, "higher"))
        given = [int(_rating(a)) for a in own]
        rows.append((group, *(f"{given.count(k)}" for k in range(1, 6))))
    figures += _differences(study, "mean opinion", answers, _rating)
    measures = {"ordinal": agreement.ordinal, "interval": agreement.interval}
    figures += _alpha(study, answers, measures, _rating)
    table = Table(
        title="Ratings",
        about="How often each was given.",
        heads=("System", *(c.label for c in study.design.choices)),
        rows=rows,
    )
    return Results(figures=figures, tables=[table])


def _glances(study: Study, design: Timed, answers: Sequence[Answer]) -> Results:
    figures: list[Figure] = []
    curves: dict[str, Psychometric] = {}
    for group in design.groups(study.plan.systems):
        own = [a for a in answers if a.trial.group == group and a.shown]
        if len(own) < 10:
            continue
        figure, curve = _threshold(study, design, group, own)
        figures.append(figure)
        curves[group] = curve
        figures.append(_mean(study, f"error rate, {group}", own, wrong, "higher", note="over the exposures shown"))
    if not figures:
        raise ValueError(f"{study.folder}: too few timed answers for a threshold; it needs at least 10 of a system")
    figures += _alpha(study, answers, {"nominal": agreement.nominal}, lambda a: a.choice == "real")
    rows = [
        (group, f"{c.alpha:.0f} ms", f"{c.beta:.2f}", f"{c.lapse:.3f}", f"{c.log_likelihood:.1f}")
        for group, c in curves.items()
    ]
    table = Table(
        title="Psychometric functions",
        about="Right answers against exposure: midpoint, width in log units, lapse rate, log-likelihood.",
        heads=("System", "Midpoint", "Width", "Lapses", "Log-likelihood"),
        rows=rows,
    )
    return Results(figures=figures, tables=[table], curves=curves)


def _threshold(study: Study, design: Timed, group: str, own: Sequence[Answer]) -> tuple[Figure, Psychometric]:
    """The exposure at which as many answers are right as the staircase aims at; the bound where none reaches that."""
    ms = np.array([a.shown for a in own], float)
    right = np.array([bool(a.right) for a in own], float)
    raters = np.array([a.rater for a in own])
    curve = fit(ms, right)

    name, value = f"threshold at {design.target:.0%} right, {group}", curve.threshold(design.target)
    beyond = value > design.high
    low, high = np.quantile(ms, [0.02, 0.98])
    if not beyond and not low <= value <= high:
        interval = intervals.none("the threshold lies outside the exposures that were shown; start nearer to it")
    elif beyond:
        interval = intervals.none("the threshold lies beyond the longest exposure")
    else:
        interval = threshold_interval(curve, ms, right, raters, design.target)
    figure = Figure(
        name=name,
        value=design.high if beyond else value,
        unit="ms",
        direction="higher",
        kind="bound" if beyond else "estimate",
        n=len(own),
        interval=interval.bounds,
        interval_method=interval.method,
        note=f"{len(np.unique(raters))} raters"
        + (f"; so many right answers are not reached at {design.high:g} ms" if beyond else ""),
    )
    return figure, curve


def _preferences(study: Study, answers: Sequence[Answer]) -> Results:
    figures: list[Figure] = []
    rows: list[tuple[str, ...]] = []
    for group in study.design.groups(study.plan.systems):
        a, b = group.split("|")
        own = [x for x in answers if x.trial.group == group]
        decided = [x for x in own if x.choice in (LEFT, RIGHT)]
        wins = sum(_preferred(x) == a for x in decided)
        rows.append((a, b, str(wins), str(len(own) - len(decided)), str(len(decided) - wins)))
        if decided:
            note = "of the answers that were no tie" if len(decided) < len(own) else ""
            name = f"preference for {a} over {b}"
            figures.append(_mean(study, name, decided, lambda x, a=a: float(_preferred(x) == a), "neither", note=note))
    table = Table(
        title="Pairs", about="How often the first was preferred, neither, and the second.",
        heads=("First", "Second", "First better", "No difference", "Second better"), rows=rows, names=2,
    )  # fmt: skip
    strengths, tables = strengths_of(study, answers)
    figures += _alpha(study, answers, {"nominal": agreement.nominal}, _preferred_item)
    return Results(figures=[*strengths, *figures], tables=[table, *tables])


def _mean(
    study: Study,
    name: str,
    answers: Sequence[Answer],
    value: Callable[[Answer], float],
    direction: Direction,
    *,
    note: str = "",
) -> Figure:
    """The mean of a value of these answers, or the share where it is 0 or 1, with an interval clustered by rater."""
    values = np.array([value(a) for a in answers], float)
    sums, counts = shares.totals(np.array([a.rater for a in answers]), values)
    if isinstance(study.design, Rate):
        interval = shares.by_rater(sums, counts, Rng(study.plan.seed)("results", name))
    else:
        interval = shares.share_by_rater(sums, counts)
    notes = [f"{len(sums)} raters", note]
    return Figure(
        name=name, value=float(values.mean()), direction=direction, n=len(answers), interval=interval.bounds,
        interval_method=interval.method, seed=study.plan.seed, note="; ".join(n for n in notes if n),
    )  # fmt: skip


def _differences(study: Study, what: str, answers: Sequence[Answer], value: Callable[[Answer], float]) -> list[Figure]:
    """What lies between every two systems, raters being resampled together: each has judged both."""
    figures = []
    pairs = list(combinations(study.design.groups(study.plan.systems), 2))
    for a, b in pairs if len(pairs) <= MOST_PAIRS else []:
        own = [x for x in answers if x.trial.group in (a, b)]
        _, index = np.unique([x.rater for x in own], return_inverse=True)
        groups = int(index.max()) + 1
        values, is_a = np.array([value(x) for x in own]), np.array([x.trial.group == a for x in own])
        parts = [np.bincount(index, w, groups) for w in (is_a * values, is_a, ~is_a * values, ~is_a)]

        def gap(drawn: NDArray[np.int64], parts=parts) -> float | None:
            top_a, n_a, top_b, n_b = (p[drawn].sum() for p in parts)
            return float(top_a / n_a - top_b / n_b) if n_a and n_b else None

        observed = gap(np.arange(groups))
        if observed is None:
            continue
        interval = shares.of_statistic(groups, gap, Rng(study.plan.seed)("difference", a, b), repeats=shares.REPEATS)
        figures.append(
            Figure(
                name=f"{what}, {a} less {b}", value=observed, direction="neither", n=len(own), interval=interval.bounds,
                interval_method=interval.method, seed=study.plan.seed, note=f"{groups} raters",
            )
        )  # fmt: skip
    return figures


def _alpha(
    study: Study,
    answers: Sequence[Answer],
    measures: dict[str, agreement.Distance],
    value: Callable[[Answer], float],
) -> list[Figure]:
    number = {i.id: n for n, i in enumerate(study.plan.items)}
    named = {}
    units = np.array([named.setdefault(tuple(sorted(number[i] for i in a.trial.items)), len(named)) for a in answers])
    values = np.array([float(value(a)) for a in answers])
    raters = np.array([a.rater for a in answers])
    figures = []
    for name, distance in measures.items():
        found = agreement.alpha(units, values, distance)
        if found is not None:
            interval = agreement.alpha_interval(units, values, raters, distance)
            figures.append(
                Figure(
                    name=f"Krippendorff's alpha, {name}", value=found, direction="neither", n=len(answers),
                    interval=interval.bounds, interval_method=interval.method,
                    note=f"{len(named)} things judged; 1 is agreement, 0 chance",
                )
            )  # fmt: skip
    return figures


def _rating(a: Answer) -> float:
    return float(a.choice)


def _preferred(a: Answer) -> str:
    """The system that was preferred, or ""."""
    return {LEFT: a.trial.systems[0], RIGHT: a.trial.systems[-1]}.get(a.choice, "")


def _preferred_item(a: Answer) -> float:
    """0 or 1 for the first or second of the pair in the order of their names, 2 for a tie."""
    if a.choice not in (LEFT, RIGHT):
        return 2.0
    return float(sorted(a.trial.items).index(a.trial.items[0 if a.choice == LEFT else -1]))
