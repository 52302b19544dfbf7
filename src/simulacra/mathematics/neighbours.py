"""Exact nearest neighbours and ball membership in bounded memory: screened in float32, settled in float64.

Squared distances |x|^2 + |y|^2 - 2 x.y of centred rows are taken in float32, a chunk of rows at a time; whatever lies
within the rounding error of a decision is computed again in float64 from the difference itself. The answers are those
of float64, at the speed and in the memory of float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CELLS = 1 << 21  # float32 distances held at a time: 8 MB, within reach of a last-level cache
SETTLE = 1 << 18  # float64 scalars of differences gathered at a time: 2 MB, a second-level cache
GROUP = 16  # columns whose minimum is taken before the smallest are sought
SPARE = 4  # candidates beyond k that the screening keeps


@dataclass(frozen=True, kw_only=True)
class Membership:
    """Which rows of two sets lie in the closed balls about rows of the other.

    x_covers     int64 (m,), how many balls about rows of x hold each row of y.
    y_reaches    bool (n,), whether any ball about a row of y holds this row of x.
    x_reached    bool (n,), whether the ball about this row of x holds any row of y.
    """

    x_covers: Int[Tensor, " m"]
    y_reaches: Bool[Tensor, " n"]
    x_reached: Bool[Tensor, " n"]


def nearest(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None = None, *, k: int = 1
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """Euclidean distances (float64, ascending) and indices of the k rows of y nearest to each row of x.

    y None: among the other rows of x itself. ValueError where there are fewer than k to choose from.
    """
    others = x if y is None else y
    available = len(others) - (y is None)
    if not 1 <= k <= available:
        raise ValueError(f"k lies in 1 .. {available}, the neighbours there are; got {k}")
    keep = min(k + SPARE, available)
    bound, candidates, slack = _candidates(x, keep) if y is None else _candidates_across(x, y, keep)
    exact = _exact(x, others, candidates)
    order = exact.argsort(dim=1, stable=True)[:, :k]
    found, where = exact.gather(1, order), candidates.gather(1, order)
    # a row that is no candidate lies at least (bound - slack) away; the rare doubtful rows are done outright
    doubtful = (found[:, -1] > bound.double() - slack).nonzero()[:, 0].tolist() if keep < available else []
    every = torch.arange(len(others), device=x.device)[None]
    for row in doubtful:
        whole = _exact(x[row : row + 1], others, every)[0]
        if y is None:
            whole[row] = torch.inf
        values, indices = whole.sort(stable=True)
        found[row], where[row] = values[:k], indices[:k]
    return found.sqrt(), where


def membership(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], x_radius: Float[Tensor, " n"], y_radius: Float[Tensor, " m"]
) -> Membership:
    """Which rows lie in the closed balls (row, radius) about rows of the other set; radii in float64."""
    covers = torch.zeros(len(y), dtype=torch.int64, device=x.device)
    reaches: list[Tensor] = []
    reached: list[Tensor] = []
    wide, tall = x_radius.double(), y_radius.double()
    for rows, squared, slack in _screen(x, y):
        both: list[Tensor] = []
        for radius in (wide[rows, None], tall[None]):
            limit = radius.square()
            # float32 may move the limit itself, which the doubled slack covers
            near = squared <= (limit + 2 * slack).float()
            doubt = near & (squared >= (limit - 2 * slack).float())
            row, column = doubt.nonzero(as_tuple=True)
            step = max(1, SETTLE // x.shape[1])
            for start in range(0, len(row), step):
                r, c = row[start : start + step], column[start : start + step]
                true = (x[rows.start + r].double() - y[c].double()).square().sum(1)
                # roots are compared, as the radius is one: squared again it may miss the neighbour it came from
                near[r, c] = true.sqrt() <= radius.expand(squared.shape)[r, c]
            both.append(near)
        # a chunk has at most 255 rows: bytes can count them
        covers += both[0].view(torch.uint8).sum(0, dtype=torch.uint8)
        reached.append(both[0].any(1))
        reaches.append(both[1].any(1))
    return Membership(x_covers=covers, y_reaches=torch.cat(reaches), x_reached=torch.cat(reached))


@dataclass(frozen=True, kw_only=True)
class _Single:
    """Two sets in float32 about one centre, with squared lengths, and the largest error of a squared distance."""

    a: Tensor
    b: Tensor
    a2: Tensor
    b2: Tensor
    slack: float

    def squared(self, rows: slice, columns: slice) -> Tensor:
        """Squared distances between some rows of one and some of the other, float32."""
        out = torch.addmm(self.b2[columns], self.a[rows], self.b[columns].T, alpha=-2)
        return out.add_(self.a2[rows, None])


def _single(x: Tensor, y: Tensor) -> _Single:
    centre = y.double().mean(0)  # far from the origin |x|^2 + |y|^2 - 2 x.y cancels
    a = (x.double() - centre).float()
    b = a if y is x else (y.double() - centre).float()
    a2, b2 = a.square().sum(1), b.square().sum(1)
    # an inner product of d terms in blocked float32 errs by less than sqrt(d) eps |a| |b|, with room to spare, beside
    # the rounding of its factors; what was measured is some thirty times smaller
    slack = (8 + x.shape[1] ** 0.5) * torch.finfo(torch.float32).eps * float(a2.max() + b2.max())
    return _Single(a=a, b=b, a2=a2, b2=b2, slack=slack)


def _screen(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor, float]]:
    """Chunks of at most 255 rows of x: (which rows, float32 squared distances to all of y, largest error of one)."""
    single = _single(x, y)
    for rows in _slices(len(x), min(255, max(1, CELLS // len(y)))):
        yield rows, single.squared(rows, slice(None)), single.slack


def _slices(n: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _candidates_across(x: Tensor, y: Tensor, keep: int) -> tuple[Tensor, Tensor, float]:
    """The keep rows of y that look nearest to each row of x: (distance of the last, which, slack)."""
    parts = [(*_smallest(squared, keep), slack) for _, squared, slack in _screen(x, y)]
    return torch.cat([values.amax(1) for values, _, _ in parts]), torch.cat([c for _, c, _ in parts]), parts[0][2]


def _candidates(x: Tensor, keep: int) -> tuple[Tensor, Tensor, float]:
    """The same among the other rows of x. Blocks below the diagonal are those above it, turned."""
    single = _single(x, x)
    blocks = _slices(len(x), max(keep + 1, math.isqrt(CELLS)))
    values = torch.full((len(x), keep), torch.inf, device=x.device)
    columns = torch.zeros(len(x), keep, dtype=torch.int64, device=x.device)
    for i, rows in enumerate(blocks):
        for others in blocks[i:]:
            squared = single.squared(rows, others)
            if others == rows:
                squared.fill_diagonal_(torch.inf)
                turned = [(rows, others, squared)]
            else:
                turned = [(rows, others, squared), (others, rows, squared.T.contiguous())]
            for here, there, distances in turned:
                new, which = _smallest(distances, min(keep, distances.shape[1]))
                both = torch.cat([values[here], new], dim=1)
                both_columns = torch.cat([columns[here], which + there.start], dim=1)
                values[here], order = both.topk(keep, dim=1, largest=False)
                columns[here] = both_columns.gather(1, order)
    return values.amax(1), columns, single.slack


def _smallest(squared: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The keep smallest of each row, in no order: (values, columns), each (n, keep)."""
    n, m = squared.shape
    groups = m // GROUP
    if groups < 4 * keep:
        return tuple(squared.topk(keep, dim=1, largest=False, sorted=False))
    # column j belongs to group j % groups; the keep smallest of a row lie in its keep groups of smallest minimum
    body = squared[:, : groups * GROUP].view(n, GROUP, groups)
    chosen = body.amin(1).topk(keep, dim=1, largest=False, sorted=False).indices
    offsets = torch.arange(GROUP, device=squared.device) * groups
    columns = (chosen[:, :, None] + offsets).flatten(1)
    rest = torch.arange(groups * GROUP, m, device=squared.device).expand(n, -1)
    columns = torch.cat([columns, rest], dim=1)
    values, order = squared.gather(1, columns).topk(keep, dim=1, largest=False, sorted=False)
    return values, columns.gather(1, order)


def _exact(x: Tensor, y: Tensor, columns: Tensor) -> Tensor:
    """Squared distances of each row of x to the rows of y with these numbers, float64, (n, columns)."""
    out = torch.empty(len(x), columns.shape[1], dtype=torch.float64, device=x.device)
    step = max(1, SETTLE // (columns.shape[1] * x.shape[1]))
    columns = columns.expand(len(x), -1)
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        out[rows] = (x[rows, None].double() - y[columns[rows]].double()).square().sum(2)
    return out
