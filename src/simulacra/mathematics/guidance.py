"""Two denoisers made one that goes further: classifier-free guidance and autoguidance."""

from __future__ import annotations

import math

from torch import Tensor

from simulacra.mathematics.solvers import Denoise


def guided(strong: Denoise, weak: Denoise, weight: float, *, low: float = 0.0, high: float = math.inf) -> Denoise:
    """A denoiser pushed away from a weaker one at levels in [low, high]; ``strong`` alone elsewhere.

    D = D_weak + weight (D_strong - D_weak). ``weak`` without the label is classifier-free guidance (Ho & Salimans 2022,
    eq. 6, whose w is weight - 1); ``weak`` a smaller or less trained model is autoguidance (Karras et al. 2024,
    eq. 1 with their w). Guidance in an interval of levels: Kynkaanniemi et al. 2024. A weight of 1 is ``strong``.
    """
    if weight == 1.0:
        return strong

    def denoise(x: Tensor, s: Tensor) -> Tensor:
        here = strong(x, s)
        inside = (s >= low) & (s <= high)
        if not bool(inside.any()):
            return here
        there = weak(x, s)
        pushed = there + weight * (here - there)
        return pushed.where(inside.reshape(-1, *[1] * (x.ndim - 1)), here)

    return denoise
