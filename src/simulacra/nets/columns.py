"""Columns of a table as tokens: what a network is shown of each value, and what it says of each column.

Both keep columns apart: a column has vectors, a linear layer and a head of its own, whatever the others hold.
Categories are looked up, never spread out one-hot, so that a column of many costs what its table of vectors does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from simulacra.core.batch import Values
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.mathematics.distributions import Elementwise
from simulacra.nets.denoisers import Zero
from simulacra.nets.embeddings import pick
from simulacra.nets.heads import Likelihood

WAVES = 8  # sines and cosines that a number is shown by, up to as many half-waves over its range


def check_columns(space: Space, user: str) -> None:
    """ValueError, naming its ``user``, for a space that is not a table of single values."""
    for name, f in space.fields.items():
        if f.shape:
            raise ValueError(
                f"{user} needs a table, a single value a field; {name!r} has the shape {f.shape},"
                " use a family for pictures or sequences"
            )


class Numbers(nn.Module):
    """A continuous column's values (b,) -> (b, width): standardised, and by waves over where the field mostly lies."""

    rates: Tensor

    def __init__(self, f: Continuous, width: int) -> None:
        super().__init__()
        self.field = f
        self.linear = nn.Linear(2 * WAVES + 1, width)
        self.register_buffer("rates", math.pi * torch.arange(1, WAVES + 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        f = self.field
        u = ((x - f.centre) / f.scale).to(self.linear.weight.dtype)
        both = math.isfinite(f.high - f.low)
        # a range of the whole line is squeezed onto one of length 1, half of it within one scale of the centre
        place = ((x - f.low) / (f.high - f.low)).to(u.dtype) if both else torch.sigmoid(u * math.log(3))
        angles = place[:, None] * self.rates.to(u.dtype)
        return self.linear(torch.cat([u[:, None].clamp(-8, 8), angles.sin(), angles.cos()], dim=1))


class Columns(nn.Module):
    """The values of a table's columns as vectors: (b, columns, width)."""

    def __init__(self, space: Space, width: int) -> None:
        super().__init__()
        self.space = space
        self.tables = nn.ModuleList(
            nn.Embedding(f.k, width) if isinstance(f, Categorical) else Numbers(f, width) for f in space.fields.values()
        )

    def forward(self, x: Values, seen: Tensor) -> Tensor:
        """What is not seen, bool (b, columns), may hold anything; its vectors mean nothing."""
        parts: list[Tensor] = []
        for i, name in enumerate(self.space.fields):
            parts.append(self.one(i, torch.where(seen[:, i], pick(x, name), self.filler(i, pick(x, name)))))
        return torch.stack(parts, dim=1)

    def one(self, column: int, values: Tensor) -> Tensor:
        """The vectors (b, width) of one column's values (b,)."""
        return self.tables[column](values)

    def filler(self, column: int, like: Tensor) -> Tensor:
        """A harmless value of a column."""
        f = list(self.space.fields.values())[column]
        value = min(max(f.centre, f.low), f.high) if isinstance(f, Continuous) else 0
        return torch.full((), value, dtype=like.dtype, device=like.device)


class ColumnHeads(nn.Module):
    """From a vector for each column to a distribution of its value; all of them alike at first."""

    def __init__(self, space: Space, width: int, likelihood: Likelihood) -> None:
        super().__init__()
        self.kinds = [likelihood(f) for f in space.fields.values()]
        self.out = nn.ModuleList(Zero(width, kind.outputs) for kind in self.kinds)

    def forward(self, column: int, h: Tensor) -> Elementwise:
        """The distribution of one column's values, of vectors (..., width)."""
        raw = self.out[column](h)
        return self.kinds[column](raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw)
