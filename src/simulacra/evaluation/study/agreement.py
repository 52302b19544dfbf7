"""Krippendorff's alpha: how far raters agree beyond chance, with any of them having judged any of the units.

alpha = 1 - D_o / D_e: the observed disagreement of pairs of values within units over that of all pairs. 1 is perfect
agreement, 0 chance, below 0 systematic disagreement (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Distance = Callable[[Floats, Floats], Floats]


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


def alpha(units: NDArray[np.int64], values: Floats, distance: Distance) -> float | None:
    """Krippendorff's alpha of judgements: values (n,) of units (n,), which rater gave which not being needed.

    distance  ``nominal``, ``ordinal`` or ``interval``.
    None where no unit has two judgements, or all values are the same: agreement then has no meaning.
    """
    names, value = np.unique(values, return_inverse=True)
    _, unit = np.unique(units, return_inverse=True)
    table = np.zeros((unit.max(initial=-1) + 1, len(names)))
    np.add.at(table, (unit, value), 1)
    table = table[table.sum(1) >= 2]  # a unit judged once pairs with nothing
    counts = table.sum(0)
    if np.count_nonzero(counts) < 2:
        return None
    names, table, counts = names[counts > 0], table[:, counts > 0], counts[counts > 0]
    # coincidences: ordered pairs within a unit of m judgements count 1 / (m - 1) each
    weights = 1 / (table.sum(1) - 1)
    together = (table * weights[:, None]).T @ table - np.diag((table * weights[:, None]).sum(0))
    apart = distance(names, counts)
    n = counts.sum()
    expected = (counts[:, None] * counts[None, :] * apart).sum() / (n - 1)
    return float(1 - (together * apart).sum() / expected)
