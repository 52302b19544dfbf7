"""Activations by name: functions that a setting can hold and a run can write down."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng

Activation = Callable[[], nn.Module]


def silu() -> nn.Module:
    """x sigmoid(x) (Elfwing et al. 2017): smooth, a good default."""
    return nn.SiLU()


def relu() -> nn.Module:
    """max(x, 0)."""
    return nn.ReLU()


def gelu() -> nn.Module:
    """x Phi(x), Phi the standard normal's distribution function (Hendrycks & Gimpel 2016): smooth, nearly a ReLU."""
    return nn.GELU()


def gelu_tanh() -> nn.Module:
    """x Phi(x) with Phi by a hyperbolic tangent (Hendrycks & Gimpel 2016, section 2), as GPT-2 was trained with."""
    return nn.GELU(approximate="tanh")


def relu_in_place() -> nn.Module:
    """max(x, 0), written over its input: for chains of layers between which nobody else looks."""
    return nn.ReLU(inplace=True)


def tanh() -> nn.Module:
    """The hyperbolic tangent, as the first variational autoencoders had it."""
    return nn.Tanh()


def leaky_relu() -> nn.Module:
    """max(x, 0.2 x), as critics of pictures often have it."""
    return nn.LeakyReLU(0.2)


class SteepTanh(nn.Module):
    """tanh(exp(10 s) x) with one learned s, a scalar, 0 at first.

    An adaptive activation (Jagtap et al. 2020, "Adaptive activation functions accelerate convergence", eq. 5) whose
    slope is learned as a logarithm, so that it stays positive and a step of the optimiser changes it by a share.
    """

    rate = 10.0  # Jagtap et al.'s n: how much faster than a weight the slope learns

    def __init__(self) -> None:
        super().__init__()
        self.log_slope = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """A slope of 1."""
        self.log_slope.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape -> values in [-1, 1] of that shape."""
        return torch.tanh(x * (self.rate * self.log_slope).exp())


def steep_tanh() -> nn.Module:
    """The hyperbolic tangent of a learned steepness: plateaus, and steps between them as sharp as the data asks for.

    What clumps of data have in common, that a sample between two of them is wrong, moves every weight a little and in
    as many directions as there are gaps, but it moves this one number always the same way.
    """
    return SteepTanh()


def kaiming_slope(activation: Activation) -> float:
    """The slope to give ``initialise.he_normal``: 1 for what is the identity near 0, 0 for rectifiers."""
    layer = activation()
    if isinstance(layer, nn.LeakyReLU):
        return layer.negative_slope
    return 1.0 if isinstance(layer, nn.Tanh | SteepTanh) else 0.0
