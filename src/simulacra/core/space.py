"""What one example is: named fields with shapes, and what a condition y is.

A space is fitted by a modality, written into a run's ``recipe.json`` and read by everything that must
know the data without seeing it: an output head is derived from it (``nets.heads``), a likelihood takes
its measure from it, a sampler knows from it what to draw. It holds no tensors and imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Layout = Literal["grid", "sequence", "vector"]


@dataclass(frozen=True, kw_only=True)
class Categorical:
    """A field of category indices 0 .. k-1 (int64), with no order among them.

    shape    extents of the field; () is one scalar.
    varying  shape[0] is the largest length; ``Batch.length`` says how much of each example is there.
    names    the k categories in words, or None.
    sizes    how many elements of the space's measure each category stands for, or None for one each: the bytes of a
             token, so that likelihoods of texts compare whatever they were cut into; 1/88 for each key of a frame.
    """

    k: int
    shape: tuple[int, ...] = ()
    varying: bool = False
    names: tuple[str, ...] | None = None
    sizes: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"a categorical field needs at least one category; got k={self.k}")
        if self.names is not None and len(self.names) != self.k:
            raise ValueError(f"a categorical field needs one name a category; got {len(self.names)} for k={self.k}")
        if self.sizes is not None and (len(self.sizes) != self.k or min(self.sizes) < 0):
            raise ValueError(
                f"a categorical field needs one size a category, none negative; got {len(self.sizes)} for k={self.k}"
            )
        _check_shape(self.shape, self.varying)


@dataclass(frozen=True, kw_only=True)
class Continuous:
    """A field of real numbers (float) in [low, high], possibly on an evenly spaced grid of levels.

    low, high  closed range; -inf and inf where the field has no bounds (then levels must be None).
    levels     number of values the field can take, low and high included: 256 for 8-bit pixels,
               2 for binarised ones; None where it is truly continuous.
    centre, scale  typical location and spread, so that a network can work near zero mean and unit variance.
    shape, varying  as in ``Categorical``.
    """

    low: float
    high: float
    levels: int | None = None
    shape: tuple[int, ...] = ()
    varying: bool = False
    centre: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must lie below high; got {self.low} and {self.high}")
        if self.levels is not None and (self.levels < 2 or math.isinf(self.high - self.low)):
            raise ValueError(
                f"levels needs at least 2 values in a finite range; got {self.levels} in [{self.low}, {self.high}]"
            )
        if not self.scale > 0:
            raise ValueError(f"scale must be positive; got {self.scale}")
        _check_shape(self.shape, self.varying)

    @property
    def spacing(self) -> float:
        """Distance between neighbouring levels, in the field's own units."""
        if self.levels is None:
            raise ValueError("a field without levels has no spacing; give levels=")
        return (self.high - self.low) / (self.levels - 1)

    def value(self, index: Any) -> Any:
        """The values of level indices 0 .. levels-1; any array or tensor of floats."""
        return index * self.spacing + self.low

    def index(self, value: Any) -> Any:
        """The nearest level of each value, as whole floats 0 .. levels-1."""
        return ((value - self.low) / self.spacing).round().clip(0, (self.levels or 2) - 1)


Field = Categorical | Continuous


@dataclass(frozen=True, kw_only=True)
class Classes:
    """A condition y that is one of finitely many named classes; y is an int64 tensor (b,)."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("Classes needs at least one name; got none")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str | int) -> int:
        """The number of a class given by its name or its number; ValueError for one that does not exist."""
        if isinstance(name, str) and name in self.names:
            return self.names.index(name)
        if str(name).isdecimal() and int(name) < len(self.names):
            return int(name)
        shown = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
        raise ValueError(f"no class {name!r}; expected one of {shown}")


@dataclass(frozen=True, kw_only=True)
class Space:
    """What one example x is, and what its condition y is.

    fields   name -> field. With one field a batch's x is that field's tensor (b, *shape); with several
             it is a mapping name -> tensor.
    y        None, ``Classes``, or another ``Space``.
    measure  the decoded data that a likelihood belongs to, in words: "8-bit pixels", "bytes".
    missing  names of the fields whose values may be unobserved (``Batch.known``).
    """

    fields: Mapping[str, Field]
    y: Classes | Space | None = None
    measure: str = ""
    missing: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("a space needs at least one field; got none")
        unknown = set(self.missing) - set(self.fields)
        if unknown:
            raise ValueError(f"missing names no such field: {sorted(unknown)}; expected some of {list(self.fields)}")

    @property
    def only(self) -> Field:
        """The one field of a space that has one; ValueError otherwise."""
        if len(self.fields) != 1:
            raise ValueError(f"this needs a space of one field; got {list(self.fields)}")
        return next(iter(self.fields.values()))

    @property
    def layout(self) -> Layout:
        """How a network sees an example: "grid" (c, h, w), "sequence" (length, ...), or a flat "vector"."""
        if len(self.fields) == 1:
            if len(self.only.shape) == 3:
                return "grid"
            if self.only.varying or (len(self.only.shape) == 1 and isinstance(self.only, Categorical)):
                return "sequence"
        return "vector"

    @property
    def size(self) -> int:
        """Number of scalars in one example (the largest, where lengths vary)."""
        return sum(math.prod(f.shape) for f in self.fields.values())

    @property
    def classes(self) -> Classes:
        """The classes of y; ValueError where y is not a class."""
        if not isinstance(self.y, Classes):
            raise ValueError("this data has no classes; expected labels, e.g. pictures in one folder a class")
        return self.y

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``Space.from_json`` turns into an equal space."""
        return {
            "fields": {name: _field_to_json(f) for name, f in self.fields.items()},
            "y": None
            if self.y is None
            else {"classes": list(self.y.names)}
            if isinstance(self.y, Classes)
            else {"space": self.y.to_json()},
            "measure": self.measure,
            "missing": list(self.missing),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Space:
        """The space that ``to_json`` wrote; ValueError where the value is not one."""
        try:
            y = value["y"]
            return Space(
                fields={name: _field_from_json(f) for name, f in value["fields"].items()},
                y=None
                if y is None
                else Classes(names=tuple(y["classes"]))
                if "classes" in y
                else Space.from_json(y["space"]),
                measure=value["measure"],
                missing=tuple(value["missing"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a space: {error!r}; expected what Space.to_json writes") from error


def _check_shape(shape: tuple[int, ...], varying: bool) -> None:
    if any(n < 1 for n in shape):
        raise ValueError(f"every extent of a field must be at least 1; got shape {shape}")
    if varying and not shape:
        raise ValueError("a varying field needs a largest length; got shape ()")


def _field_to_json(f: Field) -> dict[str, Any]:
    common: dict[str, Any] = {"shape": list(f.shape), "varying": f.varying}
    if isinstance(f, Categorical):
        words = {"names": None if f.names is None else list(f.names)}
        # left out where there are none: what was written before there were sizes reads the same
        sizes = {} if f.sizes is None else {"sizes": list(f.sizes)}
        return {"kind": "categorical", "k": f.k, **words, **sizes, **common}
    # JSON has no infinity: null stands for "no bound"
    bounds = [None if math.isinf(f.low) else f.low, None if math.isinf(f.high) else f.high]
    return {
        "kind": "continuous",
        "low": bounds[0],
        "high": bounds[1],
        "levels": f.levels,
        "centre": f.centre,
        "scale": f.scale,
        **common,
    }


def _field_from_json(value: Mapping[str, Any]) -> Field:
    shape, varying = tuple(value["shape"]), bool(value["varying"])
    if value["kind"] == "categorical":
        names, sizes = value["names"], value.get("sizes")
        return Categorical(
            k=value["k"],
            names=None if names is None else tuple(names),
            sizes=None if sizes is None else tuple(sizes),
            shape=shape,
            varying=varying,
        )
    if value["kind"] == "continuous":
        return Continuous(
            low=-math.inf if value["low"] is None else value["low"],
            high=math.inf if value["high"] is None else value["high"],
            levels=value["levels"],
            centre=value["centre"],
            scale=value["scale"],
            shape=shape,
            varying=varying,
        )
    raise ValueError(f"no kind of field {value['kind']!r}; expected categorical or continuous")
