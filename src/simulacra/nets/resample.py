"""Doubling and halving pictures through a low-pass filter, by sums of shifted pictures: no operator beyond torch's.

The filter is the binomial one, (1, 3, 3, 1) / 8 along each side (Karras et al. 2019, section 2.1; Zhang 2019, "Making
convolutional networks shift-invariant again"); outside a picture there are zeros. ``doubled`` is four times the
adjoint of ``filtered_down``, so that both keep a flat picture flat away from its border.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

TAPS = (0.125, 0.375, 0.375, 0.125)  # binomial(3, k) / 8


def padded_blur(
    x: Float[Tensor, "b c h w"], rows: tuple[int, int], columns: tuple[int, int], *, gain: float = 1.0
) -> Float[Tensor, "b c h2 w2"]:
    """The filtered picture, after so many zeros before and behind its rows and columns: 3 places fewer a side."""
    x = F.pad(x, (*columns, *rows))
    for dim in (2, 3):
        size, by = x.shape[dim] - len(TAPS) + 1, gain if dim == 2 else 1.0
        # the filter is symmetric: its outer pair and its inner one
        outer = x.narrow(dim, 0, size) + x.narrow(dim, 3, size)
        inner = x.narrow(dim, 1, size) + x.narrow(dim, 2, size)
        x = outer * (TAPS[0] * by) + inner * (TAPS[1] * by)
    return x


def filtered_down(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Half the size, rounded up: place i is the filtered picture between places 2i and 2i + 1."""
    for dim in (2, 3):
        n = x.shape[dim]
        x = F.pad(x, (0, 0, 1, 1 + n % 2) if dim == 2 else (1, 1 + n % 2))
        half = (n + 1) // 2
        taps = [x[:, :, k : k + 2 * half : 2] if dim == 2 else x[..., k : k + 2 * half : 2] for k in range(len(TAPS))]
        x = (taps[0] + taps[3]) * TAPS[0] + (taps[1] + taps[2]) * TAPS[1]
    return x


def doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the size: zeros between the places, then four times the filter."""
    for dim in (2, 3):
        x = F.pad(x, (0, 0, 1, 1) if dim == 2 else (1, 1))
        n = x.shape[dim] - 2
        before, here, after = (x.narrow(dim, k, n) for k in range(3))
        near, far = 2 * TAPS[1], 2 * TAPS[0]
        pair = [here * near + before * far, here * near + after * far]
        x = torch.stack(pair, dim=dim + 1).flatten(dim, dim + 1)
    return x


def sizes(height: int, width: int, *, coarsest: int = 4) -> list[tuple[int, int]]:
    """Sizes from a picture's down, each half of the last, rounded up, while the shorter side has ``coarsest`` or more.

    28 -> 14 -> 7 -> 4; 64x48 -> 32x24 -> 16x12 -> 8x6. A generator doubles and cuts what is too much.
    """
    found = [(height, width)]
    while (min(found[-1]) + 1) // 2 >= coarsest:
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


def doublings(found: list[tuple[int, int]]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(from, to) of every doubling, coarsest first."""
    return [(b, a) for a, b in reversed(list(pairwise(found)))]
