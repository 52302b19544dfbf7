"""Probabilities of boxes under a normal, one coordinate after another: Geweke, Hajivassiliou and Keane's simulator.

With z = mean + L e and L lower triangular, the box of coordinate j is an interval of e_j once those before are drawn.
The product of the intervals' probabilities is an unbiased estimate of the box's (Train 2009, section 5.6.3); with
coordinates that are known exactly among those before, of the density times the probability.
"""

# torch.linalg comes without types
# pyright: basic
from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST = 1e-300  # a probability of nothing has no logarithm


def truncated(low: Tensor, high: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """log P(low < N(0, 1) < high), and a draw of it made of u uniform on [0, 1); elementwise."""
    # both ends on the side where the distribution function is small and keeps its digits
    flip = low + high > 0
    a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
    pa, pb = torch.special.ndtr(a), torch.special.ndtr(b)
    p = (pb - pa).clamp_min(SMALLEST)
    drawn = torch.special.ndtri((pa + u * p).clamp(SMALLEST, 1 - 1e-16)).clamp(a, b)
    drawn = drawn.nan_to_num(0.0, 1e3, -1e3)
    return p.log(), torch.where(flip, -drawn, drawn)


def boxes(
    mean: Tensor, covariance: Tensor, z: Tensor, exact: Tensor, low: Tensor, high: Tensor, boxed: Tensor, u: Tensor
) -> tuple[Tensor, Tensor]:
    """log of unbiased estimates of each row's density, (b, k), and the points drawn for them, (b, k, d).

    mean, covariance  of the normal, (d,) and (d, d).
    z, exact          (b, d): what is known exactly, and where.
    low, high, boxed  (b, d): ends of the intervals that coordinates are known to lie in, and where.
    u                 (b, k, d) uniform on [0, 1).

    What is neither is left out. Weights exp(log estimate) make the points draws of the conditional.
    """
    there = exact | boxed
    both = there[:, :, None] & there[:, None, :]
    one = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
    factor = torch.linalg.cholesky(torch.where(both, covariance, one))
    e = torch.zeros_like(u)
    nats = u.new_zeros(u.shape[:2])
    for j in range(len(mean)):
        scale = factor[:, j, j, None]
        before = mean[j] + (e[:, :, :j] * factor[:, None, j, :j]).sum(-1)  # (b, k)
        known = (z[:, j, None] - before) / scale
        density = -0.5 * (known.square() + math.log(2 * math.pi)) - scale.log()
        ends = [(end[:, j, None] - before) / scale for end in (low, high)]
        ends = [torch.where(boxed[:, j, None], end, side) for end, side in zip(ends, (-1.0, 1.0), strict=True)]
        log_p, drawn = truncated(ends[0], ends[1], u[:, :, j])
        nats = nats + torch.where(exact[:, j, None], density, torch.where(boxed[:, j, None], log_p, 0.0))
        e[:, :, j] = torch.where(exact[:, j, None], known, torch.where(boxed[:, j, None], drawn, 0.0))
    return nats, mean + (factor[:, None] * e[:, :, None]).sum(-1)
