"""Exact nearest neighbours and ball membership in bounded memory: screened in float32, settled in float64.

Squared distances |x|^2 + |y|^2 - 2 x.y of centred rows are taken in float32, a chunk of rows at a time; whatever lies
within the rounding error of a decision is computed again in float64 from the difference itself. The answers are those
of float64, at the speed and in the memory of float32.
"""

from __future__ import annotations

import math
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
    screen = _Screen.of(x, others, torch.float32)
    bound, candidates = _among(screen, keep) if y is None else _across(screen, slice(None), keep)
    squared, where = _nearest_of(x, others, candidates, k)
    if keep < available:
        # a row that is no candidate lies at least (bound - slack) away; at no distance nothing can lie nearer
        rows = ((squared[:, -1] > bound.double() - screen.slack) & (squared[:, -1] > 0)).nonzero()[:, 0]
        if len(rows):
            finer = _Screen.of(x, others, torch.float64)
            _, candidates = _across(finer, rows, keep, without=rows if y is None else None)
            squared[rows], where[rows] = _nearest_of(x[rows], others, candidates, k)
    return squared.sqrt(), where


def membership(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], x_radius: Float[Tensor, " n"], y_radius: Float[Tensor, " m"]
) -> Membership:
    """Which rows lie in the closed balls (row, radius) about rows of the other set; radii in float64."""
    covers = torch.zeros(len(y), dtype=torch.int64, device=x.device)
    reaches: list[Tensor] = []
    reached: list[Tensor] = []
    wide, tall = x_radius.double(), y_radius.double()
    screens = [_Screen.of(x, y, torch.float32)]
    for rows in _slices(len(x), min(255, max(1, CELLS // len(y)))):
        chunks = [screens[0].squared(rows, slice(None))]
        both: list[Tensor] = []
        for radius in (wide[rows, None], tall[None]):
            near, row, column = _decide(chunks[0], radius, screens[0].slack)
            if len(row) > near.numel() // 16:
                # sets much tighter than their distance from one another: float32 cannot tell, float64 can
                screens += [_Screen.of(x, y, torch.float64)] if len(screens) == 1 else []
                chunks += [screens[1].squared(rows, slice(None))] if len(chunks) == 1 else []
                near, row, column = _decide(chunks[1], radius, screens[1].slack)
            step = max(1, SETTLE // x.shape[1])
            for start in range(0, len(row), step):
                r, c = row[start : start + step], column[start : start + step]
                true = (x[rows.start + r].double() - y[c].double()).square().sum(1)
                # roots are compared, as the radius is one: squared again it may miss the neighbour it came from
                near[r, c] = true.sqrt() <= radius.expand(near.shape)[r, c]
            both.append(near)
        # a chunk has at most 255 rows: bytes can count them
        covers += both[0].view(torch.uint8).sum(0, dtype=torch.uint8)
        reached.append(both[0].any(1))
        reaches.append(both[1].any(1))
    return Membership(x_covers=covers, y_reaches=torch.cat(reaches), x_reached=torch.cat(reached))


def _decide(squared: Tensor, radius: Tensor, slack: float) -> tuple[Tensor, Tensor, Tensor]:
    """Which squared distances look within the radius, and the rows and columns where that is in doubt."""
    limit = radius.square()
    # the doubled slack also covers the rounding of the limit
    near = squared <= (limit + 2 * slack).to(squared.dtype)
    doubt = near & (squared >= (limit - 2 * slack).to(squared.dtype))
    row, column = doubt.nonzero(as_tuple=True)
    return near, row, column


@dataclass(frozen=True, kw_only=True)
class _Screen:
    """Two sets about one centre in some precision, with squared lengths and the largest error of a squared distance."""

    a: Tensor
    b: Tensor
    a2: Tensor
    b2: Tensor
    slack: float

    @staticmethod
    def of(x: Tensor, y: Tensor, dtype: torch.dtype) -> _Screen:
        """The sets in this precision, or in float64 where their squares are beyond its range."""
        centre = y.double().mean(0)  # far from the origin |x|^2 + |y|^2 - 2 x.y cancels
        a = (x.double() - centre).to(dtype)
        b = a if y is x else (y.double() - centre).to(dtype)
        a2, b2 = a.square().sum(1), b.square().sum(1)
        longest = float(a2.max() + b2.max())
        if not math.isfinite(longest) and dtype != torch.float64:
            return _Screen.of(x, y, torch.float64)
        # an inner product of d terms, summed in blocks, errs by less than sqrt(d) eps |a| |b| with room to spare,
        # beside the rounding of its factors; what was measured is some thirty times smaller
        slack = (8 + x.shape[1] ** 0.5) * torch.finfo(dtype).eps * longest
        return _Screen(a=a, b=b, a2=a2, b2=b2, slack=slack)

    def squared(self, rows: slice | Tensor, columns: slice) -> Tensor:
        """Squared distances between some rows of one and some of the other."""
        out = torch.addmm(self.b2[columns], self.a[rows], self.b[columns].T, alpha=-2)
        return out.add_(self.a2[rows][:, None])


def _slices(n: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _across(screen: _Screen, rows: slice | Tensor, keep: int, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The keep rows of b that look nearest to some rows of a: (squared distance of the last, which).

    without  a row of b to leave out for each row of a, or None.
    """
    chosen = torch.arange(len(screen.a), device=screen.a.device)[rows]
    last: list[Tensor] = []
    which: list[Tensor] = []
    for part in _slices(len(chosen), max(1, CELLS // len(screen.b))):
        squared = screen.squared(chosen[part], slice(None))
        if without is not None:
            squared.scatter_(1, without[part, None], torch.inf)
        values, columns = _smallest(squared, keep)
        last.append(values.amax(1))
        which.append(columns)
    return torch.cat(last), torch.cat(which)


def _among(screen: _Screen, keep: int) -> tuple[Tensor, Tensor]:
    """The same for all rows of one set among the others. Blocks below the diagonal are those above it, turned."""
    n = len(screen.a)
    blocks = _slices(n, max(keep + 1, math.isqrt(CELLS)))
    values = torch.full((n, keep), torch.inf, dtype=screen.a.dtype, device=screen.a.device)
    columns = torch.zeros(n, keep, dtype=torch.int64, device=screen.a.device)
    for i, rows in enumerate(blocks):
        for others in blocks[i:]:
            squared = screen.squared(rows, others)
            turned = [(rows, others, squared)]
            if others == rows:
                squared.fill_diagonal_(torch.inf)
            else:
                turned += [(others, rows, squared.T.contiguous())]
            for here, there, distances in turned:
                new, which = _smallest(distances, min(keep, distances.shape[1]))
                both = torch.cat([values[here], new], dim=1)
                both_columns = torch.cat([columns[here], which + there.start], dim=1)
                values[here], order = both.topk(keep, dim=1, largest=False)
                columns[here] = both_columns.gather(1, order)
    return values.amax(1), columns


def _smallest(squared: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The keep smallest of each row, in no order: (values, columns), each (n, keep)."""
    n, m = squared.shape
    groups = m // GROUP
    if groups < 4 * keep:
        values, columns = squared.topk(keep, dim=1, largest=False, sorted=False)
        return values, columns
    # column j belongs to group j % groups; the keep smallest of a row lie in its keep groups of smallest minimum
    body = squared[:, : groups * GROUP].view(n, GROUP, groups)
    chosen = body.amin(1).topk(keep, dim=1, largest=False, sorted=False).indices
    offsets = torch.arange(GROUP, device=squared.device) * groups
    columns = (chosen[:, :, None] + offsets).flatten(1)
    rest = torch.arange(groups * GROUP, m, device=squared.device).expand(n, -1)
    columns = torch.cat([columns, rest], dim=1)
    values, order = squared.gather(1, columns).topk(keep, dim=1, largest=False, sorted=False)
    return values, columns.gather(1, order)


def _nearest_of(x: Tensor, y: Tensor, columns: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Squared distances in float64 and numbers of the k nearest among a few rows of y for each row of x."""
    squared = torch.empty(columns.shape, dtype=torch.float64, device=x.device)
    for rows in _slices(len(x), max(1, SETTLE // (columns.shape[1] * x.shape[1]))):
        squared[rows] = (x[rows, None].double() - y[columns[rows]].double()).square().sum(2)
    order = squared.argsort(dim=1, stable=True)[:, :k]
    return squared.gather(1, order), columns.gather(1, order)
