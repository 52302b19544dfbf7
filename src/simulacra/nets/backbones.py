"""Networks from an example to one vector, and from one vector to an example, for each layout a space can have.

A ``Networks`` is a frozen setting that builds both halves. Encoders take the output of ``nets.embeddings.Embed``
and, beside it, a vector that is given (the class); decoders return what ``nets.heads.Head`` asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.nets.activations import Activation, silu
from simulacra.nets.dense import mlp
from simulacra.nets.embeddings import Embed
from simulacra.nets.heads import Head


@runtime_checkable
class Networks(Protocol):
    """Builds an encoder and a decoder."""

    def encoder(self, embed: Embed, given: int, outputs: int) -> nn.Module:
        """A module (h (b, *embed.shape), given (b, given) or None) -> (b, outputs)."""
        ...

    def decoder(self, head: Head, inputs: int) -> nn.Module:
        """A module (b, inputs) -> (b, *head.shape)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Linear layers; the decoder has the encoder's hidden sizes in reverse order. For every layout."""

    hidden: tuple[int, ...] = (512, 512)
    activation: Activation = silu

    def encoder(self, embed: Embed, given: int, outputs: int) -> nn.Module:
        return DenseEncoder((math.prod(embed.shape) + given, *self.hidden, outputs), self.activation)

    def decoder(self, head: Head, inputs: int) -> nn.Module:
        return DenseDecoder((inputs, *reversed(self.hidden), math.prod(head.shape)), head.shape, self.activation)


@dataclass(frozen=True, kw_only=True)
class Convolutional:
    """Residual convolutions over a grid of any size, halved until its shorter side is at most ``coarsest``.

    width   channels after the first halving; doubled at every further one, up to four times.
    blocks  residual blocks at each resolution below the full one, which is only ever seen through the first and
            last convolution: blocks there would cost the most and tell the least.
    hidden  size of the dense layer between the coarsest grid and the vector.
    """

    width: int = 32
    blocks: int = 1
    hidden: int = 256
    coarsest: int = 7
    activation: Activation = silu

    def encoder(self, embed: Embed, given: int, outputs: int) -> nn.Module:
        return GridEncoder(embed.shape, given, outputs, self)

    def decoder(self, head: Head, inputs: int) -> nn.Module:
        return GridDecoder(inputs, head.shape, self)

    def stages(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(channels, height, width) after each halving; a side of odd length is rounded up."""
        found: list[tuple[int, int, int]] = []
        while not found or min(height, width) > self.coarsest:
            height, width = (height + 1) // 2, (width + 1) // 2
            found.append((self.width * min(4, 2 ** len(found)), height, width))
        return found


@dataclass(frozen=True, kw_only=True)
class Temporal:
    """Residual convolutions along a sequence up to a length; what lies beyond an example's length is never seen.

    width   channels at every step.
    blocks  residual blocks of two convolutions over ``reach`` steps, an odd number.
    """

    width: int = 64
    blocks: int = 2
    reach: int = 5
    hidden: int = 256
    activation: Activation = silu

    def __post_init__(self) -> None:
        if self.reach % 2 == 0:
            raise ValueError(f"reach must be odd, so that a convolution has a middle; got {self.reach}")

    def encoder(self, embed: Embed, given: int, outputs: int) -> nn.Module:
        return SequenceEncoder(embed.shape, given, outputs, self)

    def decoder(self, head: Head, inputs: int) -> nn.Module:
        return SequenceDecoder(inputs, head.shape, self)


@dataclass(frozen=True, kw_only=True)
class ByLayout:
    """The networks of the space's own layout."""

    grid: Networks = field(default_factory=Convolutional)
    sequence: Networks = field(default_factory=Temporal)
    vector: Networks = field(default_factory=Dense)

    def encoder(self, embed: Embed, given: int, outputs: int) -> nn.Module:
        return self._of(embed.layout).encoder(embed, given, outputs)

    def decoder(self, head: Head, inputs: int) -> nn.Module:
        return self._of(head.layout).decoder(head, inputs)

    def _of(self, layout: str) -> Networks:
        return {"grid": self.grid, "sequence": self.sequence, "vector": self.vector}[layout]


class DenseEncoder(nn.Module):
    """Flattens, appends what is given, and passes it through linear layers."""

    def __init__(self, sizes: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self.layers = mlp(sizes, activation=activation)

    def forward(self, h: Tensor, given: Tensor | None = None) -> Tensor:
        return self.layers(joined(h.flatten(1), given))


class DenseDecoder(nn.Module):
    """Linear layers, their output in the shape asked for."""

    def __init__(self, sizes: tuple[int, ...], shape: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self.layers, self.shape = mlp(sizes, activation=activation), shape

    def forward(self, v: Tensor) -> Tensor:
        return self.layers(v).reshape(v.shape[0], *self.shape)


class Residual(nn.Module):
    """x + two convolutions of its activation (the pre-activation block of He et al. 2016), on grids or sequences."""

    def __init__(self, first: nn.Module, second: nn.Module, activation: Activation) -> None:
        super().__init__()
        self.body = nn.Sequential(activation(), first, activation(), second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class GridEncoder(nn.Module):
    """Strided convolutions with residual blocks between them, then two dense layers."""

    def __init__(self, shape: tuple[int, ...], given: int, outputs: int, s: Convolutional) -> None:
        super().__init__()
        channels, height, width = shape
        stages = s.stages(height, width)
        self.down = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for out, _, _ in stages:
            self.down.append(nn.Conv2d(channels, out, 3, stride=2, padding=1))
            self.blocks.append(grid_blocks(out, s))
            channels = out
        self.given = nn.Linear(given, stages[0][0], bias=False) if given else None
        self.act = s.activation()
        self.dense = nn.Sequential(nn.Linear(math.prod(stages[-1]), s.hidden), s.activation())
        self.out = nn.Linear(s.hidden + given, outputs)

    def forward(self, h: Tensor, given: Tensor | None = None) -> Tensor:
        for i, (down, blocks) in enumerate(zip(self.down, self.blocks, strict=True)):
            h = down(h)
            if i == 0 and self.given is not None:
                h = h + self.given(given)[:, :, None, None]
            h = blocks(h)
        return self.out(joined(self.dense(self.act(h).permute(0, 2, 3, 1).flatten(1)), given))


class GridDecoder(nn.Module):
    """Two dense layers onto the coarsest grid, then residual blocks and convolutions that double its sides."""

    def __init__(self, inputs: int, shape: tuple[int, ...], s: Convolutional) -> None:
        super().__init__()
        outputs, height, width = shape
        stages = s.stages(height, width)
        self.start = stages[-1]
        self.dense = nn.Sequential(
            nn.Linear(inputs, s.hidden), s.activation(), nn.Linear(s.hidden, math.prod(self.start))
        )
        after = [*reversed(stages[:-1]), (outputs, height, width)]
        self.sizes = [(h, w) for _, h, w in after]
        self.blocks = nn.ModuleList(grid_blocks(c, s) for c, _, _ in reversed(stages))
        self.up = nn.ModuleList(
            nn.Sequential(s.activation(), nn.Conv2d(into, 4 * out, 3, padding=1))
            for (into, _, _), (out, _, _) in zip(reversed(stages), after, strict=True)
        )

    def forward(self, v: Tensor) -> Tensor:
        # channels run fastest, as convolutions like them in memory
        channels, height, width = self.start
        h = self.dense(v).reshape(v.shape[0], height, width, channels).permute(0, 3, 1, 2)
        for blocks, up, (rows, columns) in zip(self.blocks, self.up, self.sizes, strict=True):
            # each convolution puts out the four pixels of a finer grid (Shi et al. 2016); an odd side is cut
            h = F.pixel_shuffle(up(blocks(h)), 2)[:, :, :rows, :columns]
        return h


def grid_blocks(channels: int, s: Convolutional) -> nn.Sequential:
    """The residual blocks of one resolution."""
    conv = lambda: nn.Conv2d(channels, channels, 3, padding=1)  # noqa: E731
    return nn.Sequential(*[Residual(conv(), conv(), s.activation) for _ in range(s.blocks)])


class SequenceEncoder(nn.Module):
    """Residual convolutions, then a dense layer that sees every step in its place."""

    def __init__(self, shape: tuple[int, ...], given: int, outputs: int, s: Temporal) -> None:
        super().__init__()
        longest, channels = shape
        self.into = nn.Linear(channels + given, s.width)
        self.blocks = nn.ModuleList(sequence_block(s) for _ in range(s.blocks))
        self.dense = nn.Sequential(nn.Linear(longest * s.width, s.hidden), s.activation())
        self.out = nn.Linear(s.hidden + given, outputs)

    def forward(self, h: Tensor, given: Tensor | None = None) -> Tensor:
        present = h[..., -1:].transpose(1, 2)  # (b, 1, t): Embed's last channel
        if given is not None:
            h = joined(h, given[:, None].expand(-1, h.shape[1], -1))
        h = self.into(h).transpose(1, 2) * present  # what lies beyond the length ends here
        for block in self.blocks:
            h = block(h)
        return self.out(joined(self.dense(h.flatten(1)), given))


class SequenceDecoder(nn.Module):
    """A dense layer onto all steps, then residual convolutions along them."""

    def __init__(self, inputs: int, shape: tuple[int, ...], s: Temporal) -> None:
        super().__init__()
        self.longest, outputs = shape
        self.dense = nn.Sequential(
            nn.Linear(inputs, s.hidden), s.activation(), nn.Linear(s.hidden, self.longest * s.width)
        )
        self.blocks = nn.ModuleList(sequence_block(s) for _ in range(s.blocks))
        self.out = nn.Linear(s.width, outputs)

    def forward(self, v: Tensor) -> Tensor:
        h = self.dense(v).reshape(v.shape[0], -1, self.longest)
        for block in self.blocks:
            h = block(h)
        return self.out(h.transpose(1, 2))


def sequence_block(s: Temporal) -> Residual:
    """One residual block along a sequence."""
    conv = lambda: nn.Conv1d(s.width, s.width, s.reach, padding=s.reach // 2)  # noqa: E731
    return Residual(conv(), conv(), s.activation)


def joined(h: Tensor, given: Tensor | None) -> Tensor:
    """Two tensors side by side in their last dimension; the first alone where nothing is given."""
    return h if given is None else torch.cat([h, given.to(h.dtype)], dim=-1)
