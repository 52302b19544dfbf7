"""Networks from pictures to pictures of the same size, and critics that judge patches: what translation is made of."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.unet import group_norm

LEAK = 0.2  # Isola et al. 2017, appendix 6.1


class Halving(nn.Module):
    """4x4 filters at every second place, a norm, leaky ReLU: (b, into, h, w) -> (b, out, h / 2, w / 2)."""

    def __init__(self, into: int, out: int, *, norm: bool = True) -> None:
        super().__init__()
        # a norm takes out what a bias would add to all of a group
        self.convolve = nn.Conv2d(into, out, 4, 2, 1, bias=not norm)
        self.norm = group_norm(out) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.convolve(x)), LEAK)


class Doubling(nn.Module):
    """The way back, with ReLU; a share of what comes out is dropped where an rng says which."""

    def __init__(self, into: int, out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.convolve, self.norm = nn.ConvTranspose2d(into, out, 4, 2, 1, bias=False), group_norm(out)
        self.dropout = dropout

    def forward(self, x: Tensor, rng: Rng | None = None) -> Tensor:
        x = self.norm(self.convolve(x))
        if rng is not None and self.dropout:
            kept = rng("kept").uniform(x.shape, dtype=torch.float32, device=x.device) >= self.dropout
            x = x * kept / (1 - self.dropout)
        return F.relu(x)


def halvings(height: int, width: int, most: int) -> int:
    """How often pictures of this size are halved: until their shorter side is 2 or 3, at most so often."""
    return max(1, min(most, int(math.log2(min(height, width))) - 1))


def padded(x: Tensor, unit: int) -> Tensor:
    """x with its last row and column repeated until its sides are multiples of ``unit``."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % unit, 0, -height % unit), mode="replicate")


class SkipNetwork(nn.Module):
    """(b, into, h, w) and an rng -> (b, out, h, w): an encoder and a decoder that sees each of its layers.

    Isola et al. 2017, appendix 6.1.1: widths width, 2 width ... 8 width at every halving; noise is dropout in the three
    innermost layers of the decoder, there when it learns and when it draws (section 3.1). Group norms stand in for
    their batch norms, so that an example does not depend on those beside it.
    """

    def __init__(self, into: int, out: int, width: int, size: tuple[int, int], *, levels: int, dropout: float) -> None:
        super().__init__()
        n = halvings(*size, levels)
        widths = [width * min(2**i, 8) for i in range(n)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, wide in enumerate(widths):
            self.down.append(Halving(into if i == 0 else widths[i - 1], wide, norm=i > 0))
        for i in reversed(range(1, n)):
            wide = widths[i] if i == n - 1 else 2 * widths[i]
            self.up.append(Doubling(wide, widths[i - 1], dropout if n - 1 - i < 3 else 0.0))
        self.last = nn.ConvTranspose2d(2 * widths[0] if n > 1 else widths[0], out, 4, 2, 1)

    def forward(self, x: Float[Tensor, "b into h w"], rng: Rng | None = None) -> Float[Tensor, "b out h w"]:
        height, width = x.shape[2:]
        h, seen = padded(x, 1 << len(self.down)), []
        for layer in self.down:
            h = layer(h)
            seen.append(h)
        seen.pop()
        for i, layer in enumerate(self.up):
            h = torch.cat([layer(h, None if rng is None else rng(i)), seen.pop()], dim=1)
        return self.last(h)[:, :, :height, :width]


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv x)))), 3x3: Zhu et al. 2017, appendix 7.2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = group_norm(channels), group_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.second(F.relu(self.norm1(self.first(x)))))


class ResidualNetwork(nn.Module):
    """(b, c, h, w) -> (b, c, h, w): 7x7, two halvings, residual blocks, two doublings, 7x7 (Zhu et al. 2017, app. 7.2).

    Group norms stand in for their instance norms, which take all contrast from flat pictures.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(channels, width, 7, padding=3, bias=False), group_norm(width)
        self.down = nn.ModuleList([Halving(width, 2 * width), Halving(2 * width, 4 * width)])
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(blocks)))
        self.up = nn.ModuleList([Doubling(4 * width, 2 * width), Doubling(2 * width, width)])
        self.last = nn.Conv2d(width, channels, 7, padding=3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        height, width = x.shape[2:]
        h = F.relu(self.norm(self.first(padded(x, 4))))
        for layer in self.down:
            h = layer(h)
        h = self.blocks(h)
        for layer in self.up:
            h = layer(h)
        return self.last(h)[:, :, :height, :width]


class PatchCritic(nn.Module):
    """(b, into, h, w) -> scores (b, h', w'), each of the patch around it: Isola et al. 2017, section 3.2.2.

    halvings  strided layers: with 2 a score sees 26 pixels a side, with 3 as many as 54.
    """

    def __init__(self, into: int, width: int, halvings: int) -> None:
        super().__init__()
        wide = [width * min(2**i, 8) for i in range(halvings)]
        strided = [Halving(into if i == 0 else wide[i - 1], w, norm=i > 0) for i, w in enumerate(wide)]
        inner = width * min(2**halvings, 8)
        flat = [nn.Conv2d(wide[-1], inner, 3, padding=1, bias=False), group_norm(inner), nn.LeakyReLU(LEAK)]
        # games of differences between scores leave their constant where it is: it would never learn
        self.layers = nn.Sequential(*strided, *flat, nn.Conv2d(inner, 1, 3, padding=1, bias=False))

    def forward(self, x: Float[Tensor, "b into h w"]) -> Float[Tensor, "b h2 w2"]:
        return self.layers(x)[:, 0]
