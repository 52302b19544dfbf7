"""Tests of copying with an exact or known null: do samples lie nearer to what was learned from than unseen examples do?

Both compare two samples of one number per example, such as the distance to the nearest training example: that of the
samples, and that of held-out examples. Where the model copies nothing, the two are exchangeable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats as scipy_stats  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from simulacra.core.randomness import Rng

stats: Any = scipy_stats

TAILS = 0.0025, 0.005, 0.01, 0.02  # of the pooled values: the nearest ones, among which copies would stand
LEAST = 20  # samples, and held-out examples, of a cell that counts (Meehan et al. 2020, section 4.2)


@dataclass(frozen=True, kw_only=True)
class Tail:
    """How many of the smallest pooled values are the samples', in the tail where that says most.

    count     of the ``smallest`` pooled values, those of samples.
    expected  of them where nothing is copied.
    p         probability, where nothing is copied, that any of the tails looked at says so much: exactly.
    """

    count: int
    smallest: int
    expected: float
    p: float


def tail_test(
    fake: Float[Tensor, " n"], held: Float[Tensor, " m"], *, rng: Rng, shares: Sequence[float] = TAILS
) -> Tail:
    """Whether the smallest of the pooled values are samples' more often than chance would have it, in some tail.

    Given the pool, the number in one tail that are samples' is hypergeometric, whatever the distribution (Fisher's
    exact test of the table near/far by samples/held out); the least p over tails is judged by its own distribution,
    followed from tail to tail: narrow tails see few copies, wide ones see many near-copies. Equal values are put in a
    random order, which keeps all this true.
    """
    n, m = len(fake), len(held)
    if min(n, m) < 1:
        raise ValueError(f"a copying test needs samples and held-out examples; got {n} and {m}")
    pooled = torch.cat([fake.double(), held.double()])
    shuffled = rng("ties").permutation(n + m)
    order = shuffled[pooled[shuffled].argsort(stable=True)]
    sizes = sorted({math.ceil(share * (n + m)) for share in shares})
    counts = [int((order[:k] < n).sum()) for k in sizes]
    each = [float(stats.hypergeom.sf(c - 1, n + m, n, k)) for c, k in zip(counts, sizes, strict=True)]
    best = min(range(len(sizes)), key=lambda j: each[j])
    smallest = sizes[best]
    return Tail(count=counts[best], smallest=smallest, expected=smallest * n / (n + m),
                p=_any_so_small(each[best], n, m, sizes))  # fmt: skip


def _any_so_small(p: float, n: int, m: int, sizes: Sequence[int]) -> float:
    """Probability that the p of any nested tail of these sizes is at most p, where all orders are equally likely.

    Counts of the tails are a Markov chain of hypergeometric steps; what is summed is its mass where no tail says so.
    """
    mass, before = np.ones(1), 0
    for size in sizes:
        there, more = np.arange(len(mass)), np.arange(size - before + 1)
        step = stats.hypergeom.pmf(more[None], n + m - before, n - there[:, None], size - before)
        after = np.zeros(size + 1)
        for count in np.flatnonzero(mass):
            after[count : count + len(more)] += mass[count] * np.nan_to_num(step[count])
        # as equal as floats can be: what was observed counts as so small
        after[stats.hypergeom.sf(np.arange(size + 1) - 1, n + m, n, size) <= p * (1 + 1e-9)] = 0.0
        mass, before = after, size
    return min(1.0, max(p, 1.0 - float(mass.sum())))


@dataclass(frozen=True, kw_only=True)
class DataCopying:
    """Meehan et al.'s test.

    statistic  C_T: mean over cells of the Mann-Whitney z of samples' against held-out distances, weighted by the
               held-out examples in each; far below 0, samples lie too near; far above, too far.
    error      its standard deviation where nothing is copied: sqrt(sum of squared weights). It is not 1, as it would
               be of one cell: a mean of independent standard normals is narrower.
    p          of a value so low or lower, where nothing is copied.
    cells      those that had examples enough.
    """

    statistic: float
    error: float
    p: float
    cells: int


def data_copying(
    fake: Float[Tensor, " n"],
    held: Float[Tensor, " m"],
    fake_cell: Int[Tensor, " n"],
    held_cell: Int[Tensor, " m"],
    *,
    least: int = LEAST,
) -> DataCopying:
    """C_T of distances to the nearest training example, in cells (Meehan, Chaudhuri & Dasgupta 2020, section 4.2).

    The variance of each rank sum is corrected for ties. ValueError where no cell has examples enough.
    """
    weights: list[float] = []
    scores: list[float] = []
    for cell in range(int(torch.cat([fake_cell, held_cell]).max()) + 1):
        a, b = fake[fake_cell == cell], held[held_cell == cell]
        if min(len(a), len(b)) >= least:
            weights.append(float(len(b)))
            scores.append(mann_whitney(a, b))
    if not weights:
        raise ValueError(
            f"no cell has {least} samples and {least} held-out examples (of {len(fake)} and {len(held)});"
            " take fewer cells or more examples"
        )
    total = sum(weights)
    shares = [w / total for w in weights]
    statistic = sum(w * z for w, z in zip(shares, scores, strict=True))
    error = math.sqrt(sum(w * w for w in shares))
    return DataCopying(statistic=statistic, error=error, p=float(stats.norm.cdf(statistic / error)), cells=len(weights))


def mann_whitney(a: Float[Tensor, " n"], b: Float[Tensor, " m"]) -> float:
    """Standard score of the number of pairs with a > b, ties counted half, under exchangeability.

    Mann & Whitney 1947; variance mn (N + 1 - sum (t^3 - t) / (N (N - 1))) / 12 with t the sizes of ties. 0 where all
    values are equal.
    """
    n, m = len(a), len(b)
    pooled = torch.cat([a.double(), b.double()])
    ordered = pooled.sort().values
    below, upto = torch.searchsorted(ordered, pooled), torch.searchsorted(ordered, pooled, right=True)
    ranks, sizes = (below + upto + 1).double() / 2, (upto - below).double()
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    total = n + m
    ties = float((sizes**2 - 1).sum()) / (total * (total - 1))  # each of a tie's t values holds t^2 - 1 of it
    variance = n * m * (total + 1 - ties) / 12
    return (u - n * m / 2) / math.sqrt(variance) if variance > 1e-12 else 0.0
