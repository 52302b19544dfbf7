"""Convolutional layers of an autoregressive network over a grid: gated (PixelCNN) and residual (PixelCNN++).

Every layer maps two stacks of features (b, width, h, w) to two of the same shape: the vertical stack v, which at
row i knows the rows above i, and the horizontal stack h, which also knows what lies to the left in row i. A layer may
look at v of its own row and at h of its own pixel and those before: neither has seen that pixel yet.

``cache(n, given)`` is the same layer for drawing: ``row(i, v)`` takes row i of the vertical stack, (w, n, width), and
gives its own; ``step(j, h)`` takes pixel j of the horizontal stack in that row, (n, width). Layers are settings first:
frozen dataclasses that build the module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.masked import Above, Left, Point, Rows, Taps, pointwise, whole

# tanh(a / 2) sigmoid(b) of a, b ~ N(0, 5^2 r^2) has an rms of r = 0.33: the signal does not fade with depth
GATED_GAIN = 5.0


@runtime_checkable
class LayerCache(Protocol):
    """A layer that works along the raster."""

    def row(self, i: int, v: Tensor) -> Tensor:
        """Row i of the vertical stack, (w, n, width) -> (w, n, width)."""
        ...

    def step(self, j: int, h: Tensor) -> Tensor:
        """Pixel j of the horizontal stack in the row begun last, (n, width) -> (n, width)."""
        ...


class CausalModule(nn.Module, ABC):
    """A layer of both stacks."""

    @abstractmethod
    def forward(self, v: Tensor, h: Tensor, given: Tensor | None, rng: Rng | None) -> tuple[Tensor, Tensor]:
        """v, h (b, width, h, w) -> the same shapes; given (b, given) conditions, rng of dropout."""

    @abstractmethod
    def cache(self, n: int, given: Tensor | None) -> LayerCache:
        """The layer along the raster, for n pictures."""


@runtime_checkable
class CausalLayer(Protocol):
    """Settings that build a layer for stacks of so many features, pictures of this size, conditions (given,)."""

    def build(self, width: int, size: tuple[int, int], given: int) -> CausalModule: ...


def check_kernel(kernel: int) -> None:
    """ValueError for an even extent."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel must be odd, the extent whose upper and left halves are seen; got {kernel}")


# -- gated ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Gated:
    """The layer of the Gated PixelCNN: tanh((W_f x + V_f y) / 2) * sigmoid(W_g x + V_g y) in each stack.

    van den Oord et al. 2016, eq. 2 and 4 and figure 2: the vertical stack feeds the horizontal one before the gates;
    the horizontal one alone is residual. kernel: odd extent n of the n x n neighbourhood whose upper half is seen.
    """

    kernel: int = 3

    def __post_init__(self) -> None:
        check_kernel(self.kernel)

    def build(self, width: int, size: tuple[int, int], given: int) -> CausalModule:
        return GatedLayer(width, size, given, self.kernel)


class GatedLayer(CausalModule):
    """See ``Gated``."""

    def __init__(self, width: int, size: tuple[int, int], given: int, kernel: int) -> None:
        super().__init__()
        self.size, half = size, kernel // 2 + 1
        self.above = Above(width, 2 * width, rows=half, columns=kernel, gain=GATED_GAIN)
        self.across = Point(2 * width, 2 * width)
        self.left = Left(width, 2 * width, columns=half)
        self.out = Point(width, width, bias=False)
        self.given = nn.ModuleList(nn.Linear(given, 2 * width, bias=False) for _ in range(2 if given else 0))

    def forward(self, v: Tensor, h: Tensor, given: Tensor | None, rng: Rng | None) -> tuple[Tensor, Tensor]:
        vertical = self.above(v)
        if given is not None:
            vertical = vertical + self.given[0](given)[:, :, None, None]
        horizontal = self.across(vertical) + self.left(h)
        if given is not None:
            horizontal = horizontal + self.given[1](given)[:, :, None, None]
        return gate(vertical), h + self.out(gate(horizontal))

    def cache(self, n: int, given: Tensor | None) -> LayerCache:
        return GatedCache(self, n, given)


class Gate(torch.autograd.Function):
    """tanh(a / 2) sigmoid(b) of the halves a, b of the channels (b, 2 c, h, w), the published gate but for weights.

    tanh(a / 2) = 2 sigmoid(a) - 1, so that one sigmoid passes over both halves as they lie in memory: channels last, a
    half alone is not contiguous, and forward and backward take twice as long over it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        ctx.save_for_backward(s)
        a, b = s.chunk(2, dim=1)
        return torch.addcmul(b.neg(), a, b, value=2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (s,) = ctx.saved_tensors
        a, b = s.chunk(2, dim=1)
        both = torch.empty_like(s)
        to_a, to_b = both.chunk(2, dim=1)
        torch.mul(grad, b, out=to_a).mul_(2)
        torch.addcmul(grad.neg(), grad, a, value=2, out=to_b)
        return both.mul_(s).mul_(1 - s)


def gate(x: Tensor) -> Tensor:
    """See ``Gate``."""
    return Gate.apply(x)  # type: ignore[return-value]


class GatedCache:
    """A gated layer along the raster."""

    def __init__(self, layer: GatedLayer, n: int, given: Tensor | None) -> None:
        self.across = Along(layer.across)
        self.rows, self.taps = Rows(layer.above, n, layer.size[1]), Taps(layer.left, n, layer.size[1])
        # tanh(a / 2) sigmoid(b) = tanh(a / 2) (1 + tanh(b / 2)) / 2; the factors of a half are put into the weights
        self.taps.weight /= 2
        self.out = pointwise(layer.out) / 2
        self.given = [] if given is None else [linear(given).detach() for linear in layer.given]
        self.before: list[Tensor] = []  # of each pixel of the row: what the vertical stack adds to it, (n, 2 width)

    def row(self, i: int, v: Tensor) -> Tensor:
        self.rows.put(v)
        vertical = self.rows.look()
        if self.given:
            vertical = vertical + self.given[0]
        across = self.across(vertical)
        across = across + self.given[1] if self.given else across
        self.before = list(across / 2)
        a, b = torch.tanh(vertical / 2).chunk(2, dim=2)
        return torch.addcmul(a, a, b) / 2

    def step(self, j: int, h: Tensor) -> Tensor:
        self.taps.at[j].copy_(h)
        a, b = torch.addmm(self.before[j], self.taps.seen[j], self.taps.weight).tanh_().chunk(2, dim=1)
        return torch.addmm(h, torch.addcmul(a, a, b), self.out)


class Along:
    """A convolution of single pixels on a row, (w, n, c) -> (w, n, d)."""

    def __init__(self, conv: Point) -> None:
        self.weight = whole(conv.weight)[:, :, 0, 0]
        self.bias = None if conv.bias is None else whole(conv.bias)

    def __call__(self, row: Tensor) -> Tensor:
        return F.linear(row, self.weight, self.bias)


# -- residual ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Residual:
    """The residual layer of PixelCNN++: two convolutions of concatenated ELUs, gated, in each stack.

    Salimans et al. 2017, section 2 and their released layers, without the down- and upsampling: the vertical stack is
    updated first, then enters the horizontal one by a convolution of single pixels after the first convolution.
    dropout: share of the features between the two convolutions that is dropped while training.
    """

    kernel: int = 3
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_kernel(self.kernel)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {self.dropout}")

    def build(self, width: int, size: tuple[int, int], given: int) -> CausalModule:
        return ResidualLayer(width, size, given, self)


class ResidualLayer(CausalModule):
    """See ``Residual``."""

    def __init__(self, width: int, size: tuple[int, int], given: int, s: Residual) -> None:
        super().__init__()
        self.size, self.dropout, half = size, s.dropout, s.kernel // 2 + 1
        self.above = nn.ModuleList([
            Above(2 * width, width, rows=half, columns=s.kernel),
            Above(2 * width, 2 * width, rows=half, columns=s.kernel, gain=0.1),
        ])  # fmt: skip
        self.left = nn.ModuleList([
            Left(2 * width, width, columns=half),
            Left(2 * width, 2 * width, columns=half, gain=0.1, bias=True),
        ])  # fmt: skip
        self.across = Point(2 * width, width)
        self.given = nn.ModuleList(nn.Linear(given, 2 * width, bias=False) for _ in range(2 if given else 0))

    def forward(self, v: Tensor, h: Tensor, given: Tensor | None, rng: Rng | None) -> tuple[Tensor, Tensor]:
        shift = [self.given[s](given)[:, :, None, None] if given is not None else 0.0 for s in range(2)]
        inner = concatenated_elu(self.above[0](concatenated_elu(v)))
        v = v + F.glu(self.above[1](self._dropped(inner, rng, "v")) + shift[0], dim=1)
        inner = concatenated_elu(self.left[0](concatenated_elu(h)) + self.across(concatenated_elu(v)))
        h = h + F.glu(self.left[1](self._dropped(inner, rng, "h")) + shift[1], dim=1)
        return v, h

    def _dropped(self, x: Tensor, rng: Rng | None, name: str) -> Tensor:
        if self.dropout == 0.0 or rng is None or not self.training:
            return x
        keep = 1 - self.dropout
        drawn = rng(name).uniform(x.shape, dtype=torch.float32, device=x.device) < keep
        return x * (drawn / keep).to(x.dtype)

    def cache(self, n: int, given: Tensor | None) -> LayerCache:
        return ResidualCache(self, n, given)


def concatenated_elu(x: Tensor, dim: int = 1) -> Tensor:
    """ELU of x and of -x beside it, so that twice as many channels come out."""
    return F.elu(torch.cat([x, -x], dim=dim))


class ResidualCache:
    """A residual layer along the raster."""

    def __init__(self, layer: ResidualLayer, n: int, given: Tensor | None) -> None:
        self.across = Along(layer.across)
        self.rows = [Rows(conv, n, layer.size[1]) for conv in layer.above]  # pyright: ignore[reportArgumentType]
        self.taps = [Taps(conv, n, layer.size[1]) for conv in layer.left]  # pyright: ignore[reportArgumentType]
        self.shift = [] if given is None else [linear(given).detach() for linear in layer.given]
        bias = whole(layer.left[1].bias)
        self.second = (self.shift[1] if self.shift else 0) + bias.expand(n, -1)
        self.before: list[Tensor] = []

    def row(self, i: int, v: Tensor) -> Tensor:
        self.rows[0].put(concatenated_elu(v, dim=2))
        self.rows[1].put(concatenated_elu(self.rows[0].look(), dim=2))
        change = self.rows[1].look()
        v = v + F.glu(change + self.shift[0] if self.shift else change, dim=2)
        self.before = list(self.across(concatenated_elu(v, dim=2)))
        return v

    def step(self, j: int, h: Tensor) -> Tensor:
        first, second = self.taps
        first.at[j].copy_(concatenated_elu(h))
        second.at[j].copy_(concatenated_elu(torch.addmm(self.before[j], first.seen[j], first.weight)))
        return h + F.glu(torch.addmm(self.second, second.seen[j], second.weight), dim=1)
