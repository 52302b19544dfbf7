"""Networks that answer at a noise level: (x (b, *event), noise (b,), condition) -> (b, *event), for each layout.

A ``Backbone`` is a frozen setting that builds one. ``noise`` is c_noise of the preconditioning
(``mathematics.preconditioning``); a condition is a vector (the class), or a picture laid beside x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.transformer import Attention, Learned, learned
from simulacra.nets.unet import UNet

FREQUENCY = 16.0  # spread of the frequencies of the noise level: Karras et al. 2022, released networks


@runtime_checkable
class Backbone(Protocol):
    """Builds a network for denoising."""

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        """A module (x (b, *event), noise (b,), beside (b, beside, h, w) or None, given (b, given) or None) -> like x.

        Raises ValueError for an event it cannot take.
        """
        ...


class NoiseLevel(nn.Module):
    """c_noise (b,) and a vector that is given -> what conditions every block, (b, width).

    Fourier features of fixed random frequencies (Tancik et al. 2020), then two dense layers.
    """

    frequencies: Tensor

    def __init__(self, width: int, given: int) -> None:
        super().__init__()
        half = width // 2
        self.register_buffer("frequencies", torch.empty(half))
        self.given = nn.Linear(given, width, bias=False) if given else None
        self.scale = self.label_gain(given)
        self.dense1, self.dense2 = nn.Linear(2 * half, width), nn.Linear(width, width)

    def label_gain(self, classes: int) -> float:
        """What one-hot labels are multiplied by: their entries get unit mean square."""
        return math.sqrt(max(classes, 1))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """The frequencies; the layers below have ways of their own."""
        self.frequencies.copy_(FREQUENCY * rng("frequencies").normal((1, len(self.frequencies)))[0])

    def forward(self, noise: Tensor, given: Tensor | None) -> Tensor:
        angles = noise[:, None] * self.frequencies
        c = self.dense1(math.sqrt(2) * torch.cat([angles.cos(), angles.sin()], dim=1))
        if self.given is not None and given is not None:
            c = c + self.given(given.to(c.dtype) * self.scale)
        return F.silu(self.dense2(F.silu(c)))


@dataclass(frozen=True, kw_only=True)
class Convolutional:
    """A U-Net for grids of any size.

    width      channels at the finest resolution.
    multiples  of the width at each resolution; None: (1, 2, 2) down to about 7 a side.
    blocks     residual blocks at each resolution.
    attention  at how many of the coarsest resolutions there is attention.
    """

    width: int = 32
    multiples: tuple[int, ...] | None = None
    blocks: int = 2
    attention: int = 1

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        if len(event) != 3:
            raise ValueError(f"a U-Net needs pictures of shape (channels, height, width); got {event}")
        multiples = self.multiples or (1, *[2] * max(1, round(math.log2(max(1.0, min(event[1:]) / 7)))))
        return GridDenoiser(event, beside, given, [self.width * m for m in multiples], self.blocks, self.attention)


class GridDenoiser(nn.Module):
    """A U-Net and the noise level's features."""

    def __init__(
        self, event: tuple[int, ...], beside: int, given: int, widths: Sequence[int], blocks: int, attention: int
    ) -> None:
        super().__init__()
        self.level = NoiseLevel(4 * widths[0], given)
        self.unet = UNet(event[0] + beside, event[0], widths, blocks, 4 * widths[0], attention=attention)

    def forward(self, x: Tensor, noise: Tensor, beside: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        x = x if beside is None else torch.cat([x, beside.to(x.dtype)], dim=1)
        return self.unet(x, self.level(noise, given))


@dataclass(frozen=True, kw_only=True)
class DiT:
    """A transformer over patches whose norms the noise level scales and shifts: Peebles & Xie 2023.

    patch  side of a patch, which must divide the picture's sides.
    """

    patch: int = 2
    width: int = 128
    depth: int = 6
    heads: int = 4

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        if len(event) != 3 or event[1] % self.patch or event[2] % self.patch:
            raise ValueError(
                f"a DiT needs pictures (channels, height, width) whose sides are multiples of patch={self.patch};"
                f" got {event}, take another patch"
            )
        return PatchDenoiser(event, beside, given, self)


class PatchDenoiser(nn.Module):
    """Patches as tokens, blocks that start as the identity, and patches again."""

    def __init__(self, event: tuple[int, ...], beside: int, given: int, s: DiT) -> None:
        super().__init__()
        self.event, self.patch = event, s.patch
        count = (event[1] // s.patch) * (event[2] // s.patch)
        self.level = NoiseLevel(s.width, given)
        self.inward = nn.Linear((event[0] + beside) * s.patch**2, s.width)
        self.places = learned(count, s.width, s.heads)
        self.blocks = nn.ModuleList(Modulated(s.width, s.heads) for _ in range(s.depth))
        self.norm = nn.RMSNorm(s.width, elementwise_affine=False)
        self.outward = Zero(s.width, event[0] * s.patch**2)

    def forward(self, x: Tensor, noise: Tensor, beside: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        x = x if beside is None else torch.cat([x, beside.to(x.dtype)], dim=1)
        c = self.level(noise, given)
        h = self.places.enter(self.inward(F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)), 0)
        for block in self.blocks:
            h = block(h, c, self.places)
        out = self.outward(self.norm(h)).transpose(1, 2)
        return F.fold(out, self.event[1:], self.patch, stride=self.patch)


class Zero(nn.Linear):
    """A linear layer that starts at zero, bias and all."""

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """All zero; nothing is drawn."""
        self.weight.zero_()
        self.bias.zero_()


class Modulated(nn.Module):
    """Attention and dense layers, each scaled, shifted and gated by the condition (adaLN-Zero, Peebles & Xie 2023)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads, causal=False)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = Zero(width, 6 * width)

    def forward(self, h: Tensor, c: Tensor, places: Learned) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(c)[:, None].chunk(6, dim=-1)
        h = h + gate1 * self.attention(self.norm(h) * (1 + scale1) + shift1, places)
        return h + gate2 * self.dense(self.norm(h) * (1 + scale2) + shift2)


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Residual linear layers, for vectors (and anything flattened)."""

    width: int = 256
    depth: int = 4

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        if beside:
            raise ValueError("a dense denoiser takes a vector as its condition; got a picture, use Convolutional")
        return VectorDenoiser(event, given, self)


class VectorDenoiser(nn.Module):
    """x flattened into a residual stream that the noise level scales and shifts."""

    def __init__(self, event: tuple[int, ...], given: int, s: Dense) -> None:
        super().__init__()
        size = math.prod(event)
        self.level = NoiseLevel(s.width, given)
        self.inward = nn.Linear(size, s.width)
        self.norms = nn.ModuleList(nn.RMSNorm(s.width) for _ in range(s.depth))
        self.conditions = nn.ModuleList(nn.Linear(s.width, 2 * s.width) for _ in range(s.depth))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(s.width, s.width), nn.SiLU(), nn.Linear(s.width, s.width)) for _ in range(s.depth)
        )
        self.outward = nn.Sequential(nn.RMSNorm(s.width), Zero(s.width, size))

    def forward(self, x: Tensor, noise: Tensor, beside: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        c = self.level(noise, given)
        h = self.inward(x.flatten(1))
        for norm, condition, layer in zip(self.norms, self.conditions, self.layers, strict=True):
            scale, shift = condition(c).chunk(2, dim=1)
            h = h + layer(torch.addcmul(shift, norm(h), 1 + scale))
        return self.outward(h).reshape(x.shape)


@dataclass(frozen=True, kw_only=True)
class ByShape:
    """A U-Net for pictures of 8 a side and more, dense layers for everything else."""

    grid: Backbone = field(default_factory=Convolutional)
    vector: Backbone = field(default_factory=Dense)

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        grid = len(event) == 3 and min(event[1:]) >= 8
        return (self.grid if grid or beside else self.vector).build(event, beside, given)
