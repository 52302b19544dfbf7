"""Networks from an example to vectors at a few places, one for each code, and back: for every layout of a space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.nets.activations import silu
from simulacra.nets.backbones import Activation, ByLayout, Networks, Residual
from simulacra.nets.embeddings import Embed
from simulacra.nets.heads import Head


@runtime_checkable
class CodeNetworks(Protocol):
    """Builds an encoder and a decoder around codes that stand on a grid of places."""

    def places(self, embed: Embed) -> tuple[int, ...]:
        """Extents of the codes' grid for examples embedded so."""
        ...

    def encoder(self, embed: Embed, channels: int) -> nn.Module:
        """A module h (b, *embed.shape) -> (b, places, channels), places in raster order."""
        ...

    def decoder(self, embed: Embed, head: Head, channels: int) -> nn.Module:
        """A module (b, places, channels) -> (b, *head.shape)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Residual convolutions over a grid whose sides are halved a few times, odd ones rounded up.

    width     channels.
    halvings  a code stands for 2^halvings x 2^halvings pixels.
    blocks    residual blocks on the codes' grid, in the encoder and in the decoder.
    """

    width: int = 64
    halvings: int = 2
    blocks: int = 2
    activation: Activation = silu

    def __post_init__(self) -> None:
        if self.width < 1 or self.halvings < 1 or self.blocks < 0:
            raise ValueError(
                f"a grid of codes needs a width, halvings and blocks; got {self.width}, {self.halvings}, {self.blocks}"
            )

    def places(self, embed: Embed) -> tuple[int, ...]:
        return self.sides(embed)[-1]

    def encoder(self, embed: Embed, channels: int) -> nn.Module:
        return GridEncoder(embed.shape[0], channels, self)

    def decoder(self, embed: Embed, head: Head, channels: int) -> nn.Module:
        return GridDecoder(channels, head.shape[0], self.sides(embed), self)

    def sides(self, embed: Embed) -> list[tuple[int, int]]:
        """Of the grid before and after each halving."""
        _, height, width = embed.shape
        found = [(height, width)]
        for _ in range(self.halvings):
            height, width = (height + 1) // 2, (width + 1) // 2
            found.append((height, width))
        return found


@dataclass(frozen=True, kw_only=True)
class Places:
    """Any networks between an example and one vector, which is cut into those of so many places."""

    count: int = 8
    networks: Networks = field(default_factory=ByLayout)

    def places(self, embed: Embed) -> tuple[int, ...]:
        return (self.count,)

    def encoder(self, embed: Embed, channels: int) -> nn.Module:
        network = self.networks.encoder(embed, 0, self.count * channels)
        return nn.Sequential(network, nn.Unflatten(1, (self.count, channels)))

    def decoder(self, embed: Embed, head: Head, channels: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), self.networks.decoder(head, self.count * channels))


@dataclass(frozen=True, kw_only=True)
class CodesByLayout:
    """A grid of codes for grids, a row of them for everything else."""

    grid: CodeNetworks = field(default_factory=Grid)
    other: CodeNetworks = field(default_factory=Places)

    def places(self, embed: Embed) -> tuple[int, ...]:
        return self._of(embed).places(embed)

    def encoder(self, embed: Embed, channels: int) -> nn.Module:
        return self._of(embed).encoder(embed, channels)

    def decoder(self, embed: Embed, head: Head, channels: int) -> nn.Module:
        return self._of(embed).decoder(embed, head, channels)

    def _of(self, embed: Embed) -> CodeNetworks:
        return self.grid if embed.layout == "grid" else self.other


class GridEncoder(nn.Module):
    """Strided convolutions, residual blocks, and a vector of each place."""

    def __init__(self, inputs: int, channels: int, s: Grid) -> None:
        super().__init__()
        down: list[nn.Module] = []
        for i in range(s.halvings):
            down += [nn.Conv2d(inputs if i == 0 else s.width, s.width, 3, stride=2, padding=1), s.activation()]
        # vectors begin with a spread of about 1: all of them near 0, they would be one code
        finish = [s.activation(), nn.GroupNorm(1, s.width), nn.Conv2d(s.width, channels, 1)]
        self.layers = nn.Sequential(*down[:-1], *residuals(s), *finish)

    def forward(self, h: Tensor) -> Tensor:
        return self.layers(h).flatten(2).transpose(1, 2)


class GridDecoder(nn.Module):
    """A vector of each place, residual blocks, and convolutions that double the sides (Shi et al. 2016)."""

    def __init__(self, channels: int, outputs: int, sides: list[tuple[int, int]], s: Grid) -> None:
        super().__init__()
        *self.sides, self.start = sides
        self.layers = nn.Sequential(nn.Conv2d(channels, s.width, 3, padding=1), *residuals(s))
        self.up = nn.ModuleList(
            nn.Sequential(s.activation(), nn.Conv2d(s.width, 4 * (outputs if last == 1 else s.width), 3, padding=1))
            for last in range(s.halvings, 0, -1)
        )

    def forward(self, v: Tensor) -> Tensor:
        h = self.layers(v.transpose(1, 2).unflatten(2, self.start))
        for up, (height, width) in zip(self.up, reversed(self.sides), strict=True):
            h = F.pixel_shuffle(up(h), 2)[:, :, :height, :width]
        return h


def residuals(s: Grid) -> list[nn.Module]:
    """The residual blocks on the codes' grid."""
    conv = lambda: nn.Conv2d(s.width, s.width, 3, padding=1)  # noqa: E731
    return [Residual(conv(), conv(), s.activation) for _ in range(s.blocks)]
