"""A batch of examples, the loss on it, and where batches come from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space

Values = Tensor | Mapping[str, Tensor]


def each(function: Callable[[Tensor], Tensor], values: Any) -> Any:
    """A function applied to a tensor, to every tensor of a mapping, or to nothing at all."""
    if values is None:
        return None
    if isinstance(values, Mapping):
        named = cast(Mapping[str, Tensor], values)
        return {name: function(tensor) for name, tensor in named.items()}
    return function(values)


def rows(values: Values) -> int:
    """Number of examples in a tensor (b, ...) or a mapping of them."""
    return len(values if isinstance(values, Tensor) else next(iter(values.values())))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """b examples.

    x         (b, *event), or field name -> (b, *shape) where the space has several fields.
    y         what they are conditioned on: int64 (b,) for classes, values of another space, or None.
    known     bool like x, True where observed; None means everything is.
    length    int64 (b,), how much of the varying extent each example fills; None where nothing varies.
    y_length  the same for y.
    """

    x: Values
    y: Values | None = None
    known: Values | None = None
    length: Tensor | None = None
    y_length: Tensor | None = None

    def __len__(self) -> int:
        return rows(self.x)

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with a function applied to each of its tensors."""
        return Batch(
            x=each(function, self.x),
            y=each(function, self.y),
            known=each(function, self.known),
            length=each(function, self.length),
            y_length=each(function, self.y_length),
        )

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        return self.map(lambda t: t.to(device, non_blocking=True))

    def rows(self, index: Any) -> Batch:
        """Some of its examples: a slice, or an index tensor."""
        if isinstance(index, Tensor) and index.dtype == torch.int64 and index.ndim == 1:
            # copies whole rows: an order of magnitude faster than t[index] on a CPU
            return self.map(lambda t: t.index_select(0, index))
        return self.map(lambda t: t[index])

    def given(self) -> dict[str, Any]:
        """What is given beside x, as the keyword arguments of ``log_likelihood``: those of y, known, length it has."""
        return {
            name: value
            for name, value in (("y", self.y), ("known", self.known), ("length", self.length))
            if value is not None
        }


@dataclass(frozen=True)
class Loss:
    """A loss summed over examples, and what it is to be divided by.

    total   scalar tensor, the sum.
    weight  number of examples (or of elements, tokens ...) in the sum: a float or a scalar tensor.
    terms   name -> detached scalar tensor, summed like ``total``, for the log.

    The division happens once, after sums over accumulation and processes, so that means over masks and over
    unequal shares stay right.
    """

    total: Tensor
    weight: float | Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    @staticmethod
    def of(each_example: Tensor, **terms: Tensor) -> Loss:
        """The loss whose value on each example is given, (b,); terms likewise, (b,)."""
        return Loss(each_example.sum(), float(len(each_example)), {name: t.detach().sum() for name, t in terms.items()})


@runtime_checkable
class Data(Protocol):
    """Where batches come from: a data set in memory, a stream, an exact world."""

    # read-only, so that frozen records are data too
    @property
    def space(self) -> Space: ...

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the contents, hexadecimal."""
        ...

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, rng: Rng) -> Batch:
        """The examples with these numbers (int64, (b,)); rng for what is drawn on the way, such as binarisation."""
        ...


@dataclass(frozen=True, kw_only=True)
class Factor:
    """Something that varies independently in made data: the shape of a sprite, where it lies.

    values   how many values it has, numbered from 0.
    ordered  whether neighbouring numbers are alike, as positions are and shapes are not.
    """

    name: str
    values: int
    ordered: bool = True


@runtime_checkable
class Factored(Protocol):
    """Data whose examples were made from known factors: what disentanglement is measured on."""

    @property
    def named_factors(self) -> tuple[Factor, ...]:
        """The factors, in the order of the columns of ``factors``."""
        ...

    def factors(self, index: Tensor) -> Tensor:
        """The factors' values of the examples with these numbers, int64 (b,) -> int64 (b, factors)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Data in memory. A continuous field with levels is kept as its level indices (uint8 where they fit).

    x, y, known, length, y_length  as in ``Batch``, for all examples.
    change   applied to every batch as it is drawn: dynamic binarisation, augmentation.
    """

    space: Space
    x: Values
    y: Values | None = None
    known: Values | None = None
    length: Tensor | None = None
    y_length: Tensor | None = None
    name: str = "data"
    change: Callable[[Batch, Rng], Batch] | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint(self.x, self.y, self.known, self.length, self.y_length))

    def __len__(self) -> int:
        return rows(self.x)

    def batch(self, index: Tensor, rng: Rng) -> Batch:
        """The examples with these numbers, decoded to the space's own values."""
        raw = Batch(x=self.x, y=self.y, known=self.known, length=self.length, y_length=self.y_length).rows(index)
        if isinstance(raw.x, Mapping):
            fields = self.space.fields
            batch = replace(raw, x={name: decode(fields[name], t) for name, t in raw.x.items()})
        else:
            batch = replace(raw, x=decode(self.space.only, raw.x))
        return batch if self.change is None else self.change(batch, rng)

    def subset(self, index: Tensor, name: str | None = None) -> Stored:
        """Some of the examples, in the order given, as data of their own."""
        part = Batch(x=self.x, y=self.y, known=self.known, length=self.length, y_length=self.y_length).rows(index)
        return replace(
            self,
            x=part.x,
            y=part.y,
            known=part.known,
            length=part.length,
            y_length=part.y_length,
            name=name or self.name,
            fingerprint="",
        )

    def to(self, device: torch.device | str) -> Stored:
        """The same data on another device."""
        parts = Batch(x=self.x, y=self.y, known=self.known, length=self.length, y_length=self.y_length).to(device)
        return replace(self, x=parts.x, y=parts.y, known=parts.known, length=parts.length, y_length=parts.y_length)


def decode(f: Any, stored: Tensor) -> Tensor:
    """Stored level indices as values of a continuous field with levels; everything else as it is."""
    if isinstance(f, Continuous) and f.levels is not None and not stored.is_floating_point():
        return f.value(stored.to(torch.get_default_dtype()))
    return stored


def fingerprint(*values: Values | None) -> str:
    """SHA-256 over the places, names, types, shapes and bytes of tensors and mappings of them, hexadecimal."""
    digest = hashlib.sha256()
    for place, value in enumerate(values):
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, tensor in parts:
            if tensor is not None:
                array: np.ndarray[Any, np.dtype[Any]] = np.ascontiguousarray(tensor.detach().cpu())
                digest.update(f"{place} {name!r} {array.dtype} {array.shape}".encode())
                digest.update(array.tobytes())
    return digest.hexdigest()
