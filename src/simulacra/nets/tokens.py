"""Rows of elements that all see one another: a bidirectional transformer as a backbone for denoising."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.nets.denoisers import Backbone, ByShape, Modulated, NoiseLevel, Zero
from simulacra.nets.transformer import learned


@dataclass(frozen=True, kw_only=True)
class Bidirectional:
    """A transformer over the rows of (length, channels), norms scaled and shifted by the level (Peebles & Xie 2023)."""

    width: int = 128
    depth: int = 4
    heads: int = 4

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        if len(event) != 2 or beside:
            raise ValueError(
                f"Bidirectional needs rows of shape (length, channels) and nothing beside them; got {event}"
                f"{' and a picture' if beside else ''}, use Convolutional or Dense"
            )
        if self.width % self.heads:
            raise ValueError(f"heads must divide width; got {self.heads} and {self.width}")
        return RowDenoiser(event, given, self)


class RowDenoiser(nn.Module):
    """Every row a token, blocks that start as the identity, and rows again."""

    def __init__(self, event: tuple[int, ...], given: int, s: Bidirectional) -> None:
        super().__init__()
        length, channels = event
        self.level = NoiseLevel(s.width, given)
        self.inward = nn.Linear(channels, s.width)
        self.places = learned(length, s.width, s.heads)
        self.blocks = nn.ModuleList(Modulated(s.width, s.heads) for _ in range(s.depth))
        self.norm = nn.RMSNorm(s.width, elementwise_affine=False)
        self.outward = Zero(s.width, channels)

    def forward(self, x: Tensor, noise: Tensor, beside: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        c = self.level(noise, given)
        h = self.places.enter(self.inward(x), 0)
        for block in self.blocks:
            h = block(h, c, self.places)
        return self.outward(self.norm(h))


@dataclass(frozen=True, kw_only=True)
class RowsOrShape:
    """A transformer for rows (length, channels); for everything else what ``ByShape`` takes."""

    rows: Backbone = field(default_factory=Bidirectional)
    other: Backbone = field(default_factory=ByShape)

    def build(self, event: tuple[int, ...], beside: int, given: int) -> nn.Module:
        return (self.rows if len(event) == 2 else self.other).build(event, beside, given)


class Symbols(nn.Module):
    """A denoising backbone that takes symbols and answers with logits: (b, n) in 0 .. count-1 -> (b, n, outputs).

    grid     (channels, height, width) where the n elements are a picture's; None: a row of n, or with ``apart`` one
             vector of them all, for elements that have nothing in common.
    count    how many symbols there are; each is a channel, and so is each logit.
    """

    def __init__(
        self,
        backbone: Backbone,
        n: int,
        count: int,
        outputs: int,
        given: int,
        *,
        grid: tuple[int, ...] | None,
        apart: bool,
    ) -> None:
        super().__init__()
        self.n, self.count, self.outputs, self.grid = n, count, outputs, grid
        rows = (n * count,) if apart else (n, count)
        self.event = rows if grid is None else (grid[0] * count, *grid[1:])
        self.body = backbone.build(self.event, 0, given)

    def forward(self, x: Tensor, noise: Tensor, given: Tensor | None) -> Tensor:
        """x int64 (b, n), noise (b,), given (b, given) or None."""
        # raised to unit mean square, which one channel in ``count`` does not have
        h = (x[..., None] == torch.arange(self.count, device=x.device)).to(noise.dtype) * self.count**0.5
        if self.grid is None:
            out = self.body(h.reshape(-1, *self.event), noise, None, given).reshape(-1, self.n, self.count)
        else:
            channels, height, width = self.grid
            h = h.reshape(-1, channels, height * width, self.count).transpose(2, 3).reshape(-1, *self.event)
            out = self.body(h, noise, None, given).reshape(-1, channels, self.count, height * width)
            out = out.transpose(2, 3).reshape(-1, self.n, self.count)
        return out[..., : self.outputs]
