"""Columns of every kind as one vector that gradients pass through: numbers as they are, categories one-hot or soft.

What networks that put out examples, and are judged by others that look at them, need: real categories stand as ones
and zeros, drawn ones as the softmax of logits with Gumbel noise, near one-hot at a low temperature (Jang et al. 2017).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Field, Space
from simulacra.nets.columns import check_columns
from simulacra.nets.embeddings import one_hot, pick


class Relaxed:
    """A table's rows as u (b, size): a number standardised, a category in as many places as there are.

    slices  field name -> where in u it stands.
    """

    def __init__(self, space: Space, user: str) -> None:
        check_columns(space, user)
        if space.missing:
            raise ValueError(
                f"{user} needs complete rows; {list(space.missing)} may be missing, impute them first, or read the"
                " table with missing values as a category of their own"
            )
        self.space, self.slices, at = space, dict[str, slice](), 0
        for name, f in space.fields.items():
            width = f.k if isinstance(f, Categorical) else 1
            self.slices[name] = slice(at, at + width)
            at += width
        self.size = at
        self.categories = {name: f for name, f in space.fields.items() if isinstance(f, Categorical)}

    def inward(self, x: Values, dtype: torch.dtype) -> Tensor:
        """Rows in their own units -> u (b, size)."""
        parts = [
            one_hot(pick(x, name), f.k, dtype)
            if isinstance(f, Categorical)
            else ((pick(x, name) - f.centre) / f.scale).to(dtype)[:, None]
            for name, f in self.space.fields.items()
        ]
        return torch.cat(parts, dim=1)

    def within(self, raw: Tensor, rng: Rng, temperature: float) -> Tensor:
        """A network's free output (b, size) as u: numbers inside their range, categories softly drawn."""
        parts = [
            self._one(f, raw[:, self.slices[name]], rng(name), temperature) for name, f in self.space.fields.items()
        ]
        return torch.cat(parts, dim=1)

    def _one(self, f: Field, raw: Tensor, rng: Rng, temperature: float) -> Tensor:
        if isinstance(f, Continuous):
            return _inside(f, raw)
        noise = rng.gumbel(raw.shape, dtype=raw.dtype, device=raw.device)
        return ((raw + noise) / temperature).softmax(1)

    def drawn(self, raw: Tensor, rng: Rng) -> dict[str, Tensor]:
        """A network's free output (b, size) as rows of data: numbers inside their range, on their levels, and of each
        category one drawn from its logits, which is the law of the likeliest place of what ``within`` makes."""
        found: dict[str, Tensor] = {}
        for name, f in self.space.fields.items():
            part = raw[:, self.slices[name]]
            if isinstance(f, Categorical):
                found[name] = rng(name).categorical(part)
            else:
                value = _inside(f, part)[:, 0] * f.scale + f.centre
                found[name] = f.value(f.index(value)) if f.levels is not None else value.clamp(f.low, f.high)
        return found


def _inside(f: Continuous, raw: Tensor) -> Tensor:
    """A free number as u inside the field's range, through a tanh between two ends; where there is none, as it is."""
    if math.isinf(f.low) or math.isinf(f.high):
        return raw
    middle, half = (f.high + f.low) / 2, (f.high - f.low) / 2
    return (raw.tanh() * half + (middle - f.centre)) / f.scale
