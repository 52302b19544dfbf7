"""Networks over time: rows (b, t, width), each of which becomes a function of itself and those before it.

``Attending`` is a causal transformer, ``Recurrent`` gated recurrent units (Cho et al. 2014). Both are also asked row by
row, by ``RowSteps`` that keep what later rows need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.transformer import Cache, Positions, Transformer, rotary


@runtime_checkable
class RowSteps(Protocol):
    """n sequences of rows, one row after another."""

    def step(self, row: Tensor) -> Tensor:
        """(n, width) -> what the network makes of it, (n, width)."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Goes on with these sequences, int64 (m,), in this order; one may be kept several times."""
        ...


class RowsBody(Protocol):
    """What is built: rows (b, t, width) -> the same."""

    def __call__(self, rows: Tensor) -> Tensor: ...

    def steps(self) -> RowSteps: ...


@runtime_checkable
class OverTime(Protocol):
    """Settings of a network over time, which build one for up to ``length`` rows."""

    @property
    def width(self) -> int: ...

    def build(self, length: int) -> nn.Module: ...


@dataclass(frozen=True, kw_only=True)
class Attending:
    """A causal transformer.

    heads      must divide the width.
    positions  what tells where a row stands: ``rotary`` or ``learned`` (``nets.transformer``).
    """

    width: int = 128
    depth: int = 3
    heads: int = 4
    positions: Positions = rotary

    def build(self, length: int) -> nn.Module:
        return AttendingBody(self, length)


class AttendingBody(nn.Module):
    """See ``Attending``."""

    def __init__(self, s: Attending, length: int) -> None:
        super().__init__()
        self.body = Transformer(s.width, s.depth, s.heads, length, causal=True, positions=s.positions)
        for p in self.body.blocks.parameters():
            p.muon = p.ndim == 2  # type: ignore[attr-defined]

    def forward(self, rows: Tensor) -> Tensor:
        return self.body(rows)

    def steps(self) -> RowSteps:
        return _Attended(self.body)


class _Attended:
    def __init__(self, body: Transformer) -> None:
        self.body, self.cache = body, Cache()

    @torch.no_grad()
    def step(self, row: Tensor) -> Tensor:
        return self.body(row[:, None], self.cache)[:, 0]

    def keep(self, rows: Tensor) -> None:
        self.cache.pairs = [(k[rows], v[rows]) for k, v in self.cache.pairs]


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """Layers of gated recurrent units."""

    width: int = 256
    depth: int = 1

    def build(self, length: int) -> nn.Module:
        return RecurrentBody(self)


class GatedUnits(nn.GRU):
    """Torch's, its first weights uniform with bound 1 / sqrt(hidden), biases zero."""

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        for name, p in self.named_parameters():
            if p.ndim < 2:
                p.zero_()
            else:
                p.copy_((2 * rng(name).uniform(p.shape) - 1) * self.hidden_size**-0.5)


class RecurrentBody(nn.Module):
    """See ``Recurrent``."""

    def __init__(self, s: Recurrent) -> None:
        super().__init__()
        self.units = GatedUnits(s.width, s.width, num_layers=s.depth, batch_first=True)

    def forward(self, rows: Tensor) -> Tensor:
        return self.units(rows)[0]

    def steps(self) -> RowSteps:
        return _Gated(self.units)


class _Gated:
    def __init__(self, units: nn.GRU) -> None:
        self.units = units
        self.state: Tensor | None = None

    @torch.no_grad()
    def step(self, row: Tensor) -> Tensor:
        out, self.state = self.units(row[:, None], self.state)
        return out[:, 0]

    def keep(self, rows: Tensor) -> None:
        self.state = None if self.state is None else self.state[:, rows]
