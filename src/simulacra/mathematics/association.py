"""How alike two samples' columns are, and how alike the dependence between pairs of them is."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor


def kolmogorov_smirnov(a: Tensor, b: Tensor) -> float:
    """Largest difference of two empirical distribution functions, 0 .. 1; a (n,), b (m,), +inf allowed, NaN not.

    Kolmogorov 1933, Smirnov 1939. What is missing can be counted as +inf: it then lies beyond every value.
    """
    ordered_a, ordered_b = a.double().sort().values, b.double().sort().values
    at = torch.cat([ordered_a, ordered_b])
    f = torch.searchsorted(ordered_a, at, right=True).double() / len(a)
    g = torch.searchsorted(ordered_b, at, right=True).double() / len(b)
    return float((f - g).abs().max())


def total_variation(a: Tensor, b: Tensor) -> float:
    """Half the summed difference of the shares of whole numbers, 0 .. 1; a int64 (n,), b int64 (m,), from 0 on."""
    k = int(torch.cat([a, b]).max()) + 1
    p, q = torch.bincount(a, minlength=k).double() / len(a), torch.bincount(b, minlength=k).double() / len(b)
    return float((p - q).abs().sum() / 2)


def binned_divergence(a: Tensor, b: Tensor, *, bins: int = 20) -> float:
    """KL(b || a), nats, of two samples of numbers, (n,) and (m,), over cells that hold equal shares of b.

    Every cell is given half a count more than fell into it (Krichevsky & Trofimov 1981), so that none is empty: two
    samples of one distribution have about (bins - 1) (1 / n + 1 / m) / 2.
    """
    inner = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    # where one value fills several cells they are one
    edges = cast("Tensor", torch.quantile(b.double(), inner).unique())  # pyright: ignore[reportUnknownMemberType]
    k = len(edges) + 1
    p, q = (torch.bincount(torch.bucketize(x.double(), edges), minlength=k).double() + 0.5 for x in (b, a))
    p, q = p / p.sum(), q / q.sum()
    return float((p * (p / q).log()).sum())


def correlations(x: Tensor) -> Tensor:
    """Pearson correlations of columns, (n, d) -> (d, d), of each pair over the rows where both are finite; NaN where
    one of the two does not vary.
    """
    seen = torch.isfinite(x)
    weight = seen.double()
    values = torch.where(seen, x.double(), 0.0)
    # centred first, which moves no correlation and keeps the sums below from cancelling
    values = torch.where(seen, values - values.sum(0) / weight.sum(0).clamp(min=1), 0.0)
    n = weight.T @ weight
    mean = values.T @ weight / n  # of i over the rows where j is there too
    covariance = values.T @ values / n - mean * mean.T
    variance = (values**2).T @ weight / n - mean**2
    spread = torch.sqrt(variance.clamp(min=0) * variance.T.clamp(min=0))
    return torch.where(spread > 1e-12, covariance / spread.clamp(min=1e-300), torch.nan).clamp(-1, 1)


def joint(a: Tensor, b: Tensor) -> Tensor:
    """Pairs of whole numbers from 0 on as whole numbers, different for different pairs of these numbers' range."""
    return a * (int(b.max()) + 1) + b
