"""What every use refuses before it begins: examples, masks and labels that are not of the model's space."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core.batch import Values
from simulacra.core.capabilities import Modelled
from simulacra.core.indices import choices
from simulacra.core.space import Classes, Continuous, Field, Space


def space_of(model: object, use: str) -> Space:
    """The space a model knows; ValueError for one that knows none."""
    if isinstance(model, Modelled):
        return model.space
    raise ValueError(f"{use} needs a model that knows its space; {type(model).__name__} has no attribute space")


def device_of(model: object) -> torch.device:
    """Where a model's parameters are, or its buffers; the CPU for one without."""
    first = next(itertools.chain(model.parameters(), model.buffers()), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def check_examples(space: Space, x: Values, known: Values | None = None) -> int:
    """How many examples x holds, of which ``known`` entries are looked at.

    Raises ValueError for fields that are missing, another shape or dtype, NaN, and values off a field's levels, outside
    its range or its categories.
    """
    parts = _fields(space, x, "examples")
    count = len(next(iter(parts.values())))
    for name, f in space.fields.items():
        value = parts[name]
        if tuple(value.shape[1:]) != f.shape or len(value) != count:
            raise ValueError(
                f"{name} must have the shape (n, {', '.join(map(str, f.shape))}) of the model's space;"
                f" got {tuple(value.shape)}"
            )
        if value.is_floating_point() != isinstance(f, Continuous) or value.dtype == torch.bool:
            wanted = "floating point" if isinstance(f, Continuous) else "int64 categories"
            raise ValueError(f"{name} must be {wanted}; got {value.dtype}")
        seen = value if known is None else value[_fields(space, known, "mask")[name]]
        if seen.numel():
            _check_range(name, f, seen)
    if not count:
        raise ValueError("no examples were given; expected at least one")
    return count


def check_mask(space: Space, x: Values, known: Values) -> None:
    """ValueError unless ``known`` is bool, shaped like x, knows something of every example and not all of them."""
    values, masks = _fields(space, x, "examples"), _fields(space, known, "mask")
    for name, mask in masks.items():
        if mask.shape != values[name].shape or mask.dtype != torch.bool:
            raise ValueError(
                f"the mask of {name} must be bool of shape {tuple(values[name].shape)}, as the examples;"
                f" got {mask.dtype} {tuple(mask.shape)}"
            )
    flat = torch.cat([m.reshape(len(m), -1) for m in masks.values()], dim=1)
    unknown = int((~flat.any(1)).sum())
    if unknown:
        raise ValueError(f"nothing is known of {unknown} of {len(flat)} examples; draw whole ones with sample instead")
    if bool(flat.all()):
        raise ValueError("nothing is missing: every entry is known; mark what is to be filled in")


def check_labels(space: Space, y: Any, n: int) -> None:
    """ValueError unless y is int64 (n,) of classes that exist, n examples of y's own space, or None; where the space
    has no y it must be None.
    """
    if y is None:
        return
    if isinstance(space.y, Space):
        if (given := check_examples(space.y, y)) != n:
            raise ValueError(f"y must hold a condition for each of {n} examples; got {given}")
        return
    if not isinstance(space.y, Classes):
        raise ValueError("labels were given to a model of data without classes; leave y out")
    k = len(space.y)
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or tuple(y.shape) != (n,):
        got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"labels must be int64 ({n},), one an example; got {got}")
    if n and not (int(y.min()) >= 0 and int(y.max()) < k):
        raise ValueError(f"labels must lie in 0 .. {k - 1}; got {int(y.min())} .. {int(y.max())}")


def _fields(space: Space, values: Any, what: str) -> dict[str, Tensor]:
    if isinstance(values, Tensor):
        if len(space.fields) > 1:
            raise ValueError(f"{what} must map each of {list(space.fields)} to a tensor; got one tensor")
        return {next(iter(space.fields)): values}
    if set(values) != set(space.fields):
        raise ValueError(f"{what} must have the fields {list(space.fields)}; got {list(values)}")
    return {name: values[name] for name in space.fields}


def _check_range(name: str, f: Field, value: Tensor) -> None:
    if not isinstance(f, Continuous):
        if not (int(value.min()) >= 0 and int(value.max()) < f.k):
            raise ValueError(f"{name} must lie in 0 .. {f.k - 1}; got {int(value.min())} .. {int(value.max())}")
        return
    bad = int((~value.isfinite()).sum())
    if bad:
        raise ValueError(f"{name} has {bad} values that are NaN or infinite; say what is unknown with a mask")
    low, high = float(value.min()), float(value.max())
    if f.levels is None:
        if low < f.low or high > f.high:
            raise ValueError(f"{name} must lie in [{f.low:g}, {f.high:g}]; got {low:g} .. {high:g}")
        return
    off = (f.value(f.index(value)) - value).abs()
    worst = int(off.argmax())
    if not float(off.max()) <= 1e-3 * f.spacing:
        raise ValueError(
            f"{name} must lie on its {choices(f)} levels in [{f.low:g}, {f.high:g}];"
            f" got {float(value.flatten()[worst]):g}"
        )
