"""Convolutions over what comes before in raster order, for whole pictures and for one row or one pixel at a time.

Two kinds of them make a PixelCNN without a blind spot (van den Oord et al. 2016, section 2.2): ``Above`` looks at rows
above, ``Left`` at columns to the left in the same row. Instead of multiplying a square kernel by a mask, each has the
entries that it may look at and no others, so nothing is computed to be thrown away.

When a picture is drawn pixel by pixel the same layers work on caches: ``Rows`` keeps the last rows that an ``Above``
looks at and gives a whole new row at once, ``Taps`` keeps one row for a ``Left`` and costs one small matrix product
a pixel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.initialise import normal


class Causal(nn.Conv2d):
    """A convolution whose weights start as N(0, gain^2 / fan in) and whose bias starts at zero."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], gain: float, bias: bool) -> None:
        super().__init__(inputs, outputs, kernel, bias=bias)
        self.gain = gain

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Draw the weights."""
        self.weight.copy_(normal(self.gain * self.weight[0].numel() ** -0.5)(self.weight, rng("weight")))
        if self.bias is not None:
            self.bias.zero_()


class Point(Causal):
    """A convolution of one pixel with itself."""

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, bias: bool = True) -> None:
        super().__init__(inputs, outputs, (1, 1), gain, bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return F.conv2d(x, self.weight, self.bias)


class Above(Causal):
    """Row i sees rows i - rows + 1 .. i, within columns // 2 of its column; a strict one rows i - rows .. i - 1."""

    def __init__(
        self, inputs: int, outputs: int, *, rows: int, columns: int, strict: bool = False, gain: float = 1.0
    ) -> None:
        if columns % 2 == 0:
            raise ValueError(f"columns must be odd, so that a pixel lies in their middle; got {columns}")
        super().__init__(inputs, outputs, (rows, columns), gain, bias=True)
        self.strict, self.reach = strict, columns // 2

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        # what is padded before need not be cut off after, where there are more channels
        over = self.kernel_size[0] - 1
        x = F.pad(x[:, :, :-1] if self.strict else x, (0, 0, over + self.strict, 0))
        return F.conv2d(x, self.weight, self.bias, padding=(0, self.reach))


class Left(Causal):
    """Column j sees columns j - columns + 1 .. j of its row; a strict one sees columns j - columns .. j - 1."""

    def __init__(
        self, inputs: int, outputs: int, *, columns: int, strict: bool = False, gain: float = 1.0, bias: bool = False
    ) -> None:
        super().__init__(inputs, outputs, (1, columns), gain, bias)
        self.strict = strict

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        over = self.kernel_size[1] - 1
        x = F.pad(x[..., :-1] if self.strict else x, (over + self.strict, 0))
        return F.conv2d(x, self.weight, self.bias)


class Rows:
    """The rows that an ``Above`` looks at, for n pictures of so many columns."""

    def __init__(self, conv: Above, n: int, columns: int) -> None:
        weight = whole(conv.weight)
        self.matrix = weight.permute(0, 3, 2, 1).flatten(1)
        self.bias = None if conv.bias is None else whole(conv.bias)
        self.columns, self.reach, (inputs, rows) = columns, conv.reach, weight.shape[1:3]
        self.kept = weight.new_zeros(columns + 2 * conv.reach, n, rows, inputs)

    def put(self, row: Tensor) -> None:
        """Take a new row (columns, n, c) and drop the oldest."""
        within = self.kept[self.reach : self.reach + self.columns]
        for age in range(within.shape[2] - 1):
            within[:, :, age] = within[:, :, age + 1]
        within[:, :, -1] = row

    def look(self) -> Tensor:
        """What the convolution makes of the rows kept, (columns, n, d)."""
        kept = self.kept.flatten(2)
        seen = torch.cat([kept[c : c + self.columns] for c in range(2 * self.reach + 1)], dim=2)
        return F.linear(seen, self.matrix, self.bias)


class Taps:
    """One row of what a ``Left`` looks at, for n pictures; the row before it need not be wiped out.

    at[j]    (n, c), where column j's values are written.
    seen[j]  (n, columns c), what the output of column j is made of: times ``weight`` (columns c, d).
    """

    def __init__(self, conv: Left, n: int, columns: int) -> None:
        weight = whole(conv.weight)
        outputs, inputs, _, taps = weight.shape
        self.weight = weight[:, :, 0].permute(2, 1, 0).reshape(taps * inputs, outputs).contiguous()
        before = taps - 1 + conv.strict
        kept = weight.new_zeros(n, (before + columns) * inputs)
        self.at = [kept[:, (before + j) * inputs : (before + j + 1) * inputs] for j in range(columns)]
        self.seen = [kept[:, j * inputs : (j + taps) * inputs] for j in range(columns)]


def pointwise(conv: Causal) -> Tensor:
    """The matrix (c, d) that a ``Point`` multiplies rows of (n, c) by, detached."""
    return whole(conv.weight)[:, :, 0, 0].T.contiguous()


def whole(parameter: Any) -> Tensor:
    """A parameter's values without its gradient, gathered where it is split over processes (a DTensor)."""
    values = parameter.detach()
    return values.full_tensor() if hasattr(values, "full_tensor") else values
