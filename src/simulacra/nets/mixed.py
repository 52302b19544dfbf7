"""Examples of mixed fields as real coordinates and categories side by side: what families in closed form work on.

Real values are taken onto the whole line by a chart of their range (``nets.dequantise``); their density is exact. A
value on levels stands for its cell: it is given by the cell's middle, with the variance of a place in it (``cells``),
and densities become lower bounds of the levels' own probability. Arithmetic is in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data, Values, rows
from simulacra.core.indices import choices
from simulacra.core.likelihood import Kind
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.nets.dequantise import Chart, Standardised, by_range
from simulacra.nets.embeddings import pick


@dataclass(frozen=True)
class Parts:
    """b examples. What is not seen is zero.

    u         (b, d) float64, and which of it is seen, bool; log_det (b, d): what each value's density is multiplied by.
    index     (b, m) int64 categories, and which of them are seen, bool.
    """

    u: Tensor
    seen: Tensor
    log_det: Tensor
    index: Tensor
    marked: Tensor

    def __len__(self) -> int:
        return len(self.u)

    def rows(self, at: Tensor | slice) -> Parts:
        """Some of the examples."""
        return Parts(self.u[at], self.seen[at], self.log_det[at], self.index[at], self.marked[at])


def none_of_them(f: Continuous) -> bool:
    """No field on levels is taken as categories."""
    return False


def all_of_them(f: Continuous) -> bool:
    """Every field on levels is taken as categories."""
    return True


class Mixed:
    """A space of fields of fixed extent as ``Parts``, and back.

    d, k    number of real coordinates; number of categories of each categorical element.
    cells   (d,) float64: variance of a place within a level's cell, 0 where values are real.
    kind    of the likelihoods that come of it: "bound" where values lie on levels, else "exact".

    chart    of a real field without levels; those with levels are standardised, so that cells keep their shape.
    counted  which fields on levels are taken as categories, in their order, instead.
    Raises ValueError, naming its ``user``, for fields that vary in length and for a y that is a space.
    """

    def __init__(
        self,
        space: Space,
        user: str,
        chart: Callable[[Continuous], Chart] = by_range,
        counted: Callable[[Continuous], bool] = none_of_them,
    ) -> None:
        if isinstance(space.y, Space):
            raise ValueError(f"{user} is conditional on classes only; expected a space whose y is Classes or None")
        if varying := [name for name, f in space.fields.items() if f.varying]:
            raise ValueError(f"{user} needs fields of fixed extent; {varying[0]!r} varies, cut it to one extent")
        self.space, self.classes = space, space.y if isinstance(space.y, Classes) else None
        self.charts: dict[str, Chart] = {}
        self.k: list[int] = []
        cells: list[Tensor] = []
        self.symbols = {n for n, f in space.fields.items() if isinstance(f, Categorical) or (f.levels and counted(f))}
        for name, f in space.fields.items():
            size = math.prod(f.shape)
            if name in self.symbols or isinstance(f, Categorical):
                self.k += [choices(f)] * size
                continue
            single = replace(f, shape=(), varying=False)
            self.charts[name] = chart(single) if f.levels is None else Standardised(single)
            cell = 0.0 if f.levels is None else f.spacing / f.scale
            cells.append(torch.full((size,), cell**2 / 12, dtype=torch.float64))
        self.cells = torch.cat(cells) if cells else torch.zeros(0, dtype=torch.float64)
        self.d = len(self.cells)
        self.kind: Kind = "bound" if bool(self.cells.any()) else "exact"

    def inward(self, x: Values, known: Values | None = None, like: Tensor | None = None) -> Parts:
        """Examples as parts, on the device of ``like`` where it is given; what is unknown may hold anything."""
        n = rows(x)
        device = (x if isinstance(x, Tensor) else next(iter(x.values()))).device if like is None else like.device
        us: list[Tensor] = []
        dets: list[Tensor] = []
        seens: list[Tensor] = []
        indices: list[Tensor] = []
        marks: list[Tensor] = []
        for name, f in self.space.fields.items():
            value, mask = pick(x, name).to(device).reshape(n, -1), pick(known, name)
            mask = torch.ones_like(value, dtype=torch.bool) if mask is None else mask.to(device).reshape(n, -1)
            if name in self.symbols or isinstance(f, Categorical):
                number = f.index(value.nan_to_num(f.low)) if isinstance(f, Continuous) else value
                indices.append(torch.where(mask, number.long(), 0))
                marks.append(mask)
                continue
            value = torch.where(mask, value.double(), f.centre if f.low <= f.centre <= f.high else f.low)
            u, log_det = self.charts[name].inward(value.flatten())
            if f.levels is not None:  # of a cell, in units of its own
                log_det = torch.full_like(u, math.log(f.spacing / f.scale))
            us.append(torch.where(mask, u.reshape(n, -1), 0.0))
            dets.append(torch.where(mask, log_det.reshape(n, -1), 0.0))
            seens.append(mask)
        none = torch.zeros(n, 0, device=device)
        return Parts(
            u=_joined(us, none.double()),
            seen=_joined(seens, none.bool()),
            log_det=_joined(dets, none.double()),
            index=_joined(indices, none.long()),
            marked=_joined(marks, none.bool()),
        )

    def outward(self, u: Tensor, index: Tensor) -> Values:
        """Coordinates (b, d) and categories (b, m) as examples: on their levels, inside their range."""
        found: dict[str, Tensor] = {}
        real = symbol = 0
        for name, f in self.space.fields.items():
            size = math.prod(f.shape)
            if name in self.symbols or isinstance(f, Categorical):
                number = index[:, symbol : symbol + size].reshape(-1, *f.shape)
                found[name] = f.value(number.to(torch.get_default_dtype())) if isinstance(f, Continuous) else number
                symbol += size
                continue
            value = self.charts[name].outward(u[:, real : real + size]).reshape(-1, *f.shape)
            real += size
            value = f.value(f.index(value)) if f.levels is not None else value
            found[name] = value.to(torch.get_default_dtype()).clamp(f.low, f.high)
        return found if len(found) > 1 else next(iter(found.values()))

    def completed(self, x: Values, known: Values, u: Tensor, index: Tensor) -> Values:
        """The examples with what is unknown taken from coordinates and categories, what is known as it was."""
        drawn = self.outward(u, index)
        found: dict[str, Tensor] = {}
        for name in self.space.fields:
            value = pick(x, name)
            found[name] = torch.where(pick(known, name), value, pick(drawn, name).to(value))
        return found if len(found) > 1 else next(iter(found.values()))


def everything(data: Data, most: int, rng: Rng) -> Batch:
    """All examples of data as one batch; of more than ``most``, so many chosen at random."""
    chosen = torch.arange(len(data)) if len(data) <= most else rng("chosen").permutation(len(data))[:most]
    return data.batch(chosen, rng("data"))


def labels_of(batch: Batch, classes: Classes | None) -> Tensor | None:
    """Labels int64 (b,) of a batch, None for a space without classes; ValueError where they are missing."""
    if classes is None:
        return None
    if not isinstance(batch.y, Tensor):
        raise ValueError(f"this model expects labels of {len(classes)} classes; the data has none")
    return batch.y


def labelled(parts: Parts, classes: Classes | None, y: Tensor | None) -> Parts:
    """Parts with the label int64 (b,) as their last category, unseen where y is None; as they are without classes."""
    if classes is None:
        return parts
    one = torch.zeros(len(parts), 1, dtype=torch.int64, device=parts.u.device)
    label = one if y is None else y.to(one.device)[:, None]
    marked = torch.cat([parts.marked, torch.full_like(one, y is not None, dtype=torch.bool)], 1)
    return replace(parts, index=torch.cat([parts.index, label], 1), marked=marked)


def _joined(parts: list[Tensor], none: Tensor) -> Tensor:
    return torch.cat(parts, 1) if parts else none
