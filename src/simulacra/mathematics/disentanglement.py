"""Measures of how the dimensions of a code share out the factors an example was made from.

Throughout codes are (n, d), factors int64 (n, k) with values from 0, one row an example; tables are (d, k), dimension
by factor. Every measure lies in [0, 1] and is 1 for codes each of whose dimensions is one factor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.core.randomness import Rng


def discretised(codes: Tensor, bins: int) -> Tensor:
    """Each dimension as the number of its bin, int64 (n, d): bins of equal width from its least to its largest value.

    A dimension that never varies lies in bin 0 throughout.
    """
    low, high = codes.amin(0), codes.amax(0)
    width = (high - low) / bins
    index = ((codes - low) / torch.where(width > 0, width, 1.0)).floor()
    return index.clamp(0, bins - 1).long()


def entropies(values: Tensor) -> Tensor:
    """Entropy of each column of whole numbers (n, k), nats (k,), float64; by the observed shares."""
    return torch.stack([_entropy(column) for column in values.T])


def mutual_information(a: Tensor, b: Tensor) -> Tensor:
    """I(a_i; b_j) of columns of whole numbers (n, d) and (n, k), nats (d, k), float64, by the observed shares.

    Of independent columns it is about (A - 1)(B - 1) / 2n above the truth of 0, A and B values each.
    """
    joint = [[_entropy(x * (int(y.max()) + 1) + y) for y in b.T] for x in a.T]
    return (entropies(a)[:, None] + entropies(b) - torch.stack([torch.stack(row) for row in joint])).clamp(min=0)


def gap(table: Tensor) -> Tensor:
    """How far the best dimension of each factor is ahead of the next, (d, k) -> (k,)."""
    if len(table) < 2:
        raise ValueError(f"a gap is between two dimensions; got a code of {len(table)}")
    first, second = table.topk(2, dim=0).values
    return first - second


def information_gap(information: Tensor, entropy: Tensor) -> float:
    """MIG: how far the most telling dimension is ahead, as a share of each factor's entropy.

    Chen et al. 2018, section 4.1. information  (d, k), entropy (k,), nats. A factor that never varies is left out.
    """
    varies = entropy > 0
    return float((gap(information)[varies] / entropy[varies]).mean())


def modularity(information: Tensor) -> float:
    """How nearly each dimension tells of one factor alone (Ridgeway & Mozer 2018).

    1 - sum over the other factors of I^2 / (I_max^2 (k - 1)), mean over the dimensions; one that tells of nothing is
    left out, and a code of such dimensions has 0.
    """
    best = information.amax(1)
    told = best > 0
    if information.shape[1] < 2 or not bool(told.any()):
        return 0.0
    squares = (information[told] / best[told, None]).square()
    return float((1 - (squares.sum(1) - 1) / (information.shape[1] - 1)).mean())


def separability(codes: Tensor, factors: Tensor, ordered: list[bool]) -> Tensor:
    """How well each factor is predicted from each dimension alone, (d, k), float64 (Kumar et al. 2018, SAP).

    Of an ordered factor the squared correlation; of another how far above chance (theirs: the plain accuracy, so that
    a perfect code stays below 1) a rule of thresholds is right, balanced over its values: that whose mean is nearest.
    """
    z = codes.double()
    columns: list[Tensor] = []
    for factor, rank in zip(factors.T, ordered, strict=True):
        columns.append(_squared_correlation(z, factor.double()) if rank else _nearest_mean(z, factor))
    return torch.stack(columns, 1)


def share_out(importance: Tensor) -> tuple[float, float]:
    """DCI's disentanglement and completeness of non-negative importances (d, k) (Eastwood & Williams 2018, section 2).

    Disentanglement: 1 - entropy of a dimension's importances for the factors, base k, weighted by what the dimension
    contributes; completeness: 1 - entropy of a factor's importances over the dimensions, base d, mean over factors.
    """
    d, k = importance.shape
    total = importance.sum()
    if d < 2 or k < 2 or not float(total) > 0:
        return 0.0, 0.0
    by_dimension = 1 - _spread(importance, 1) / math.log(k)
    by_factor = 1 - _spread(importance, 0) / math.log(d)
    weight = importance.sum(1) / total
    return float((weight * by_dimension).sum()), float(by_factor.mean())


def alike(factors: Tensor, factor: Tensor, anchor: Tensor, each: int, rng: Rng) -> Tensor:
    """Rows whose named factor has the value it has in an anchor row, with replacement, int64 (m, each).

    factor (m,): which column must agree; anchor (m,): the row it must agree with.
    """
    u = rng("alike").uniform((len(factor), each), dtype=torch.float64, device=factors.device)
    found = torch.empty((len(factor), each), dtype=torch.int64, device=factors.device)
    for j in range(factors.shape[1]):
        here = factor == j
        order = factors[:, j].argsort(stable=True)
        counts = factors[:, j].bincount()
        value = factors[anchor[here], j]
        first = (counts.cumsum(0) - counts)[value]
        found[here] = order[first[:, None] + (u[here] * counts[value][:, None]).long()]
    return found


def steadiest(codes: Tensor, groups: Tensor, alive: Tensor) -> Tensor:
    """The dimension that varies least in each group of rows, relative to all rows, int64 (m,).

    groups (m, each), rows; alive (d,), which dimensions count (Kim & Mnih 2018, section 4).
    """
    within = torch.stack([codes[rows].var(0) for rows in groups])
    ratio = within / codes.var(0).clamp(min=torch.finfo(codes.dtype).tiny)
    return torch.where(alive, ratio, math.inf).argmin(1)


def majority_accuracy(
    votes: Tensor, factor: Tensor, fresh_votes: Tensor, fresh_factor: Tensor, d: int, k: int
) -> float:
    """Share of fresh votes told right by the factor that most of the first votes for a dimension stood for."""
    table = torch.zeros((d, k), dtype=torch.int64, device=votes.device)
    table.index_put_((votes, factor), torch.ones_like(votes), accumulate=True)
    return float((table.argmax(1)[fresh_votes] == fresh_factor).double().mean())


def _entropy(column: Tensor) -> Tensor:
    share = column.bincount().double() / len(column)
    return -torch.xlogy(share, share).sum()


def _squared_correlation(z: Tensor, factor: Tensor) -> Tensor:
    z, v = z - z.mean(0), factor - factor.mean()
    scale = z.square().sum(0) * v.square().sum()
    return torch.where(scale > 0, (z * v[:, None]).sum(0).square() / torch.where(scale > 0, scale, 1.0), 0.0)


def _nearest_mean(z: Tensor, factor: Tensor) -> Tensor:
    values = factor.bincount().nonzero()[:, 0]
    means = torch.stack([z[factor == v].mean(0) for v in values])
    said = (z[:, None] - means).abs().argmin(1)  # (n, d); of equal means the first
    right = torch.stack([(said[factor == v] == i).double().mean(0) for i, v in enumerate(values)]).mean(0)
    chance = 1 / len(values)
    return ((right - chance) / (1 - chance)).clamp(min=0) if len(values) > 1 else torch.zeros_like(right)


def _spread(importance: Tensor, dim: int) -> Tensor:
    """Entropy along a dimension of importances made shares, nats; the largest where there are none."""
    total = importance.sum(dim, keepdim=True)
    share = torch.where(total > 0, importance / torch.where(total > 0, total, 1.0), 1 / importance.shape[dim])
    return -torch.xlogy(share, share).sum(dim)
