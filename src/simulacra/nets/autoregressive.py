"""Autoregressive layers: each dimension is transformed given all those before it, by one masked network.

MADE (Germain et al. 2015) computes every dimension's parameters in one pass, its weights masked so that none sees
itself or a later one. That makes data -> noise one pass (MAF, Papamakarios et al. 2017), and noise -> data as many
steps as there are dimensions. Hidden units are sorted by the last dimension they see, so a step computes only the units
and outputs that have become known: all steps together are the work of one pass, where naively each would be one.
``Inverted(transform=Autoregressive(...))`` is the inverse autoregressive flow of Kingma et al. 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from simulacra.nets.activations import relu_in_place
from simulacra.nets.transforms import QUIET, Activation, Affine, Bijection, Univariate, Upright, dense

LARGE, PARTS = 1 << 16, 4  # weights from which on a masked matrix is multiplied in parts, and how many


@dataclass(frozen=True, kw_only=True)
class Autoregressive:
    """An autoregressive layer, in the order of the dimensions.

    univariate  what happens to each dimension given those before it.
    hidden      widths of the masked network's hidden layers; with one less than the number of dimensions or more,
                there is a unit for every dimension.
    """

    univariate: Univariate = field(default_factory=Affine)
    hidden: tuple[int, ...] = (128, 128)
    activation: Activation = relu_in_place

    def build(self, dims: int, given: int) -> Bijection:
        return Autoregression(dims, given, self)


class Autoregression(Bijection):
    """z_i = f(x_i; network(x_1 .. x_i-1, given)): a triangular Jacobian."""

    def __init__(self, dims: int, given: int, settings: Autoregressive) -> None:
        super().__init__()
        self.univariate = settings.univariate
        per = settings.univariate.parameters
        # of one dimension there is nothing to mask: it depends on the context alone
        self.network = Alone(given, per, settings) if dims == 1 else Made(dims, given, per, settings)

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raw = self.network(x, given).to(x.dtype).view(len(x), -1, x.shape[1])
        z, log_slope = self.univariate.forward(x, raw)
        return z, log_slope.sum(0)

    def inverse(self, z: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        walk = Walk(self.network, z, given)
        found, slopes = zip(*(self._next(walk, z_i[None]) for z_i in z), strict=True)
        return torch.cat(found), torch.cat(slopes).sum(0)

    def _next(self, walk: Walk, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_slope = self.univariate.inverse(z, walk.raw().to(z.dtype)[None])
        walk.take(x)
        return x, log_slope


class MaskedUpright(Upright):
    """A linear layer features first whose output of degree i sees inputs of degree i and below, and no others.

    out, into  ascending degrees of its outputs and inputs.
    """

    mask: Tensor

    def __init__(self, into: list[int], out: list[int], quiet: float = 1.0) -> None:
        super().__init__(len(into), len(out), quiet=quiet)
        seen = torch.tensor(out)[:, None] >= torch.tensor(into)
        # as a float: a product with a bool is converted first, every time
        self.register_buffer("mask", seen.to(self.weight.dtype), persistent=False)
        # rows in a few parts, each with the columns it sees any of: of a large layer that leaves out a third
        step = math.ceil(len(out) / (PARTS if len(out) * len(into) >= LARGE else 1))
        parts = [slice(first, min(first + step, len(out))) for first in range(0, len(out), step)]
        self.parts = [(rows, sum(degree <= out[rows.stop - 1] for degree in into)) for rows in parts]

    def forward(self, input: Tensor) -> Tensor:
        if len(self.parts) == 1:
            return torch.addmm(self.bias[:, None], self.weight * self.mask, input)
        weight = self.weight * self.mask
        return torch.cat([torch.addmm(self.bias[r, None], weight[r, :n], input[:n]) for r, n in self.parts])

    def part(self, rows: slice, known: Tensor) -> Tensor:
        """Some outputs from the first inputs, which are all that these outputs see: no weight of these is masked."""
        return torch.addmm(self.bias[rows, None], self.weight[rows, : len(known)], known)


class Made(nn.Module):
    """The masked network, (dims, b) -> (dims * per, b). Dimension i, from 0, sees the units of degree i and below.

    A unit of degree i sees the first i dimensions; those of degree 0, which there are where something is given, see
    that alone.
    """

    def __init__(self, dims: int, given: int, per: int, settings: Autoregressive) -> None:
        super().__init__()
        lowest = 0 if given else 1
        units = [[lowest + i * (dims - lowest) // n for i in range(n)] for n in settings.hidden]
        degrees = [list(range(1, dims + 1)), *units]
        self.per, self.activation = per, settings.activation()
        self.layers = nn.ModuleList(MaskedUpright(into, out) for into, out in pairwise(degrees))
        self.last = MaskedUpright(degrees[-1], [i for i in range(dims) for _ in range(per)], QUIET)
        self.context = nn.Linear(given, settings.hidden[0], bias=False) if given else None
        # for each layer, how many of its units have degree i and below, after how many of a lower one
        self.blocks = [[slice(sum(d < i for d in us), sum(d <= i for d in us)) for i in range(dims)] for us in units]

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number == 0 and self.context is not None:
                x = torch.addmm(x, self.context.weight, given)  # type: ignore[arg-type]
            x = self.activation(x)
        return self.last(x)


class Alone(nn.Module):
    """What there is of a masked network in one dimension: a dense one of what is given."""

    def __init__(self, given: int, per: int, settings: Autoregressive) -> None:
        super().__init__()
        self.body = dense((given, *settings.hidden, per), settings.activation)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        return self.body(x if given is None else given)


class Walk:
    """A masked network's pass along the dimensions, which computes at each what has become known."""

    def __init__(self, network: Made | Alone, like: Tensor, given: Tensor | None) -> None:
        self.network, self.given = network, given
        self.x = like[:0]
        self.hidden: dict[int, Tensor] = {}

    def raw(self) -> Tensor:
        """The parameters (per, b) of the next dimension, given those that were taken."""
        made, below, i = self.network, self.x, len(self.x)
        if isinstance(made, Alone):
            return made(below, self.given)
        for number, (layer, blocks) in enumerate(zip(made.layers, made.blocks, strict=True)):
            below = self._layer(made, number, layer, blocks[i], below)  # type: ignore[arg-type]
        return made.last.part(slice(i * made.per, (i + 1) * made.per), below)

    def _layer(self, made: Made, number: int, layer: MaskedUpright, block: slice, below: Tensor) -> Tensor:
        """All of a layer's units that are known by now, this step's computed."""
        if block.stop > block.start:
            h = layer.part(block, below)
            if number == 0 and made.context is not None:
                h = torch.addmm(h, made.context.weight[block], self.given)  # type: ignore[arg-type]
            h = made.activation(h)
            self.hidden[number] = torch.cat([self.hidden[number], h]) if number in self.hidden else h
        return self.hidden[number] if number in self.hidden else self.x[:0]

    def take(self, x: Tensor) -> None:
        """The next dimension, (1, b)."""
        self.x = torch.cat([self.x, x])
