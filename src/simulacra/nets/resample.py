"""Doubling and halving pictures through a low-pass filter, a convolution channel by channel: no operator but torch's.

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
    return F.conv2d(F.pad(channels_last(x), (*columns, *rows)), kernel(x, gain), groups=x.shape[1])


def filtered_down(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Half the size, rounded up: place i is the filtered picture between places 2i and 2i + 1."""
    height, width = x.shape[2:]
    x = F.pad(channels_last(x), (1, 1 + width % 2, 1, 1 + height % 2))
    return F.conv2d(x, kernel(x), stride=2, groups=x.shape[1])


def doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the size: zeros between the places, then four times the filter."""
    return F.conv_transpose2d(channels_last(x), kernel(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def kernel(like: Tensor, gain: float = 1.0) -> Float[Tensor, "c 1 4 4"]:
    """The filter for each of ``like``'s channels, times a gain."""
    taps = torch.tensor(TAPS, dtype=like.dtype, device=like.device)
    return (gain * taps[:, None] * taps).expand(like.shape[1], 1, -1, -1)


def channels_last(x: Tensor) -> Tensor:
    """x with its channels lying together: on a CPU the filter is twice as fast on them."""
    return x.contiguous(memory_format=torch.channels_last)


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
