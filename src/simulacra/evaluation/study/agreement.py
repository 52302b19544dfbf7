"""Krippendorff's alpha: how far raters agree beyond chance, with any of them having judged any of the units.

alpha = 1 - D_o / D_e: the observed disagreement of pairs of values within units over that of all pairs. 1 is perfect
agreement, 0 chance, below 0 systematic disagreement (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").

Raters and units are both samples, so an interval has to let both vary. Resampling raters with repeats would pair a
rater with himself, who always agrees; the jackknife leaves one out at a time and pairs nobody with himself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from simulacra.evaluation.intervals import Interval, none, normal

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Distance = Callable[[Floats, Floats], Floats]
LEAST_RATERS, LEAST_UNITS = 20, 30  # ``bench/study.py`` simulates the interval from here on


def nominal(values: Floats, counts: Floats) -> Floats:
    """0 for equal values and 1 for others, (k, k)."""
    return (values[:, None] != values[None, :]).astype(np.float64)


def interval(values: Floats, counts: Floats) -> Floats:
    """(c - k)^2, (k, k)."""
    return (values[:, None] - values[None, :]) ** 2


def ordinal(values: Floats, counts: Floats) -> Floats:
    """(sum of n_g for g from c to k, less half of n_c and n_k)^2: values are as far apart as answers lie between."""
    upto = np.cumsum(counts) - counts / 2
    return (upto[:, None] - upto[None, :]) ** 2


def alpha(units: Ints, values: Floats, distance: Distance) -> float | None:
    """Krippendorff's alpha of judgements: values (n,) of units (n,), which rater gave which not being needed.

    distance  ``nominal``, ``ordinal`` or ``interval``.
    None where no unit has two judgements, or all values are the same: agreement then has no meaning.
    """
    names, table = _tables(units, values, np.zeros(len(values), np.int64))
    return _of_table(table[0], names, distance)


def alpha_interval(units: Ints, values: Floats, raters: Ints, distance: Distance) -> Interval:
    """Where the agreement lies that such raters would show on such units, if there were no end of either.

    Centred on alpha less its bias of first order in one over raters and units, by the jackknife over each. The
    variance is that of leaving out raters, less the second order that the jackknife counts twice (Efron & Stein 1981),
    plus that of leaving out units; what a single answer adds by chance is in both, so it is rather too wide. Degrees of
    freedom are those of a sum of two variances (Satterthwaite 1946).
    """
    names, tables = _tables(units, values, raters)
    tables = tables[:, tables.sum((0, 2)) >= 2]  # a unit judged once pairs with nothing
    groups, things, _ = tables.shape
    if groups < LEAST_RATERS or things < LEAST_UNITS:
        return none(
            f"{groups} raters and {things} things judged twice or more, the method holds from {LEAST_RATERS} and"
            f" {LEAST_UNITS} on"
        )
    whole = tables.sum(0)
    value = _of_table(whole, names, distance)
    if value is None:
        return none("all answers are the same, so that agreement has no meaning")
    of_raters = _left_out((_of_table(whole - own, names, distance) for own in tables), value)
    of_units = _left_out((_of_table(np.delete(whole, i, 0), names, distance) for i in range(things)), value)
    if of_raters is None or of_units is None:
        return none("without one of the raters or things, all answers are the same")
    rater = max(0.0, of_raters[1] - _second_order(tables, names, distance, value))
    variance = rater + of_units[1]
    if not variance > 0:
        return none("leaving out raters and things shows no spread")
    freedom = variance**2 / (rater**2 / (groups - 1) + of_units[1] ** 2 / (things - 1))
    centre = value - of_raters[0] - of_units[0]
    plain = normal(centre, math.sqrt(variance), "jackknife over raters and things", freedom=freedom)
    assert plain.bounds is not None
    low, high = (min(1.0, b) for b in plain.bounds)
    return Interval(bounds=(low, high), method=plain.method)


def _tables(units: Ints, values: Floats, raters: Ints) -> tuple[Floats, Floats]:
    """The different values (k,), and how often each rater gave each unit each of them, (raters, units, k)."""
    names, value = np.unique(values, return_inverse=True)
    _, unit = np.unique(units, return_inverse=True)
    _, rater = np.unique(raters, return_inverse=True)
    tables = np.zeros((rater.max(initial=-1) + 1, unit.max(initial=-1) + 1, len(names)))
    np.add.at(tables, (rater, unit, value), 1)
    return names, tables


def _of_table(table: Floats, names: Floats, distance: Distance) -> float | None:
    """Alpha of the numbers (units, k) of each value; None where it has no meaning."""
    table = table[table.sum(1) >= 2]
    counts = table.sum(0)
    if np.count_nonzero(counts) < 2:
        return None
    names, table, counts = names[counts > 0], table[:, counts > 0], counts[counts > 0]
    apart = distance(names, counts)
    # ordered pairs within a unit of m judgements count 1 / (m - 1) each; equal values are at distance nought
    observed = ((table @ apart) * table).sum(1) @ (1 / (table.sum(1) - 1))
    expected = counts @ apart @ counts / (counts.sum() - 1)
    return float(1 - observed / expected)


def _left_out(values: Iterable[float | None], whole: float) -> tuple[float, float] | None:
    """The jackknife's bias and variance, from the values without each; None where one of those has no value."""
    found = list(values)
    kept = np.array([v for v in found if v is not None])
    n = len(found)
    if len(kept) < n:
        return None
    return (n - 1) * float(kept.mean() - whole), (n - 1) / n * float(((kept - kept.mean()) ** 2).sum())


def _second_order(tables: Floats, names: Floats, distance: Distance, value: float) -> float:
    """What the jackknife over raters counts twice: twice the squares of what each two raters add to alpha together.

    To first order alpha moves by a sum over pairs of raters, of D_o - (1 - alpha) D_e over the whole D_e; without each
    rater's own mean, what is left of a pair is of second order (Hoeffding's decomposition).
    """
    counts = tables.sum((0, 1))
    seen = counts > 0
    tables, counts = tables[..., seen], counts[seen]
    apart = distance(names[seen], counts)
    n = counts.sum()
    weights = 1 / (tables.sum((0, 2)) - 1)
    groups, own = len(tables), tables.sum(1)
    far = (tables @ apart) * weights[:, None]
    pair = far.reshape(groups, -1) @ tables.reshape(groups, -1).T - (1 - value) * own @ apart @ own.T / (n - 1)
    pair /= counts @ apart @ counts / (n - 1)
    np.fill_diagonal(pair, 0)
    along = pair.sum(1)
    # pairs without a diagonal are centred by n - 2 in place of n
    pair -= (along[:, None] + along[None]) / (groups - 2) - along.sum() / ((groups - 1) * (groups - 2))
    np.fill_diagonal(pair, 0)
    return 2 * float((pair**2).sum())
