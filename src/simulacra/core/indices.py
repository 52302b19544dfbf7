"""Examples as whole numbers: each element by the number of its value among those it can take."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.space import Continuous, Field, Space


def choices(f: Field) -> int:
    """How many values an element of a field can take; ValueError for a field without levels."""
    if not isinstance(f, Continuous):
        return f.k
    if f.levels is None:
        raise ValueError("a field of real numbers has no countable values; expected categories, or levels=")
    return f.levels


def to_indices(space: Space, x: Values) -> Tensor:
    """int64 (n, size): level indices and categories, flattened, fields in the space's order.

    Raises ValueError for a field without levels, or values off their levels: categories outside 0 .. k-1, numbers
    further from a level than rounding takes them.
    """
    parts: list[Tensor] = []
    for name, f in space.fields.items():
        value = x if isinstance(x, Tensor) else x[name]
        k = choices(f)
        if isinstance(f, Continuous):
            index = f.index(value)
            off = float((f.value(index) - value).abs().max()) if value.numel() else 0.0
            # written so that NaN is off its levels too
            if not off <= 1e-3 * f.spacing:
                raise ValueError(
                    f"{name} must lie on its {k} levels in [{f.low:g}, {f.high:g}]; got a value off by {off:.3g}"
                )
        else:
            index = value
            if value.numel() and not (int(value.min()) >= 0 and int(value.max()) < k):
                raise ValueError(f"{name} must lie in 0 .. {k - 1}; got {int(value.min())} .. {int(value.max())}")
        parts.append(index.to(torch.int64).reshape(len(value), math.prod(f.shape)))
    return torch.cat(parts, dim=1)


def from_indices(space: Space, index: Tensor) -> Values:
    """The examples that ``to_indices`` numbered; index int64 (n, size)."""
    found: dict[str, Tensor] = {}
    first = 0
    for name, f in space.fields.items():
        last = first + math.prod(f.shape)
        shaped = index[:, first:last].reshape(len(index), *f.shape)
        first = last
        found[name] = f.value(shaped.to(torch.get_default_dtype())) if isinstance(f, Continuous) else shaped
    return found if len(found) > 1 else next(iter(found.values()))
