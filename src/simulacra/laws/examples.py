"""Examples drawn from a space, whether examples lie in it, and whether two lots of them are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored, Values
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Field, Space
from simulacra.laws.law import Broken, rounding

# share of rounded values (levels, categories) that may differ where a sum taken in another order meets a boundary
FLIPPED = 0.002


def drawn(space: Space, n: int, rng: Rng) -> Stored:
    """n examples with nothing to learn in them: every field on its own, every value as likely as the next.

    Fields without bounds are N(centre, scale^2); what may be missing is missing with probability 0.3; lengths are
    uniform from 1 to the longest, and entries beyond them are zero.
    """
    values, length = _values(space, n, rng("x"))
    known = None
    if space.missing:
        known = {
            name: rng("known", name).bernoulli(torch.full((n, *f.shape), 0.7 if name in space.missing else 1.0))
            for name, f in space.fields.items()
        }
    y, y_length = None, None
    if isinstance(space.y, Classes):
        y = rng("y").integers(len(space.y), (n,))
    elif space.y is not None:
        y, y_length = _values(space.y, n, rng("y"))
    return Stored(
        space=space,
        x=values,
        y=y,
        known=known if known is None or len(known) > 1 else next(iter(known.values())),
        length=length,
        y_length=y_length,
        name="drawn at random",
    )


def named(space: Space, values: Values) -> Mapping[str, Tensor]:
    """Values by the names of their fields, also where there is but one."""
    return values if isinstance(values, Mapping) else {next(iter(space.fields)): values}


def like(values: Values, changed: Mapping[str, Tensor]) -> Values:
    """Changed values in the form these have: a mapping, or the tensor itself."""
    return dict(changed) if isinstance(values, Mapping) else next(iter(changed.values()))


def inside(f: Field, length: Tensor | None, n: int) -> Tensor:
    """True where an entry of a field lies within its example's length, bool (n, *shape)."""
    whole = torch.ones(n, *f.shape, dtype=torch.bool)
    if not f.varying or length is None:
        return whole
    reach = torch.arange(f.shape[0]) < length.cpu()[:, None]
    return whole & reach.reshape(n, f.shape[0], *[1] * (len(f.shape) - 1))


def check_inside(batch: Batch, space: Space, n: int, *, rounded: bool = True, y: bool = True) -> None:
    """Raise ``Broken`` where a batch is not n examples of a space.

    rounded  whether values must lie on the levels of a field that has them; means of a distribution need not.
    y        whether labels are expected where the space has classes.
    """
    x = named(space, batch.x)
    if set(x) != set(space.fields):
        raise Broken(f"x has the fields {sorted(x)}; the space has {sorted(space.fields)}")
    if any(f.varying for f in space.fields.values()):
        longest = max(f.shape[0] for f in space.fields.values() if f.varying)
        _check_whole("length", batch.length, n, longest + 1)
    elif batch.length is not None:
        raise Broken("there are lengths though nothing in this space varies in length")
    for name, f in space.fields.items():
        if not isinstance(x[name], Tensor) or x[name].shape != (n, *f.shape):
            raise Broken(f"{name} has shape {_shape(x[name])}; expected {(n, *f.shape)}")
        values, present = x[name].detach().cpu(), inside(f, batch.length, n)
        if values[~present].any():
            raise Broken(f"{name} is not zero beyond the length of its example")
        _check_values(name, values[present], f, rounded)
    if y and isinstance(space.y, Classes):
        _check_whole("y", batch.y, n, len(space.y))
    if space.y is None and batch.y is not None:
        raise Broken("there are labels though the space has none")


def check_same(a: Values, b: Values, space: Space, what: str) -> None:
    """Raise ``Broken`` where values are not the same, but for rounding."""
    first, second = named(space, a), named(space, b)
    for name in space.fields:
        if first[name].shape != second[name].shape:
            raise Broken(f"{what}: {name} has shape {_shape(first[name])} here and {_shape(second[name])} there")
        far = apart(first[name], second[name])
        share = float((far > rounding(first[name].dtype)).double().mean()) if far.numel() else 0.0
        f = space.fields[name]
        discrete = isinstance(f, Categorical) or f.levels is not None
        if share > (FLIPPED if discrete else 0.0):
            raise Broken(f"{what}: {share:.1%} of {name} differ, by up to {float(far.max()):.2g} of its size")


def check_close(a: Tensor, b: Tensor, what: str) -> float:
    """Largest difference of two tensors relative to their size; raises ``Broken`` where it is more than rounding."""
    if a.shape != b.shape:
        raise Broken(f"{what}: shape {_shape(a)} here and {_shape(b)} there")
    far = float(apart(a, b).max()) if a.numel() else 0.0
    if not far <= rounding(a.dtype):
        raise Broken(f"{what}: they differ by {far:.2g} of their size")
    return far


def apart(a: Tensor, b: Tensor) -> Tensor:
    """|a - b| relative to 1 + the largest |a|, elementwise; infinite where one is not finite and they differ."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    if not a.numel():
        return a
    size = 1 + float(a[a.isfinite()].abs().max()) if a.isfinite().any() else 1.0
    return torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, ((a - b).abs() / size).nan_to_num(math.inf, math.inf))


def _values(space: Space, n: int, rng: Rng) -> tuple[Values, Tensor | None]:
    longest = max((f.shape[0] for f in space.fields.values() if f.varying), default=0)
    length = rng("length").integers(longest, (n,)) + 1 if longest else None
    x = {name: _field(f, n, rng(name)) * inside(f, length, n) for name, f in space.fields.items()}
    return (x if len(x) > 1 else next(iter(x.values()))), length


def _field(f: Field, n: int, rng: Rng) -> Tensor:
    shape = (n, *f.shape)
    if isinstance(f, Categorical):
        return rng.integers(f.k, shape)
    if f.levels is not None:
        return f.value(rng.integers(f.levels, shape).to(torch.get_default_dtype()))
    if math.isinf(f.low) or math.isinf(f.high):
        return (f.centre + f.scale * rng.normal(shape)).clamp(f.low, f.high)
    return f.low + (f.high - f.low) * rng.uniform(shape)


def _check_values(name: str, x: Tensor, f: Field, rounded: bool) -> None:
    if isinstance(f, Categorical):
        _check_whole(name, x, None, f.k)
        return
    if not x.is_floating_point():
        raise Broken(f"{name} is {x.dtype}; a continuous field holds floats")
    if not x.isfinite().all():
        raise Broken(f"{name} has {int((~x.isfinite()).sum())} values that are not finite")
    if not x.numel():
        return
    slack = rounding(x.dtype) * max(1.0, abs(f.low), abs(f.high)) if math.isfinite(f.high - f.low) else 0.0
    if float(x.min()) < f.low - slack or float(x.max()) > f.high + slack:
        raise Broken(f"{name} lies in [{float(x.min()):.4g}, {float(x.max()):.4g}]; expected [{f.low:g}, {f.high:g}]")
    if rounded and f.levels is not None:
        off = float((x - f.value(f.index(x))).abs().max())
        if off > 1e-3 * f.spacing + slack:
            raise Broken(f"{name} is up to {off:.2g} away from its {f.levels} levels, which are {f.spacing:.2g} apart")


def _check_whole(name: str, x: Any, n: int | None, below: int) -> None:
    if not isinstance(x, Tensor) or (n is not None and x.shape != (n,)):
        raise Broken(f"{name} has shape {_shape(x)}; expected ({n},)")
    if x.dtype != torch.int64:
        raise Broken(f"{name} is {x.dtype}; expected int64")
    if x.numel() and not (int(x.min()) >= 0 and int(x.max()) < below):
        raise Broken(f"{name} lies in {int(x.min())} .. {int(x.max())}; expected 0 .. {below - 1}")


def _shape(x: Any) -> Any:
    return tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
