"""U-Nets: a grid to a grid of the same size, through coarser ones and back (Ronneberger et al. 2015; Ho et al. 2020).

Residual blocks whose second norm is scaled and shifted by what conditions them (Dhariwal & Nichol 2021, section 3),
attention at the coarsest grid, a skip from every block on the way down to one on the way up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng

GROUP = 16  # channels a group of a norm, at least


def group_norm(channels: int) -> nn.GroupNorm:
    """A group norm of up to 32 groups, none of fewer than 16 channels where there are as many."""
    groups = max(1, min(32, channels // GROUP))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


class Quiet(nn.Conv2d):
    """A convolution whose weights start at zero: its block starts as the identity (Ho et al. 2020, released code)."""

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """All zero; nothing is drawn."""
        self.weight.zero_()
        if self.bias is not None:
            self.bias.zero_()


class Residual(nn.Module):
    """x + conv(act(norm(conv(act(norm x))) (1 + scale) + shift)), (b, into, h, w) -> (b, out, h, w)."""

    def __init__(self, into: int, out: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(into), nn.Conv2d(into, out, 3, padding=1)
        self.condition = nn.Linear(condition, 2 * out)
        self.norm2, self.conv2 = group_norm(out), Quiet(out, out, 3, padding=1)
        self.skip = nn.Identity() if into == out else nn.Conv2d(into, out, 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.condition(c)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(torch.addcmul(shift, self.norm2(h), 1 + scale)))
        return self.skip(x) + h


class GridAttention(nn.Module):
    """x + attention of every place to every other, (b, c, h, w) -> the same; ``size`` channels a head."""

    def __init__(self, channels: int, size: int = 32) -> None:
        super().__init__()
        self.heads = max(1, channels // size)
        while channels % self.heads:
            self.heads -= 1
        self.norm, self.inward = group_norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.outward = Quiet(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.inward(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).transpose(3, 4).unbind(1)
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.outward(out.transpose(2, 3).reshape(b, c, h, w))


class UNet(nn.Module):
    """(x (b, into, h, w), c (b, condition)) -> (b, out, h, w).

    widths     channels at each resolution, finest first; each next one is half as large.
    blocks     residual blocks at each resolution on the way down; one more on the way up.
    attention  at how many of the coarsest resolutions every block is followed by attention.

    Sides that the halvings do not divide are padded with zeros and cut again.
    """

    def __init__(
        self, into: int, out: int, widths: Sequence[int], blocks: int, condition: int, *, attention: int = 1
    ) -> None:
        super().__init__()
        self.levels = len(widths)
        self.first = nn.Conv2d(into, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, channels = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            attends = level >= self.levels - attention
            for _ in range(blocks):
                self.down.append(Stage(Residual(channels, width, condition), attends))
                channels = width
                skips.append(channels)
            if level + 1 < self.levels:
                self.down.append(Halve(channels))
                skips.append(channels)
        self.middle = nn.ModuleList(Stage(Residual(channels, channels, condition), a) for a in (attention > 0, False))
        for level, width in reversed(list(enumerate(widths))):
            attends = level >= self.levels - attention
            for _ in range(blocks + 1):
                self.up.append(Stage(Residual(channels + skips.pop(), width, condition), attends))
                channels = width
            if level:
                self.up.append(Double(channels))
        self.last = nn.Sequential(group_norm(channels), nn.SiLU(), Quiet(channels, out, 3, padding=1))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        height, width = x.shape[2:]
        unit = 1 << (self.levels - 1)
        x = F.pad(x, (0, -width % unit, 0, -height % unit)) if height % unit or width % unit else x
        h = self.first(x)
        seen = [h]
        for stage in self.down:
            h = stage(h, c)
            seen.append(h)
        for stage in self.middle:
            h = stage(h, c)
        for stage in self.up:
            h = stage(h, c) if isinstance(stage, Double) else stage(torch.cat([h, seen.pop()], dim=1), c)
        return self.last(h)[:, :, :height, :width]


class Stage(nn.Module):
    """A residual block, and attention after it where it attends."""

    def __init__(self, block: Residual, attends: bool = False) -> None:
        super().__init__()
        self.block, self.attention = block, GridAttention(block.conv2.out_channels) if attends else None

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        h = self.block(x, c)
        return h if self.attention is None else self.attention(h)


class Halve(nn.Module):
    """A strided convolution to half the sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.conv(x)


class Double(nn.Module):
    """Nearest neighbours at twice the sides, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
