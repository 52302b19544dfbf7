"""Distributions of a cell's elements given the features of what comes before it, each element given those before.

An output is a function (cells, width) -> module; ``natural`` chooses by the number of values. The module scores whole
pictures, ``log_prob(features, index)``, and along the raster: ``steps()`` gives an ``OutputSteps``, told the features
of a cell by ``start``, which says ``log_probs()`` of the next element and is told by ``take`` what it became.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.mathematics.distributions import DiscretisedLogistics, soft_floor
from simulacra.nets.cells import Cells
from simulacra.nets.heads import NARROWEST
from simulacra.nets.initialise import fan_in_uniform
from simulacra.nets.masked import Point, pointwise, whole

MOST_TOGETHER = 4096  # values of a whole cell under one softmax; beyond it the last layer outweighs the network


@runtime_checkable
class OutputSteps(Protocol):
    """The elements of a cell one after another, for n cells at once."""

    def start(self, features: Tensor) -> None:
        """Begin a cell whose features are (n, width)."""
        ...

    def log_probs(self) -> Tensor:
        """Nats (n, k) of the next element's values, normalised."""
        ...

    def take(self, value: Tensor) -> None:
        """Decides the next element, int64 (n,)."""
        ...


class CellOutput(nn.Module, ABC):
    """Features of cells -> distributions of their elements."""

    @abstractmethod
    def log_prob(self, features: Float[Tensor, "b d h w"], index: Int[Tensor, "b m h w"]) -> Float[Tensor, "b h w"]:
        """log p of each cell, nats."""

    @abstractmethod
    def steps(self) -> OutputSteps:
        """Along the raster."""


Output = Callable[[Cells, int], CellOutput]


def natural(cells: Cells, width: int) -> CellOutput:
    """A softmax over up to 64 values an element, a mixture of discretised logistics over more levels."""
    many = cells.k > 64 and hasattr(cells.field, "levels")
    return Logistics()(cells, width) if many else Levels()(cells, width)


# -- a softmax over each element's values -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Levels:
    """A softmax over the values of each element, the elements before it in the cell entering a hidden layer.

    hidden  size of that layer, for each element.
    """

    hidden: int = 128

    def __call__(self, cells: Cells, width: int) -> CellOutput:
        return LevelsOutput(cells, width, self.hidden)


class Before(nn.Module):
    """From codes of a cell's elements (..., m e) to the hidden layers (..., m hidden) of the elements after each."""

    mask: Tensor

    def __init__(self, elements: int, codes: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(elements * hidden, elements * codes))
        earlier = torch.ones(elements, elements).tril(-1)
        mask = earlier.repeat_interleave(hidden, 0).repeat_interleave(codes, 1)
        self.register_buffer("mask", mask, persistent=False)

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Weights by their fan in."""
        self.weight.copy_(fan_in_uniform(self.weight, rng("weight")))

    def forward(self, codes: Tensor) -> Tensor:
        return F.linear(codes, self.weight * self.mask)


class LevelsOutput(CellOutput):
    """See ``Levels``."""

    def __init__(self, cells: Cells, width: int, hidden: int) -> None:
        super().__init__()
        self.cells, self.hidden = cells, hidden
        m, k = cells.elements, cells.k
        self.into = Point(width, m * hidden)
        self.before = Before(m, cells.codes.shape[1], hidden) if m > 1 else None
        self.out = nn.Conv2d(m * hidden, m * k, 1, groups=m)

    def log_prob(self, features: Float[Tensor, "b d h w"], index: Int[Tensor, "b m h w"]) -> Float[Tensor, "b h w"]:
        """log p of each cell, nats."""
        h = self.into(F.elu(features))
        if self.before is not None:
            codes = self.cells.codes[index.permute(0, 2, 3, 1)].flatten(3)
            h = h + self.before(codes).permute(0, 3, 1, 2)
        logits = wide(self.out(F.elu(h))).unflatten(1, (self.cells.elements, self.cells.k))
        return -F.cross_entropy(logits.transpose(1, 2), index, reduction="none").sum(1)

    def steps(self) -> OutputSteps:
        """Along the raster."""
        return LevelsSteps(self)


class LevelsSteps:
    """See ``Levels``."""

    def __init__(self, output: LevelsOutput) -> None:
        cells, hidden = output.cells, output.hidden
        self.elements, self.codes, self.hidden = cells.elements, cells.codes, hidden
        self.into, self.bias = pointwise(output.into), whole(output.into.bias)
        out = whole(output.out.weight)[:, :, 0, 0].unflatten(0, (cells.elements, cells.k))
        self.out = list(out.transpose(1, 2).contiguous())
        self.out_bias = list(whole(output.out.bias).unflatten(0, (cells.elements, cells.k)))
        self.before = []
        if output.before is not None:
            weight = whole(output.before.weight) * output.before.mask
            self.before = list(weight.unflatten(1, (cells.elements, -1)).permute(1, 2, 0).contiguous())

    def start(self, features: Tensor) -> None:
        self.h = torch.addmm(self.bias, F.elu(features), self.into)
        self.next = 0

    def log_probs(self) -> Tensor:
        r = self.next
        h = self.h if self.elements == 1 else self.h[:, r * self.hidden : (r + 1) * self.hidden]
        return torch.log_softmax(torch.addmm(self.out_bias[r], F.elu(h), self.out[r]), dim=1)

    def take(self, value: Tensor) -> None:
        if self.next + 1 < self.elements:
            self.h = torch.addmm(self.h, self.codes[value], self.before[self.next])
        self.next += 1


# -- one softmax over the whole cell ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Together:
    """One softmax over all values of a cell: 16 for 2x2 binary pixels.

    hidden  size of the layer before it. ValueError where a cell takes more than 4096 values.
    """

    hidden: int = 256

    def __call__(self, cells: Cells, width: int) -> CellOutput:
        if cells.k**cells.elements > MOST_TOGETHER:
            raise ValueError(
                f"one softmax over {cells.elements} elements of {cells.k} values has {cells.k**cells.elements:,}"
                f" outcomes; expected at most {MOST_TOGETHER:,}: take a smaller block, or Levels"
            )
        return TogetherOutput(cells, width, self.hidden)


class TogetherOutput(CellOutput):
    """See ``Together``."""

    def __init__(self, cells: Cells, width: int, hidden: int) -> None:
        super().__init__()
        self.cells = cells
        self.into = Point(width, hidden)
        self.out = Point(hidden, cells.k**cells.elements)

    def log_prob(self, features: Float[Tensor, "b d h w"], index: Int[Tensor, "b m h w"]) -> Float[Tensor, "b h w"]:
        """log p of each cell, nats."""
        logits = wide(self.out(F.elu(self.into(F.elu(features)))))
        joint = index[:, 0]
        for element in index.unbind(1)[1:]:  # the first element counts most
            joint = joint * self.cells.k + element
        return -F.cross_entropy(logits, joint, reduction="none")

    def steps(self) -> OutputSteps:
        """Along the raster."""
        return TogetherSteps(self)


class TogetherSteps:
    """See ``Together``."""

    def __init__(self, output: TogetherOutput) -> None:
        self.k = output.cells.k
        self.layers = [(pointwise(p), whole(p.bias)) for p in (output.into, output.out)]

    def start(self, features: Tensor) -> None:
        for weight, bias in self.layers:
            features = torch.addmm(bias, F.elu(features), weight)
        self.table = torch.log_softmax(features, dim=1)

    def log_probs(self) -> Tensor:
        # the elements after the next one are summed out
        return torch.log_softmax(self.table.unflatten(1, (self.k, -1)).logsumexp(2), dim=1)

    def take(self, value: Tensor) -> None:
        table = self.table.unflatten(1, (self.k, -1))
        self.table = table[torch.arange(len(value), device=value.device), value]


# -- discretised logistics --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Logistics:
    """A mixture of logistics over a cell's elements, discretised to their levels (Salimans et al. 2017, eq. 2 and 3).

    The elements of a cell share the mixture's component; a component's mean of an element is moved by the values before
    it in the cell, times coefficients that the network puts out.
    """

    components: int = 10

    def __call__(self, cells: Cells, width: int) -> CellOutput:
        if self.components < 1:
            raise ValueError(f"components must be at least 1; got {self.components}")
        return LogisticsOutput(cells, width, self.components)


class LogisticsOutput(CellOutput):
    """See ``Logistics``. In standard units of the field: (value - centre) / scale."""

    def __init__(self, cells: Cells, width: int, components: int) -> None:
        super().__init__()
        f, m = cells.ordered, cells.elements
        self.cells, self.components = cells, components
        self.pairs = m * (m - 1) // 2
        self.ends = ((f.low - f.centre) / f.scale, (f.high - f.centre) / f.scale)
        self.out = Point(width, components * (1 + 2 * m + self.pairs))
        # components that start in the same place stay there
        self.spread = [0.0] if components == 1 else torch.linspace(-1, 1, components).tolist()

    def log_prob(self, features: Float[Tensor, "b d h w"], index: Int[Tensor, "b m h w"]) -> Float[Tensor, "b h w"]:
        """log p of each cell, nats."""
        p = self.parameters_of(wide(self.out(F.elu(features))).movedim(1, -1))
        values = self.cells.numbers[index.movedim(1, -1)][..., 0].to(p.logits.dtype)
        score = p.logits
        for r in range(self.cells.elements):
            score = score + self.mass(p, r, values[..., :r], values[..., r, None])
        return score.logsumexp(-1)

    def parameters_of(self, raw: Tensor) -> Parameters:
        """raw (..., outputs)."""
        m = self.cells.elements
        raw = raw.unflatten(-1, (1 + 2 * m + self.pairs, self.components))
        logits, centre, scale, coefficient = raw.split([1, m, m, self.pairs], dim=-2)
        centre = centre + torch.tensor(self.spread, dtype=raw.dtype, device=raw.device)
        return Parameters(
            logits[..., 0, :].log_softmax(-1), centre, soft_floor(scale, NARROWEST), torch.tanh(coefficient)
        )

    def mass(self, p: Parameters, r: int, before: Tensor, value: Tensor) -> Tensor:
        """log p of element r in each component, (..., components); before (..., r), value broadcasts to the result."""
        centre, log_scale = self.component(p, r, before)
        alone = torch.zeros_like(centre)[..., None]
        return DiscretisedLogistics(alone, centre[..., None], log_scale[..., None], *self.ends, self.cells.k).log_prob(
            value
        )

    def masses(self, p: Parameters, r: int, before: Tensor) -> Tensor:
        """The same of all levels, (..., levels, components)."""
        centre, log_scale = self.component(p, r, before)
        return DiscretisedLogistics(
            torch.zeros_like(centre), centre, log_scale, *self.ends, self.cells.k
        ).each_log_probs()

    def component(self, p: Parameters, r: int, before: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and log scale of element r in each component, (..., components)."""
        first = r * (r - 1) // 2
        moved = (p.coefficient[..., first : first + r, :] * before[..., None]).sum(-2)
        return p.centre[..., r, :] + moved, p.log_scale[..., r, :]

    def steps(self) -> OutputSteps:
        """Along the raster."""
        return LogisticsSteps(self)


@dataclass(frozen=True)
class Parameters:
    """Of mixtures of c components over m elements: logits (..., c), centre and log_scale (..., m, c), and coefficients
    (..., m (m - 1) / 2, c): of element 1 on 0, 2 on 0, 2 on 1, 3 on 0 ...
    """

    logits: Tensor
    centre: Tensor
    log_scale: Tensor
    coefficient: Tensor


class LogisticsSteps:
    """See ``Logistics``."""

    def __init__(self, output: LogisticsOutput) -> None:
        self.output, self.numbers = output, output.cells.numbers[:, 0]
        self.weight, self.bias = pointwise(output.out), whole(output.out.bias)

    def start(self, features: Tensor) -> None:
        raw = torch.addmm(self.bias, F.elu(features), self.weight)
        self.parameters = self.output.parameters_of(raw)
        self.score = self.parameters.logits  # (n, c): log p of the component and of the elements so far
        self.before = raw.new_zeros(len(raw), 0)
        self.found: Tensor | None = None

    def log_probs(self) -> Tensor:
        masses = self.output.masses(self.parameters, self.before.shape[1], self.before)
        self.found = self.score[:, None] + masses  # (n, k, c)
        return torch.log_softmax(self.found.logsumexp(-1), dim=1)

    def take(self, value: Tensor) -> None:
        if self.found is None:
            self.log_probs()
        assert self.found is not None
        each = torch.arange(len(value), device=value.device)
        self.score = self.found[each, value]
        self.before = torch.cat([self.before, self.numbers[value].to(self.before.dtype)[:, None]], dim=1)
        self.found = None


def wide(raw: Tensor) -> Tensor:
    """Raw outputs in at least float32: under autocast they are bfloat16."""
    return raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
