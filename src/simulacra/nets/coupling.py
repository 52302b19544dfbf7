"""Coupling layers: one half of the dimensions is transformed given the other, which stays as it is.

Dinh et al. 2015 (NICE, additive), Dinh et al. 2017 (RealNVP, affine), Durkan et al. 2019 (splines): the univariate map
is a setting. Both directions cost one pass of the network. A single layer leaves half of the dimensions untouched:
between two of them stands a permutation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from simulacra.nets.activations import relu_in_place
from simulacra.nets.transforms import Activation, Affine, Bijection, Univariate, dense


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """A coupling layer: the later half of the dimensions (the larger, where odd), given the earlier one.

    univariate  what happens to each of them.
    hidden      widths of the conditioner's hidden layers.
    """

    univariate: Univariate = field(default_factory=Affine)
    hidden: tuple[int, ...] = (128, 128)
    activation: Activation = relu_in_place

    def build(self, dims: int, given: int) -> Bijection:
        return Coupled(dims, given, self)


class Coupled(Bijection):
    """x = (a, b) -> (a, f(b; network(a, given))): a triangular Jacobian (Dinh et al. 2017, eq. 4 to 8)."""

    def __init__(self, dims: int, given: int, settings: Coupling) -> None:
        super().__init__()
        self.univariate, self.kept = settings.univariate, dims // 2
        outputs = (dims - self.kept) * settings.univariate.parameters
        self.conditioner = dense((self.kept + given, *settings.hidden, outputs), settings.activation)

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, b = x[: self.kept], x[self.kept :]
        y, log_slope = self.univariate.forward(b, self._raw(a, given, x))
        return torch.cat([a, y]), log_slope.sum(0)

    def inverse(self, z: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, b = z[: self.kept], z[self.kept :]
        x, log_slope = self.univariate.inverse(b, self._raw(a, given, z))
        return torch.cat([a, x]), log_slope.sum(0)

    def _raw(self, a: Tensor, given: Tensor | None, like: Tensor) -> Tensor:
        raw = self.conditioner(a if given is None else torch.cat([a, given]))
        return raw.to(like.dtype).view(-1, self.univariate.parameters, like.shape[1])
