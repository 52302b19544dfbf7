"""Divergence frontiers: how two distributions over a few cells trade what one lacks against what the other does.

Pillutla et al. 2021, "MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence Frontiers".
"""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from simulacra.core.randomness import Rng

STEEPNESS = 5.0  # c of section 2
EXPLAINED = 0.9  # share of the variance that the principal components keep (appendix D)
STEPS = 100  # of Lloyd's algorithm at most
MIXTURES = 1000


def frontier_area(p: Float[Tensor, " k"], q: Float[Tensor, " k"], *, steepness: float = STEEPNESS) -> float:
    """Area under the divergence frontier of two distributions over the same cells: 1 where they agree.

    The frontier is (exp(-c KL(q || r)), exp(-c KL(p || r))) for all mixtures r = s p + (1 - s) q (eq. 1 and 2).
    Distributions without a common cell have 1 / binomial(2c, c), 0.004 for c = 5.
    ValueError for what is no distribution.
    """
    for name, share in (("p", p), ("q", q)):
        if len(p) != len(q) or bool((share < 0).any()) or abs(float(share.double().sum()) - 1) > 1e-6:
            raise ValueError(
                f"{name} must be shares of {len(p)} cells that sum to 1; got {len(share)}, {share.sum():g}"
            )
    p, q = p.double(), q.double()
    # the ends, where a divergence may be infinite, are approached evenly on the scale of the frontier's own bend
    angle = torch.linspace(0, math.pi / 2, MIXTURES, dtype=torch.float64, device=p.device)[:, None]
    share = angle.sin().square()
    mixed = share * p + (1 - share) * q
    x, y = ((-steepness * (torch.xlogy(a, a) - torch.xlogy(a, mixed)).sum(1)).exp() for a in (q, p))
    # below the frontier lies all that is no further right than its left end, where y is 1
    ends = torch.ones(1, dtype=torch.float64, device=p.device)
    x, y = torch.cat([x, 0 * ends]), torch.cat([y, ends])
    return float(((x[:-1] - x[1:]) * (y[:-1] + y[1:])).sum() / 2)


def cell_shares(
    fake: Float[Tensor, "n d"], real: Float[Tensor, "m d"], *, k: int, rng: Rng
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Shares of two sets in k cells of both together: principal components, unit rows, k-means (appendix D)."""
    both = torch.cat([fake, real]).double()
    if not 1 <= k <= len(both):
        raise ValueError(f"cells number 1 .. {len(both)}, the rows there are; got {k}")
    centred = both - both.mean(0)
    found = cast(tuple[Tensor, Tensor], torch.linalg.eigh(centred.T @ centred))  # pyright: ignore[reportUnknownMemberType]
    values, axes = found[0].clamp(min=0).flip(0), found[1].flip(1)
    # the first components that together reach the share; one at least, though all rows be the same
    kept = 1 + int((values.cumsum(0) < EXPLAINED * values.sum()).sum())
    rows = torch.nn.functional.normalize(centred @ axes[:, :kept], dim=1)
    cell = k_means(rows, k=k, rng=rng)
    counts = [torch.bincount(part, minlength=k).double() for part in (cell[: len(fake)], cell[len(fake) :])]
    return counts[0] / len(fake), counts[1] / len(real)


def k_means(x: Float[Tensor, "n d"], *, k: int, rng: Rng) -> Tensor:
    """The cell, 0 .. k - 1, of each row, int64 (n,): Lloyd's algorithm from centres drawn far apart.

    Arthur & Vassilvitskii 2007 (k-means++): each next centre is a row drawn by its squared distance from those so far.
    """
    draws = rng("centres").uniform((k,), dtype=torch.float64).to(x.device)
    nearest = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
    centres = torch.empty(k, x.shape[1], dtype=x.dtype, device=x.device)
    for i in range(k):
        weights = torch.ones_like(nearest) if i == 0 or not nearest.any() else nearest
        upto = weights.double().cumsum(0)
        chosen = int(torch.searchsorted(upto, draws[i] * upto[-1], right=True).clamp(max=len(x) - 1))
        centres[i] = x[chosen]
        nearest = torch.minimum(nearest, (x - centres[i]).square().sum(1))
    cell = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)
    for _ in range(STEPS):
        new = torch.addmm(centres.square().sum(1), x, centres.T, alpha=-2).argmin(1)
        if torch.equal(new, cell):
            break
        cell = new
        sums = torch.zeros_like(centres).index_add_(0, cell, x)
        counts = torch.bincount(cell, minlength=k)
        # a cell without rows keeps its centre
        centres = torch.where((counts > 0)[:, None], sums / counts.clamp(min=1)[:, None], centres)
    return cell
