"""The parts of a normalizing flow: bijections of vectors that know their log-determinant, and the settings that build
them.

Everything is features first, (d, b): a network's outputs come out as the parameters of element after element, and
what is done to them runs along the examples (``mathematics.bijections``). ``forward`` goes from data to noise,
``inverse`` back; both return their own log |det|, nats (b,).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.mathematics.bijections import (
    affine,
    affine_inverse,
    check_bins,
    soft_clamp,
    spline,
    spline_inverse,
    spline_parameters,
)
from simulacra.nets.initialise import fan_in_uniform

Activation = Callable[[], nn.Module]
QUIET = 0.1  # of the usual first weights, in what a conditioner puts out: a flow begins near the identity


class Bijection(nn.Module, ABC):
    """A map of R^d onto itself, given a context (c, b) or None."""

    @abstractmethod
    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (d, b) -> z (d, b) and log |det dz/dx|, nats (b,)."""

    @abstractmethod
    def inverse(self, z: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z (d, b) -> x (d, b) and log |det dx/dz|, nats (b,)."""


@runtime_checkable
class Transform(Protocol):
    """Settings of a bijection."""

    def build(self, dims: int, given: int) -> Bijection:
        """The bijection of so many dimensions, given a context of so many numbers."""
        ...


@runtime_checkable
class Univariate(Protocol):
    """An increasing map of one element, whose raw parameters a network puts out; raw 0 is the identity."""

    @property
    def parameters(self) -> int:
        """Raw numbers an element takes."""
        ...

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """x (d, b), raw (d, parameters, b) -> y and log dy/dx, both (d, b)."""
        ...

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """y (d, b), raw (d, parameters, b) -> x and log dx/dy, both (d, b)."""
        ...


# -- univariate maps --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Affine:
    """y = (x - shift) exp(-log_scale), |log_scale| < limit softly, |shift| <= reach.

    reach  in standard deviations of the data. So wide that it only stops the growth, layer by layer, of diverged
           or hostile weights.
    """

    limit: float = 3.0
    reach: float = 100.0
    parameters = 2

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return affine(x, raw, self.limit, self.reach)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return affine_inverse(y, raw, self.limit, self.reach)


@dataclass(frozen=True, kw_only=True)
class Additive:
    """y = x - shift, |shift| <= reach: keeps volumes (Dinh et al. 2015, eq. 4)."""

    reach: float = 100.0
    parameters = 1

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return x - raw[:, 0].clamp(-self.reach, self.reach), torch.zeros_like(x)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return y + raw[:, 0].clamp(-self.reach, self.reach), torch.zeros_like(y)


@dataclass(frozen=True, kw_only=True)
class Spline:
    """Monotone rational-quadratic spline of so many bins on [-bound, bound], the identity outside."""

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        check_bins(self.bins)
        if not self.bound > 0:
            raise ValueError(f"bound must be positive; got {self.bound}")

    @property
    def parameters(self) -> int:
        return spline_parameters(self.bins)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return spline(x, raw, self.bound)

    def inverse(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return spline_inverse(y, raw, self.bound)


# -- bijections that look at nothing else -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reverse:
    """The dimensions in reverse order."""

    def build(self, dims: int, given: int) -> Bijection:
        return Reversed()


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """The dimensions in an order drawn once, with the first weights, and kept."""

    def build(self, dims: int, given: int) -> Bijection:
        return Shuffled(dims)


@dataclass(frozen=True, kw_only=True)
class LULinear:
    """z = L U x + bias, L unit lower and U upper triangular (Kingma & Dhariwal 2018, eq. 10, without permutation)."""

    limit: float = 3.0

    def build(self, dims: int, given: int) -> Bijection:
        return Triangular(dims, self.limit)


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """Another transform the other way round: what it does fast backwards, this one does forwards."""

    transform: Transform

    def build(self, dims: int, given: int) -> Bijection:
        return Backwards(self.transform.build(dims, given))


class Reversed(Bijection):
    """x_1 .. x_d -> x_d .. x_1, its own inverse."""

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flip(0), x.new_zeros(x.shape[1])

    def inverse(self, z: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self(z)


class Shuffled(Bijection):
    """x_i -> z_i = x_order[i]."""

    order: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(dims))

    def initialise(self, rng: Rng) -> None:
        """Draw the order."""
        self.order.copy_(rng("order").permutation(len(self.order)))

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.index_select(0, self.order), x.new_zeros(x.shape[1])

    def inverse(self, z: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.index_select(0, self.order.argsort()), z.new_zeros(z.shape[1])


class Triangular(Bijection):
    """z = L U x + bias; the logs of U's diagonal lie softly within the limit. It begins as the identity."""

    def __init__(self, dims: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        # the strict lower triangle is L's, the strict upper one U's, the diagonal the logs of U's
        self.entries, self.bias = nn.Parameter(torch.zeros(dims, dims)), nn.Parameter(torch.zeros(dims))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """The identity."""
        self.entries.zero_()
        self.bias.zero_()

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper, log_det = self._factors()
        return torch.addmm(self.bias[:, None], lower, upper @ x), log_det.expand(x.shape[1])

    def inverse(self, z: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper, log_det = self._factors()
        half = torch.linalg.solve_triangular(lower, z - self.bias[:, None], upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, half, upper=True), -log_det.expand(z.shape[1])

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        logs = soft_clamp(self.entries.diagonal(), self.limit)
        lower = self.entries.tril(-1) + torch.eye(len(logs), dtype=logs.dtype, device=logs.device)
        return lower, self.entries.triu(1) + logs.exp().diag_embed(), logs.sum()


class Backwards(Bijection):
    """A bijection with its two directions exchanged."""

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(x, given)

    def inverse(self, z: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection(z, given)


class Composed(Bijection):
    """Bijections one after another; their log-determinants add up."""

    def __init__(self, bijections: Sequence[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(x.shape[1])
        for bijection in self.bijections:
            x, log_det = bijection(x, given)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(z.shape[1])
        for bijection in reversed(self.bijections):
            z, log_det = bijection.inverse(z, given)  # type: ignore[operator]
            total = total + log_det
        return z, total


# -- conditioners -----------------------------------------------------------------------------------------------------


class Upright(nn.Linear):
    """A linear layer features first: (into, b) -> (out, b).

    quiet  factor on its first weights.
    """

    def __init__(self, into: int, out: int, quiet: float = 1.0) -> None:
        super().__init__(into, out)
        self.quiet = quiet

    def forward(self, input: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight, input)

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Weights uniform by the fan in, times ``quiet``; biases zero."""
        self.weight.copy_(self.quiet * fan_in_uniform(self.weight, rng("weight")))
        self.bias.zero_()


class Constant(nn.Module):
    """What a conditioner is that nothing is given: parameters (out,), the same for every example."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(outputs))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """The identity."""
        self.raw.zero_()

    def forward(self, h: Tensor) -> Tensor:
        return self.raw[:, None].expand(-1, h.shape[1])


def dense(sizes: Sequence[int], activation: Activation) -> nn.Module:
    """Linear layers features first with activations between them; constant where the first size is 0."""
    if sizes[0] == 0:
        return Constant(sizes[-1])
    layers: list[nn.Module] = []
    for into, out in pairwise(sizes[:-1]):
        layers += [Upright(into, out), activation()]
    return nn.Sequential(*layers, Upright(*sizes[-2:], quiet=QUIET))
