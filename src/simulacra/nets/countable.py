"""Examples as one row of values that can be counted: level indices and categories, and which of them are there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.indices import choices, from_indices, to_indices
from simulacra.core.space import Continuous, Space
from simulacra.nets.embeddings import pick, within

MOST = 256  # levels of a continuous field that are taken as categories


class Countable:
    """A space of categories and levels as int64 (b, n), fields one after another.

    k      how many values each of the n elements can take.
    grid   (channels, height, width) of a picture, else None.
    apart  whether elements are of several fields, which have nothing in common.
    gaps   whether an example may lack some of them, by its length or because they were not observed.
    """

    def __init__(self, space: Space, user: str) -> None:
        for name, f in space.fields.items():
            if isinstance(f, Continuous) and (f.levels is None or f.levels > MOST):
                raise ValueError(
                    f"{user} needs categories, or numbers of at most {MOST} levels; {name!r} has"
                    f" {f.levels or 'none: it is real'}, use diffusion or flow_matching"
                )
        self.space = space
        self.k = [choices(f) for f in space.fields.values() for _ in range(math.prod(f.shape))]
        self.grid = space.only.shape if space.layout == "grid" else None
        self.apart = len(space.fields) > 1
        self.longest = max((f.shape[0] for f in space.fields.values() if f.varying), default=0)
        self.gaps = bool(self.longest or space.missing)

    def index(self, x: Values, there: Tensor) -> Tensor:
        """Values as whole numbers, int64 (b, n); 0 where nothing is there. Off their levels, to the nearest one."""
        parts: list[Tensor] = []
        for name, f in self.space.fields.items():
            value = pick(x, name)
            number = f.index(value.nan_to_num(f.low)) if isinstance(f, Continuous) else value
            parts.append(number.reshape(len(value), -1).to(torch.int64))
        return torch.where(there, torch.cat(parts, dim=1), 0)

    def checked(self, x: Values, there: Tensor) -> Tensor:
        """The same; ValueError for values that are there and not of the space."""
        found = self.index(x, there)
        filled = from_indices(self.space, found)
        flags = self.unflattened(there)
        real = {n: torch.where(pick(flags, n), pick(x, n), pick(filled, n).to(pick(x, n))) for n in self.space.fields}
        return to_indices(self.space, real if len(real) > 1 else next(iter(real.values())))

    def there(self, x: Values, known: Values | None, length: Tensor | None) -> Tensor:
        """What is within its example's length and, of fields that may be missing, observed: bool (b, n)."""
        parts: list[Tensor] = []
        for name, f in self.space.fields.items():
            value, seen = pick(x, name), pick(known, name)
            inside = torch.ones(len(value), math.prod(f.shape), dtype=torch.bool, device=value.device)
            if f.varying:
                inside &= within(f, len(value), length, value.device).repeat_interleave(math.prod(f.shape[1:]), 1)
            if name in self.space.missing and seen is not None:
                inside &= seen.reshape(len(value), -1)
            parts.append(inside)
        return torch.cat(parts, dim=1)

    def flags(self, known: Values) -> Tensor:
        """A mask like x as bool (b, n)."""
        parts = [pick(known, name) for name in self.space.fields]
        return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)

    def unflattened(self, values: Tensor) -> Values:
        """(b, n) of any type as x is laid out."""
        found: dict[str, Tensor] = {}
        first = 0
        for name, f in self.space.fields.items():
            last = first + math.prod(f.shape)
            found[name] = values[:, first:last].reshape(len(values), *f.shape)
            first = last
        return found if len(found) > 1 else next(iter(found.values()))

    def outward(self, index: Tensor, there: Tensor) -> Values:
        """Whole numbers (b, n) as examples, zero where nothing is there."""
        values, flags = from_indices(self.space, index), self.unflattened(there)
        if isinstance(values, Tensor):
            return values * pick(flags, "")
        return {name: t * pick(flags, name) for name, t in values.items()}
