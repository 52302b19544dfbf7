"""Sliced Wasserstein distance: the transport between projections of two samples onto random directions.

SW_p^p = E_u W_p^p(u.x, u.y),   W_p^p(a, b) = int_0^1 |F_a^-1(t) - F_b^-1(t)|^p dt       Bonneel et al. 2015, eq. 3
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from simulacra.core.randomness import Rng


def wasserstein_powers(a: Float[Tensor, "n k"], b: Float[Tensor, "m k"], *, p: float = 2.0) -> Float[Tensor, " k"]:
    """W_p^p between the columns of two tables, exactly, whatever their numbers of rows."""
    n, m = len(a), len(b)
    x, y = a.sort(0).values, b.sort(0).values
    if n == m:
        return (x - y).abs().pow(p).mean(0)
    # both quantile functions are steps; between neighbouring jumps (in units of 1 / nm, so exactly) neither changes
    both = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n])
    ends = cast("Tensor", both.unique())  # pyright: ignore[reportUnknownMemberType]
    weight = torch.diff(ends, prepend=ends.new_zeros(1)).to(x) / (n * m)
    i, j = ((ends - 1) // m).to(x.device), ((ends - 1) // n).to(x.device)
    return weight @ (x[i] - y[j]).abs().pow(p)


def directions(d: int, k: int, rng: Rng, *, like: Tensor) -> Float[Tensor, "d k"]:
    """k directions drawn evenly from the sphere, as columns, in the dtype and on the device of ``like``."""
    drawn = rng.normal((k, d), dtype=like.dtype, device=like.device)
    return torch.nn.functional.normalize(drawn, dim=1).T


def sliced_wasserstein(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, rng: Rng, k: int = 256, p: float = 2.0
) -> tuple[float, float]:
    """SW_p over k random directions, and the standard error that their choice alone leaves in it (delta method)."""
    x, y = x.double(), y.double()
    u = directions(x.shape[1], k, rng, like=x)
    each = torch.cat([wasserstein_powers(x @ u[:, i : i + 32], y @ u[:, i : i + 32], p=p) for i in range(0, k, 32)])
    value = float(each.mean()) ** (1 / p)
    error = float(each.std()) / k**0.5 if k > 1 else float("nan")
    return value, error * value / (p * float(each.mean())) if value > 0 else 0.0
