"""From examples of a space to what a network takes in: near zero mean and unit variance, in the space's layout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core.batch import Values
from simulacra.core.space import Categorical, Classes, Continuous, Field, Space

ONE_HOT = 64  # up to this many categories are given as they are, one-hot; more are embedded in this many dimensions


class Embed(nn.Module):
    """Network input of a batch of examples.

    layout "grid"      (b, c, h, w)     -> (b, channels, h, w)
    layout "sequence"  (b, t, ...)      -> (b, t, channels); the last channel is 1 within the length, 0 beyond
    layout "vector"    fields of any shape -> (b, channels), all fields one after another

    Continuous fields are standardised by their centre and scale, categorical ones become one-hot (more than 64
    categories: a learned embedding). Every entry of a field that ``space.missing`` names has an indicator
    beside it, 1 where observed; unobserved entries are zero. Entries beyond an example's length are zero.

    shape  of one example's network input, without the batch.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.layout = space.layout
        many = [name for name, f in space.fields.items() if isinstance(f, Categorical) and f.k > ONE_HOT]
        self._keys = {name: module_key(name, i) for i, name in enumerate(many)}
        self.tables = nn.ModuleDict(
            {self._keys[name]: nn.Embedding(_categories(space, name), ONE_HOT) for name in many}
        )
        widths = {name: self._width(name) for name in space.fields}
        if self.layout == "grid":
            channels, height, width = space.only.shape
            self.channels = channels * widths[next(iter(widths))]
            self.shape: tuple[int, ...] = (self.channels, height, width)
        elif self.layout == "sequence":
            longest, *rest = space.only.shape
            self.channels = math.prod(rest) * widths[next(iter(widths))] + 1
            self.shape = (longest, self.channels)
        else:
            present = sum(f.shape[0] for f in space.fields.values() if f.varying)
            self.channels = present + sum(math.prod(f.shape) * widths[n] for n, f in space.fields.items())
            self.shape = (self.channels,)

    def _width(self, name: str) -> int:
        f = self.space.fields[name]
        base = min(f.k, ONE_HOT) if isinstance(f, Categorical) else 1
        return base + (name in self.space.missing)

    def forward(self, x: Values, known: Values | None = None, length: Tensor | None = None) -> Tensor:
        """x, known and length as in ``Batch``; see the class for the shape that comes back."""
        if self.layout == "vector":
            parts: list[Tensor] = []
            for name, f in self.space.fields.items():
                entries, present = self._field(name, f, pick(x, name), pick(known, name), length)
                parts.append(entries.flatten(1))
                if f.varying:
                    parts.append(present.flatten(1).to(entries.dtype))
            return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        name, f = next(iter(self.space.fields.items()))
        entries, present = self._field(name, f, pick(x, name), pick(known, name), length)
        if self.layout == "grid":  # (b, c, h, w, e) -> (b, c e, h, w)
            return entries.movedim(-1, 2).flatten(1, 2)
        return torch.cat([entries.flatten(2), present.to(entries.dtype)[..., None]], dim=-1)

    def _field(
        self, name: str, f: Field, x: Tensor, known: Tensor | None, length: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One field's entries (b, *shape, e) and, where it varies, which steps are within the length, (b, t)."""
        observed = known if name in self.space.missing else None
        if observed is not None:
            x = torch.where(
                observed, x, torch.zeros((), dtype=x.dtype, device=x.device)
            )  # an unobserved NaN is dropped
        if isinstance(f, Continuous):
            entries = ((x - f.centre) / f.scale if (f.centre, f.scale) != (0.0, 1.0) else x)[..., None]
        elif name in self._keys:
            entries = self.tables[self._keys[name]](x)
        else:
            entries = one_hot(x, f.k, torch.get_default_dtype())
        if name in self.space.missing:
            seen = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
            entries = torch.cat([entries * seen[..., None], seen[..., None].to(entries.dtype)], dim=-1)
        present = within(f, len(x), length, x.device)
        if f.varying and length is not None:
            entries = entries * present.reshape(*present.shape, *[1] * (entries.ndim - 2))
        return entries, present


def module_key(name: str, number: int) -> str:
    """The name of a field as one of a module's parts: itself, but for what no part may be called ("a.b", "keys")."""
    return f"field {number}" if not name or "." in name or hasattr(nn.ModuleDict, name) else name


def _categories(space: Space, name: str) -> int:
    f = space.fields[name]
    assert isinstance(f, Categorical)
    return f.k


def pick(values: Values | None, name: str) -> Any:
    """The tensor of one field, whether values are a mapping or the only field's tensor; None stays None."""
    return values.get(name) if isinstance(values, Mapping) else values


def within(f: Field, batch: int, length: Tensor | None, device: torch.device) -> Tensor:
    """Which steps of a varying field are within each example's length, bool (b, t); all where no length is given."""
    longest = f.shape[0] if f.shape else 1
    if length is None or not f.varying:
        return torch.ones(batch, longest, dtype=torch.bool, device=device)
    return torch.arange(longest, device=device) < length[:, None].to(device)


def class_indicator(y: Tensor | None, classes: Classes | None, dtype: torch.dtype) -> Tensor | None:
    """Labels int64 (b,) as one-hot (b, classes); None for a space without classes.

    Raises ValueError where labels are given and none expected, expected and none given, or out of range.
    """
    if classes is None:
        if y is not None:
            raise ValueError("labels were given to a model of data without classes; leave y out")
        return None
    if y is None:
        raise ValueError(f"this model is conditional on {len(classes)} classes; give y=, a label for each example")
    # looked at only where looking does not make a device wait, and not while a graph for any labels is made
    seen = y.device.type == "cpu" and not torch.compiler.is_exporting() and len(y)
    if seen and not (int(y.min()) >= 0 and int(y.max()) < len(classes)):
        raise ValueError(f"labels must lie in 0 .. {len(classes) - 1}; got {int(y.min())} .. {int(y.max())}")
    return one_hot(y, len(classes), dtype)


def one_hot(index: Tensor, k: int, dtype: torch.dtype) -> Tensor:
    """1 at each index in 0 .. k-1, 0 elsewhere; (...) -> (..., k)."""
    return (index[..., None] == torch.arange(k, device=index.device)).to(dtype)
