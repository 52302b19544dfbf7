"""Ways between two latent codes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def linear(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], t: Float[Tensor, " k"]) -> Float[Tensor, "n k d"]:
    """(1 - t) a + t b, t in [0, 1]."""
    t = t[None, :, None]
    return (1 - t) * a[:, None] + t * b[:, None]


def spherical(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], t: Float[Tensor, " k"]) -> Float[Tensor, "n k d"]:
    """Spherical interpolation (Shoemake 1985): keeps the norm, as draws of a Gaussian in many dimensions do.

    t in [0, 1]. Parallel ends fall back on the straight line.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    angle = cosine.arccos()[:, None, None]
    sine, t_ = angle.sin(), t[None, :, None]
    safe = sine.clamp_min(1e-6)
    arc = ((1 - t_) * angle).sin() / safe * a[:, None] + (t_ * angle).sin() / safe * b[:, None]
    return torch.where(sine > 1e-4, arc, linear(a, b, t))
