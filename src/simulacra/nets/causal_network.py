"""Autoregressive networks over a grid: two stacks of causal layers, for whole pictures and along the raster.

A ``Stacks`` is the setting; ``gated``, ``plus_plus`` and ``snail`` give those of three papers. Along the raster a
network is ``Cached`` (each pixel costs its own column of work) or ``Recomputed`` (each pixel costs a whole pass, as
most published code has it): whichever a caller passes in, the outputs are equal but for rounding.

Kernels and matrices of the layers are marked for Muon (``core.optimisers``); the first convolutions are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.causal_attention import Attention, Places
from simulacra.nets.causal_layers import CausalLayer, CausalModule, Gated, Residual, check_kernel
from simulacra.nets.masked import Above, Causal, Left, Rows, Taps


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """Two stacks of layers.

    layers  settings of the layers, first to last (``nets.causal_layers``).
    width   features of a pixel in each stack.
    first   odd extent of the neighbourhood that the first convolutions see the upper half of.
    """

    layers: tuple[CausalLayer, ...]
    width: int = 64
    first: int = 7

    def __post_init__(self) -> None:
        check_kernel(self.first)
        if self.first < 3:
            raise ValueError(f"first must be at least 3, or the first convolutions see nothing; got {self.first}")

    def build(self, inputs: int, size: tuple[int, int], given: int) -> CausalNetwork:
        """The network of pictures (inputs, *size), under conditions (given,)."""
        return CausalNetwork(self, inputs, size, given)


def gated(*, layers: int = 8, width: int = 64, kernel: int = 3, first: int = 7) -> Stacks:
    """Gated PixelCNN (van den Oord et al. 2016)."""
    return Stacks(layers=(Gated(kernel=kernel),) * layers, width=width, first=first)


def plus_plus(*, layers: int = 6, width: int = 64, kernel: int = 3, first: int = 7, dropout: float = 0.0) -> Stacks:
    """The plain residual PixelCNN++ (Salimans et al. 2017), all layers at full resolution."""
    return Stacks(layers=(Residual(kernel=kernel, dropout=dropout),) * layers, width=width, first=first)


def snail(
    *, blocks: int = 2, layers: int = 3, width: int = 64, heads: int = 4, kernel: int = 3, first: int = 5,
    dropout: float = 0.0,
) -> Stacks:  # fmt: skip
    """Blocks of residual layers, each ended by attention, in the manner of PixelSNAIL (Chen et al. 2018)."""
    block = ((Residual(kernel=kernel, dropout=dropout),) * layers, (Attention(heads=heads),))
    return Stacks(layers=(Places(), *(block[0] + block[1]) * blocks), width=width, first=first)


class CausalNetwork(nn.Module):
    """Pictures (b, inputs, h, w) -> features (b, width, h, w) of each pixel, made of those before it and no others."""

    def __init__(self, s: Stacks, inputs: int, size: tuple[int, int], given: int) -> None:
        super().__init__()
        self.inputs, self.size, self.width, half = inputs, size, s.width, s.first // 2
        self.above = Above(inputs, s.width, rows=half, columns=s.first, strict=True)
        self.left = Left(inputs, s.width, columns=half, strict=True)
        self.layers = nn.ModuleList(layer.build(s.width, size, given) for layer in s.layers)
        for module in self.layers.modules():
            if isinstance(module, Causal | nn.Linear):
                module.weight.muon = True  # type: ignore[attr-defined]

    def forward(
        self, x: Float[Tensor, "b c h w"], given: Tensor | None = None, rng: Rng | None = None
    ) -> Float[Tensor, "b d h w"]:
        """rng: of dropout, which needs training mode besides; None drops nothing."""
        x = x.contiguous(memory_format=torch.channels_last)
        v = self.above(x)
        h = self.left(x) + v
        for number, layer in enumerate(self.layers):
            v, h = layer(v, h, given, None if rng is None else rng("dropout", number))
        return h


@runtime_checkable
class Steps(Protocol):
    """A network along the raster, for n pictures at once."""

    def features(self, i: int, j: int) -> Tensor:
        """Features (n, width) of pixel (i, j), once all before it were put."""
        ...

    def put(self, i: int, j: int, x: Tensor) -> None:
        """Decides pixel (i, j): its inputs (n, inputs)."""
        ...


StepsOf = Callable[[CausalNetwork, int, Tensor | None], Steps]


class Cached:
    """A network along the raster that keeps what later pixels need: a row at a time above, a pixel at a time beside."""

    def __init__(self, network: CausalNetwork, n: int, given: Tensor | None) -> None:
        wide = network.size[1]
        self.above, self.left = Rows(network.above, n, wide), Taps(network.left, n, wide)
        self.layers = [cast(CausalModule, layer).cache(n, given) for layer in network.layers]
        self.steps = [layer.step for layer in self.layers]
        self.before: list[Tensor] = []

    def features(self, i: int, j: int) -> Tensor:
        if j == 0:
            self._begin(i)
        h = torch.addmm(self.before[j], self.left.seen[j], self.left.weight)
        for step in self.steps:
            h = step(j, h)
        return h

    @torch.no_grad()
    def _begin(self, i: int) -> None:
        if i > 0:
            self.above.put(torch.stack(self.left.at))
        v = self.above.look()
        self.before = list(v)
        for layer in self.layers:
            v = layer.row(i, v)

    def put(self, i: int, j: int, x: Tensor) -> None:
        self.left.at[j].copy_(x)


class Recomputed:
    """A network along the raster that passes over the whole picture for every pixel: slow, and plainly right."""

    def __init__(self, network: CausalNetwork, n: int, given: Tensor | None) -> None:
        self.network, self.given = network, given
        self.x = network.left.weight.new_zeros(n, network.inputs, *network.size)

    @torch.no_grad()
    def features(self, i: int, j: int) -> Tensor:
        return self.network(self.x, self.given)[:, :, i, j]

    def put(self, i: int, j: int, x: Tensor) -> None:
        self.x[:, :, i, j] = x
