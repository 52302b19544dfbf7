"""Activations by name: functions that a setting can hold and a run can write down."""

from __future__ import annotations

from torch import nn


def silu() -> nn.Module:
    """x sigmoid(x) (Elfwing et al. 2017): smooth, a good default."""
    return nn.SiLU()


def relu() -> nn.Module:
    """max(x, 0)."""
    return nn.ReLU()


def relu_in_place() -> nn.Module:
    """max(x, 0), written over its input: for chains of layers between which nobody else looks."""
    return nn.ReLU(inplace=True)


def tanh() -> nn.Module:
    """The hyperbolic tangent, as the first variational autoencoders had it."""
    return nn.Tanh()


def leaky_relu() -> nn.Module:
    """max(x, 0.2 x), as critics of pictures often have it."""
    return nn.LeakyReLU(0.2)
