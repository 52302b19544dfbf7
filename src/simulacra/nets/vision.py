"""A vision transformer that reads pictures, as DINOv2 and CLIP have it (Dosovitskiy et al. 2021).

Oquab et al. 2024 and Radford et al. 2021 differ in a norm before the blocks, a scale after each branch, the activation
and a projection at the end: each is a part that is there or is the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x), CLIP's approximation (Hendrycks & Gimpel 2016, section 2)."""
    return x * torch.sigmoid(1.702 * x)


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The network.

    side, patch   of the pictures the positions were learnt for, and of a patch, pixels.
    width, depth, heads, hidden  of the transformer.
    activation, epsilon          of the dense layers, and of the norms.
    before        whether a norm stands before the blocks (and then patches have no bias).
    scaled        whether each branch has a scale of its own.
    projected     size of a projection at the end, or None.
    """

    side: int
    patch: int
    width: int
    depth: int
    heads: int
    hidden: int
    activation: Callable[[Tensor], Tensor] = F.gelu
    epsilon: float = 1e-6
    before: bool = False
    scaled: bool = True
    projected: int | None = None


class Scale(nn.Module):
    """A factor for each feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Block(nn.Module):
    """Attention over all patches, and a dense network for each, both added to what they are given."""

    def __init__(self, c: VisionConfig) -> None:
        super().__init__()
        self.heads, self.activation = c.heads, c.activation
        self.norm1, self.norm2 = (nn.LayerNorm(c.width, eps=c.epsilon) for _ in range(2))
        self.query, self.key, self.value, self.out = (nn.Linear(c.width, c.width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(c.width, c.hidden), nn.Linear(c.hidden, c.width)
        self.scale1, self.scale2 = (Scale(c.width) if c.scaled else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        h = self.norm1(x)
        q, k, v = (m(h).view(b, n, self.heads, -1).transpose(1, 2) for m in (self.query, self.key, self.value))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, width)
        x = x + self.scale1(self.out(h))
        return x + self.scale2(self.fc2(self.activation(self.fc1(self.norm2(x)))))


class VisionTransformer(nn.Module):
    """Pictures (b, 3, h, w), sides multiples of the patch, to features of the class token (b, width or projected)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        c = self.config = config
        grid = c.side // c.patch
        self.patches = nn.Conv2d(3, c.width, c.patch, stride=c.patch, bias=not c.before)
        self.token = nn.Parameter(torch.zeros(c.width))
        self.position = nn.Parameter(torch.zeros(1 + grid * grid, c.width))
        self.before = nn.LayerNorm(c.width, eps=c.epsilon) if c.before else nn.Identity()
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.after = nn.LayerNorm(c.width, eps=c.epsilon)
        self.projection = nn.Linear(c.width, c.projected, bias=False) if c.projected else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x)
        rows, columns = patches.shape[2:]
        h = torch.cat([self.token.expand(len(x), 1, -1), patches.flatten(2).transpose(1, 2)], 1)
        h = self.before(h + self.positions(rows, columns))
        for block in self.blocks:
            h = block(h)
        return self.projection(self.after(h[:, 0]))

    def positions(self, rows: int, columns: int) -> Tensor:
        """The learnt positions, (1 + rows x columns, width); bicubic where the picture has other patches."""
        grid = round((len(self.position) - 1) ** 0.5)
        if (rows, columns) == (grid, grid):
            return self.position
        learnt = self.position[1:].T.reshape(1, -1, grid, grid)
        other = F.interpolate(learnt, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([self.position[:1], other[0].flatten(1).T])
