"""A walk over pictures in raster order: a network along the raster, and an output's elements in each cell."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.core.space import Continuous
from simulacra.nets.causal_network import Steps
from simulacra.nets.cell_outputs import OutputSteps
from simulacra.nets.cells import Cells


class RasterWalk:
    """A pass over the elements of n pictures, cell by cell (``core.capabilities.Walk``)."""

    def __init__(self, cells: Cells, steps: Steps, output: OutputSteps, n: int) -> None:
        self.order, self.cells, self.steps, self.output = cells.order, cells, steps, output
        device = cells.numbers.device
        self.index = torch.zeros(*cells.size, cells.elements, n, dtype=torch.int64, device=device)
        self.t, self.now = 0, None
        self.elements, self.wide = cells.elements, cells.size[1]

    def log_probs(self) -> Tensor:
        """Nats (n, k) of the next element's values; ValueError once all are decided."""
        if self.now is None:
            cell, element = divmod(self.t, self.elements)
            if self.t >= len(self.order):
                raise ValueError(f"all {self.t} elements are decided; begin another walk")
            if element == 0:
                self.output.start(self.steps.features(*divmod(cell, self.wide)))
            self.now = self.output.log_probs()
        return self.now

    def take(self, value: Tensor) -> None:
        """Decides the next element, int64 (n,)."""
        if self.now is None:
            self.log_probs()
        cell, element = divmod(self.t, self.elements)
        i, j = divmod(cell, self.wide)
        decided = self.index[i, j]
        decided[element] = value
        self.output.take(value)
        if element == self.elements - 1:
            self.steps.put(i, j, self.cells.cell_input(decided.T))
        self.t, self.now = self.t + 1, None

    def pictures(self) -> Tensor:
        """What was decided, as values of the space (n, c, height, width)."""
        f = self.cells.field
        index = torch.empty(self.index.shape[-1], len(self.order), dtype=torch.int64, device=self.index.device)
        index[:, self.order.to(index.device)] = self.index.flatten(0, 2).T
        index = index.view(-1, *f.shape)
        return f.value(index.to(self.cells.numbers.dtype)) if isinstance(f, Continuous) else index


def chosen_of_each(found: Tensor, chosen: Tensor) -> Tensor:
    """Of draws (draws, b, *event) the chosen one of each row, (b,) -> (b, *event)."""
    return found[chosen, torch.arange(len(chosen), device=chosen.device)]


def last(known: Tensor) -> bool:
    """Whether all that is unknown comes after all that is known, in every row of (b, size)."""
    return not bool((known[:, 1:] & ~known[:, :-1]).any())
