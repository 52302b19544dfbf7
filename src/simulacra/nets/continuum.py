"""Between the values of continuous fields and what a network works on: zero mean, unit variance, one tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.space import Categorical, Continuous, Space


@dataclass(frozen=True)
class Continuum:
    """The continuous fields of a space as one tensor u = (x - centre) / scale.

    One field keeps its shape, (b, *shape); several are flattened and joined, (b, d). ``event`` is the shape of a row.
    """

    fields: dict[str, Continuous]

    @staticmethod
    def of(space: Space, user: str) -> Continuum:
        """The continuum of a space; ValueError, naming its ``user``, where it has fields of another kind."""
        fields: dict[str, Continuous] = {}
        for name, f in space.fields.items():
            if isinstance(f, Categorical):
                raise ValueError(
                    f"{user} needs continuous fields; {name!r} is categorical, use a likelihood model for it"
                )
            if f.varying:
                raise ValueError(f"{user} needs fields of fixed extent; {name!r} varies, cut it to one length")
            fields[name] = f
        if space.missing:
            raise ValueError(f"{user} needs complete examples; {list(space.missing)} may be missing, impute them first")
        return Continuum(fields)

    @property
    def event(self) -> tuple[int, ...]:
        """Shape of one example as the network sees it."""
        if len(self.fields) == 1:
            return next(iter(self.fields.values())).shape or (1,)
        return (sum(math.prod(f.shape) for f in self.fields.values()),)

    def inward(self, x: Values) -> Tensor:
        """Values in their own units -> u (b, *event)."""
        parts = [(_of(x, name) - f.centre) / f.scale for name, f in self.fields.items()]
        if len(parts) == 1:
            return parts[0].reshape(-1, *self.event)
        return torch.cat([p.reshape(len(p), -1) for p in parts], dim=1)

    def within(self, raw: Tensor) -> Tensor:
        """A network's free output (b, *event) as u: through a tanh onto the range of fields that have both bounds."""
        parts = [_within(f, r) for f, r in zip(self.fields.values(), self.split(raw), strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def outward(self, u: Tensor) -> Values:
        """u (b, *event) -> values in their own units; differentiable."""
        parts = zip(self.fields.items(), self.split(u), strict=True)
        values = {name: (part * f.scale + f.centre).reshape(-1, *f.shape) for (name, f), part in parts}
        return values if len(values) > 1 else next(iter(values.values()))

    def decoded(self, u: Tensor) -> Values:
        """u (b, *event) -> values as data has them: inside their range, on their levels."""
        x = self.outward(u)
        if isinstance(x, Tensor):
            return _settle(next(iter(self.fields.values())), x)
        return {name: _settle(f, x[name]) for name, f in self.fields.items()}

    def inside(self, x: Values) -> Values:
        """Values clamped to their fields' ranges; differentiable within them."""
        if isinstance(x, Tensor):
            return x.clamp(*_range(next(iter(self.fields.values()))))
        return {name: x[name].clamp(*_range(f)) for name, f in self.fields.items()}

    def split(self, u: Tensor) -> list[Tensor]:
        """u (b, *event) -> each field's part, (b, *event) of the only one or (b, its size)."""
        if len(self.fields) == 1:
            return [u]
        return list(u.split([math.prod(f.shape) for f in self.fields.values()], dim=1))

    def flags(self, known: Values) -> Tensor:
        """What is known of x, bool like x -> bool (b, *event)."""
        parts = [_of(known, name) for name in self.fields]
        if len(parts) == 1:
            return parts[0].reshape(-1, *self.event)
        return torch.cat([p.reshape(len(p), -1) for p in parts], dim=1)


def _of(x: Values, name: str) -> Tensor:
    return x if isinstance(x, Tensor) else x[name]


def _within(f: Continuous, raw: Tensor) -> Tensor:
    if math.isinf(f.low) or math.isinf(f.high):
        return raw
    middle, half = (f.high + f.low) / 2, (f.high - f.low) / 2
    u = raw.tanh()
    # a picture in [-1, 1] needs no more than the tanh
    return u if (middle, half, f.centre, f.scale) == (0, 1, 0, 1) else (u * half + (middle - f.centre)) / f.scale


def _settle(f: Continuous, x: Tensor) -> Tensor:
    return f.value(f.index(x)) if f.levels is not None else x.clamp(f.low, f.high)


def _range(f: Continuous) -> tuple[float, float]:
    return f.low, f.high
