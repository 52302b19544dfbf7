"""How far drawn rows have the shapes of real ones: each column, each pair, each column within a group.

Similarities are 1 for equal distributions and 0 for ones that have nothing in common; a sample of a distribution has
less than 1 to another sample of it, the less the fewer rows: each figure says what real rows have to real rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.evaluation import intervals
from simulacra.evaluation.tables.rows import Rows
from simulacra.mathematics.association import correlations, joint, kolmogorov_smirnov, total_variation

BINS = 10  # that numbers are cut into beside categories, at the real ones' quantiles
MOST_COLUMNS = 60  # whose pairs are compared
GROUPS = 10  # values up to which a column makes groups
LEAST = 50  # rows of a group, on both sides


def column_shapes(fake: Rows, real: Rows) -> dict[str, float]:
    """Each column's similarity: 1 - Kolmogorov & Smirnov's distance of numbers, 1 - total variation of values.

    What is missing counts as a value: of numbers as one beyond all others.
    """
    return {name: _alike(fake.column(name), real.column(name)) for name in real.columns}


def pair_trends(fake: Rows, real: Rows) -> dict[tuple[str, str], float]:
    """Each pair's similarity: of numbers 1 - |difference of their correlations| / 2, of others 1 - total variation of
    their joint table, numbers cut at the tenths of the real ones. Pairs of numbers that do not vary are left out.
    """
    found: dict[tuple[str, str], float] = {}
    names = list(real.columns)[:MOST_COLUMNS]
    apart = (correlations(fake.numbers) - correlations(real.numbers)).abs()
    cut = {name: _cut(fake.column(name), real.column(name)) for name in names}
    for a, b in itertools.combinations(names, 2):
        if a in real.names and b in real.names:
            difference = float(apart[real.names.index(a), real.names.index(b)])
            if difference == difference:
                found[a, b] = 1 - difference / 2
            continue
        (fake_a, real_a), (fake_b, real_b) = cut[a], cut[b]
        both = joint(torch.cat([fake_a, real_a]), torch.cat([fake_b, real_b]))
        found[a, b] = 1 - total_variation(both[: len(fake)], both[len(fake) :])
    return found


def conditional_shapes(fake: Rows, real: Rows) -> dict[str, float]:
    """For each column of few values the mean similarity of all others among the rows that have one of them, values
    weighed by how often real rows have them; groups of fewer than 50 rows on either side are left out, and count as
    unlike where only drawn rows are lacking.
    """
    found: dict[str, float] = {}
    for by in real.valued:
        ours, theirs = fake.column(by), real.column(by)
        values, counts = theirs.unique(return_counts=True)
        if not 2 <= len(values) <= GROUPS:
            continue
        total, weight = 0.0, 0
        for value, n in zip(values.tolist(), counts.tolist(), strict=True):
            if n < LEAST:
                continue
            weight += n
            mine = (ours == value).nonzero()[:, 0]
            if len(mine) < LEAST:
                continue
            others = [c for c in real.columns if c != by]
            a, b = fake.take(mine).only(others), real.take((theirs == value).nonzero()[:, 0]).only(others)
            total += n * _mean(column_shapes(a, b))
        if weight:
            found[by] = total / weight
    return found


def figures_of_shapes(fake: Rows, real: Rows, train: Rows, *, seed: int | None = None) -> list[Figure]:
    """The three similarities, each a mean, with the least of them, and what as many real rows have."""
    null = train.take(torch.arange(min(len(train), len(fake))))
    figures: list[Figure] = []
    measures: dict[str, Callable[[Rows, Rows], Mapping[Any, float]]] = {
        "column shapes": column_shapes,
        "pair trends": pair_trends,
        "conditional shapes": conditional_shapes,
    }
    for name, measure in measures.items():
        found, usual = measure(fake, real), measure(null, real)
        if not found:
            continue
        worst = sorted(found, key=lambda key: found[key])[:3]
        shown = ", ".join(f"{' / '.join(key) if isinstance(key, tuple) else key} {found[key]:.3f}" for key in worst)
        figures.append(
            Figure(
                name=name,
                value=_mean(found),
                direction="higher",
                n=len(fake),
                n_real=len(real),
                interval_method=intervals.none("a mean of distances, which few rows make larger").method,
                seed=seed,
                note=f"{len(null):,} real rows have {_mean(usual):.3f}; least: {shown}",
            )
        )
    return figures


def _alike(a: Tensor, b: Tensor) -> float:
    if a.dtype == torch.int64:
        return 1 - total_variation(a, b)
    return 1 - kolmogorov_smirnov(a.nan_to_num(nan=torch.inf), b.nan_to_num(nan=torch.inf))


def _cut(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Columns as whole numbers from 0 on: values as they are, numbers by the tenths of b, what is missing the last."""
    if a.dtype == torch.int64:
        return a, b
    held = b[b.isfinite()]
    if not len(held):
        return a.isnan().long(), b.isnan().long()
    edges = torch.quantile(held[: 1 << 24], torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]).unique()

    def places(x: Tensor) -> Tensor:
        return torch.where(x.isnan(), BINS, torch.searchsorted(edges, x.contiguous().nan_to_num(), right=True))

    return places(a), places(b)


def _mean(values: Mapping[Any, float]) -> float:
    return sum(values.values()) / len(values) if values else float("nan")
