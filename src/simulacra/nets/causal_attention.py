"""Layers that look beyond a neighbourhood: self-attention over all pixels before (PixelSNAIL), and where a pixel is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.causal_layers import CausalModule, LayerCache
from simulacra.nets.masked import whole

# -- attention --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Causal self-attention of the horizontal stack: every pixel looks at all that come before it, and at itself.

    As in PixelSNAIL (Chen et al. 2018, section 2.2), between convolutional layers; queries, keys and values are made of
    the layer-normed features, the result is added to them. ``heads`` must divide the network's width.
    """

    heads: int = 4

    def build(self, width: int, size: tuple[int, int], given: int) -> CausalModule:
        if self.heads < 1 or width % self.heads:
            raise ValueError(f"heads must divide the network's width of {width}; got {self.heads}")
        return AttentionLayer(width, size, self.heads)


class AttentionLayer(CausalModule):
    """See ``Attention``."""

    def __init__(self, width: int, size: tuple[int, int], heads: int) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.norm = nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, v: Tensor, h: Tensor, given: Tensor | None, rng: Rng | None) -> tuple[Tensor, Tensor]:
        b, c, rows, wide = h.shape
        tokens = h.permute(0, 2, 3, 1).reshape(b, rows * wide, c)
        asked = self.asked(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        q, k, values = asked.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, values, is_causal=True)
        found = self.out(seen.transpose(1, 2).flatten(2))
        return v, h + found.reshape(b, rows, wide, c).permute(0, 3, 1, 2)

    def cache(self, n: int, given: Tensor | None) -> LayerCache:
        return AttentionCache(self, n)


class AttentionCache:
    """Attention along the raster: keys and values of the pixels so far."""

    def __init__(self, layer: AttentionLayer, n: int) -> None:
        self.layer, self.first = layer, 0
        self.asked, self.out = whole(layer.asked.weight).T, whole(layer.out.weight).T
        width, (rows, wide) = len(self.out), layer.size
        self.kept = self.out.new_zeros(2, n, layer.heads, rows * wide, width // layer.heads)
        self.norm = whole(layer.norm.weight), whole(layer.norm.bias)

    def row(self, i: int, v: Tensor) -> Tensor:
        self.first = i * self.layer.size[1]
        return v

    def step(self, j: int, h: Tensor) -> Tensor:
        t = self.first + j
        normed = F.layer_norm(h, h.shape[1:], *self.norm, self.layer.norm.eps)
        asked = (normed @ self.asked).view(len(h), 3, self.layer.heads, -1)
        self.kept[:, :, :, t] = asked[:, 1:].transpose(0, 1)
        keys, values = self.kept[:, :, :, : t + 1]
        score = (keys @ asked[:, 0, :, :, None]).mul_(keys.shape[-1] ** -0.5)  # (n, heads, t + 1, 1)
        found = torch.softmax(score, dim=2).transpose(2, 3) @ values
        return torch.addmm(h, found.flatten(1), self.out)


# -- places -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Places:
    """A learned vector of each pixel's place, added to both stacks: convolutions do not know where they are."""

    def build(self, width: int, size: tuple[int, int], given: int) -> CausalModule:
        return PlacesLayer(width, size)


class PlacesLayer(CausalModule):
    """See ``Places``."""

    def __init__(self, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.vertical = nn.Parameter(torch.empty(width, *size))
        self.horizontal = nn.Parameter(torch.empty(width, *size))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """All places alike."""
        self.vertical.zero_()
        self.horizontal.zero_()

    def forward(self, v: Tensor, h: Tensor, given: Tensor | None, rng: Rng | None) -> tuple[Tensor, Tensor]:
        # under autocast the stacks may be narrower than the weights
        return v + self.vertical.to(v.dtype), h + self.horizontal.to(h.dtype)

    def cache(self, n: int, given: Tensor | None) -> LayerCache:
        return PlacesCache(self)


class PlacesCache:
    """Places along the raster."""

    def __init__(self, layer: PlacesLayer) -> None:
        self.vertical, self.horizontal = whole(layer.vertical), whole(layer.horizontal)
        self.here: list[Tensor] = []

    def row(self, i: int, v: Tensor) -> Tensor:
        self.here = list(self.horizontal[:, i].T)
        return v + self.vertical[:, i].T[:, None]

    def step(self, j: int, h: Tensor) -> Tensor:
        return h + self.here[j]
