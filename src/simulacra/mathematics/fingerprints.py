"""Sets of features as rows of 0 and 1: how much they share, how varied they are, and counts of things compared."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

ROWS = 1_024  # compared at a time


def tanimoto(a: UInt8[Tensor, "n d"], b: UInt8[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """|a and b| / |a or b| of every pair, 0 .. 1; of two empty sets 1 (Jaccard 1912; Rogers & Tanimoto 1960)."""
    x, y = a.float(), b.float()  # whole numbers up to 2^24 are exact
    both = x @ y.T
    either = x.sum(1, keepdim=True) + y.sum(1) - both
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def internal_diversity(a: UInt8[Tensor, "n d"]) -> float:
    """1 - the mean similarity of two different rows, 0 .. 1: the U-statistic of Benhenda 2017's internal diversity.

    MOSES (Polykovskiy et al. 2020, eq. 3, p = 1) counts a row's similarity to itself too, so its number is smaller, by
    (1 - mean similarity) / n. ValueError for fewer than two rows.
    """
    n = len(a)
    if n < 2:
        raise ValueError(f"diversity is of pairs; got {n} rows, expected 2 or more")
    total = sum(float(tanimoto(a[i : i + ROWS], a).double().sum()) for i in range(0, n, ROWS))
    return 1 - (total - n) / (n * (n - 1))


def nearest_similarity(a: UInt8[Tensor, "n d"], b: UInt8[Tensor, "m d"]) -> Float[Tensor, " n"]:
    """The similarity of each row of a to the row of b that is nearest to it."""
    return torch.cat([tanimoto(a[i : i + ROWS], b).amax(1) for i in range(0, len(a), ROWS)]).double()


def counts_cosine(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """Cosine of the angle between two tables of counts, 0 .. 1 (Polykovskiy et al. 2020, eq. 1); 0 for an empty one."""
    shared = sum(n * b[key] for key, n in a.items() if key in b)
    lengths = math.sqrt(sum(n * n for n in a.values())) * math.sqrt(sum(n * n for n in b.values()))
    return shared / lengths if lengths else 0.0
