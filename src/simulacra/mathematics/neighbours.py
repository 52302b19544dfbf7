"""Exact nearest neighbours and ball membership in bounded memory: screened in float32, settled in float64.

Squared distances |x|^2 + |y|^2 - 2 x.y of centred rows are taken in float32, a chunk of rows at a time; whatever lies
within the rounding error of a decision is computed again in float64 from the difference itself. The answers are those
of float64, at the speed and in the memory of float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CELLS = 1 << 21  # float32 distances held at a time: 8 MB, within reach of a last-level cache
SETTLE = 1 << 22  # float64 scalars of differences gathered at a time
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
    keep = min(k + SPARE, len(others))
    distances: list[Tensor] = []
    indices: list[Tensor] = []
    for rows, squared, slack in _screen(x, others):
        if y is None:
            squared[torch.arange(len(squared), device=x.device), torch.arange(rows.start, rows.stop)] = torch.inf
        bound, candidates = _smallest(squared, keep)
        exact = _exact(x[rows], others, candidates)
        if y is None:
            own = torch.arange(rows.start, rows.stop, device=x.device)
            exact.masked_fill_(candidates == own[:, None], torch.inf)
        order = exact.argsort(dim=1, stable=True)[:, :k]
        found, where = exact.gather(1, order), candidates.gather(1, order)
        # a row not among the candidates is at least (bound - slack) away; the rare doubtful rows are done outright
        doubtful = (found[:, -1] > bound.double() - slack) if keep < len(others) else torch.zeros(0, dtype=torch.bool)
        for row in doubtful.nonzero()[:, 0].tolist():
            every = torch.arange(len(others), device=x.device)[None]
            whole = _exact(x[rows][row : row + 1], others, every)
            if y is None:
                whole[0, rows.start + row] = torch.inf
            found[row], where[row] = (t[0, :k] for t in whole.sort(dim=1, stable=True))
        distances.append(found.sqrt())
        indices.append(where)
    return torch.cat(distances), torch.cat(indices)


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
        covers += both[0].sum(0)
        reached.append(both[0].any(1))
        reaches.append(both[1].any(1))
    return Membership(x_covers=covers, y_reaches=torch.cat(reaches), x_reached=torch.cat(reached))


def _screen(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor, float]]:
    """Chunks of rows of x: (which rows, float32 squared distances to all of y, largest error of one)."""
    centre = y.double().mean(0)  # far from the origin |x|^2 + |y|^2 - 2 x.y cancels
    a = (x.double() - centre).float()
    b = (y.double() - centre).float().T.contiguous()
    a2, b2 = a.square().sum(1), b.square().sum(0)
    # inner products of d terms in blocked float32: error below sqrt(d) eps |a| |b| with room to spare, and the inputs'
    # own rounding; measured errors are some thirty times smaller
    scale = float(a2.max() + b2.max())
    slack = (8 + x.shape[1] ** 0.5) * torch.finfo(torch.float32).eps * scale
    step = max(1, CELLS // len(y))
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        squared = torch.addmm(b2, a[rows], b, alpha=-2)
        yield rows, squared.add_(a2[rows, None]), slack


def _smallest(squared: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The keep smallest of each row, unordered: (largest of them (n,), columns (n, keep))."""
    n, m = squared.shape
    groups = m // GROUP
    if groups < 4 * keep:
        values, columns = squared.topk(keep, dim=1, largest=False)
        return values[:, -1], columns
    # column j belongs to group j % groups; the keep smallest of a row lie in its keep groups of smallest minimum
    body = squared[:, : groups * GROUP].view(n, GROUP, groups)
    chosen = body.amin(1).topk(keep, dim=1, largest=False, sorted=False).indices
    offsets = torch.arange(GROUP, device=squared.device) * groups
    columns = (chosen[:, :, None] + offsets).flatten(1)
    rest = torch.arange(groups * GROUP, m, device=squared.device).expand(n, -1)
    columns = torch.cat([columns, rest], dim=1)
    values, order = squared.gather(1, columns).topk(keep, dim=1, largest=False)
    return values[:, -1], columns.gather(1, order)


def _exact(x: Tensor, y: Tensor, columns: Tensor) -> Tensor:
    """Squared distances of each row of x to the rows of y with these numbers, float64, (n, columns)."""
    out = torch.empty(len(x), columns.shape[1], dtype=torch.float64, device=x.device)
    step = max(1, SETTLE // (columns.shape[1] * x.shape[1]))
    columns = columns.expand(len(x), -1)
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        out[rows] = (x[rows, None].double() - y[columns[rows]].double()).square().sum(2)
    return out
