"""Pictures at another size: with antialiasing, and as the network of the Frechet inception distance had it.

Most disagreements between published distances come from here (Parmar, Zhang & Zhu 2022, "On aliased resizing"):
shrinking by interpolation alone keeps single pixels and throws the others away.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Pictures = Float[Tensor, "b c h w"]


def smoothly(x: Pictures, size: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """Bicubic with antialiasing, half-pixel centres: every pixel of a picture that shrinks has its say."""
    return F.interpolate(x, size=size, mode="bicubic", align_corners=False, antialias=True)


def tensorflow_bilinear(x: Pictures, size: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """Bilinear as TensorFlow 1 did it: no antialiasing, and output i looks at input i x old / new, not at its centre.

    What the network of Heusel et al. 2017 was fed; shifts pictures by up to half a pixel, and is right for it alone.
    """
    for dim, new in ((2, size[0]), (3, size[1])):
        old = x.shape[dim]
        at = torch.arange(new, dtype=x.dtype, device=x.device) * (old / new)
        below = at.floor().long().clamp(max=old - 1)
        share = (at - below).reshape([-1 if d == dim else 1 for d in range(4)])
        low, high = x.index_select(dim, below), x.index_select(dim, (below + 1).clamp(max=old - 1))
        x = low + (high - low) * share
    return x


def cropped(x: Pictures, side: int, of: int) -> Float[Tensor, "b c side side"]:
    """The shorter side brought to ``of`` pixels smoothly, and the middle ``side`` x ``side`` of that."""
    h, w = x.shape[2:]
    size = (of, max(of, round(w * of / h))) if h <= w else (max(of, round(h * of / w)), of)
    x = x if (h, w) == size else smoothly(x, size)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return x[:, :, top : top + side, left : left + side]
