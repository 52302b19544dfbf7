"""First weights as a function of (seed, name of the parameter): the same on every device and in every process.

A layer that owns parameters of a kind not listed here says how it starts by a method ``initialise(rng)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng

Scheme = Callable[[Tensor, Rng], Tensor]
LINEAR = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def fan_in_uniform(weight: Tensor, rng: Rng) -> Tensor:
    """Uniform with bound 1 / sqrt(fan in), torch's own default for linear and convolutional layers."""
    bound = 1 / math.sqrt(weight[0].numel())
    return (2 * rng.uniform((len(weight), weight[0].numel())) - 1).reshape(weight.shape) * bound


def normal(deviation: float) -> Scheme:
    """Zero-mean normal with a fixed deviation, as DCGAN's 0.02."""

    def scheme(weight: Tensor, rng: Rng) -> Tensor:
        return rng.normal((len(weight), weight[0].numel())).reshape(weight.shape) * deviation

    return scheme


def he_normal(slope: float) -> Scheme:
    """Zero-mean normal that keeps the mean square through leaky ReLUs of this slope: He et al. 2015, eq. 15."""

    def scheme(weight: Tensor, rng: Rng) -> Tensor:
        return normal(math.sqrt(2 / (1 + slope**2) / weight[0].numel()))(weight, rng)

    return scheme


@torch.no_grad()
def initialise(module: nn.Module, rng: Rng, *, linear: Scheme = fan_in_uniform) -> None:
    """Draw every parameter of a module anew; norms become the identity, embeddings N(0, 1).

    linear  how the weights of linear and convolutional layers are drawn; their biases start at zero.
    Raises ValueError for a layer whose start is unknown.
    """
    for name, layer in module.named_modules():
        here = rng(name)
        if callable(own_way := getattr(layer, "initialise", None)):
            own_way(here)
        elif isinstance(layer, LINEAR):
            layer.weight.copy_(linear(layer.weight, here("weight")))
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.Embedding):
            layer.weight.copy_(here("weight").normal(layer.weight.shape))
        elif isinstance(layer, NORMS):
            for kind, parameter in layer.named_parameters(recurse=False):
                parameter.fill_(1.0 if kind == "weight" else 0.0)
        elif own := dict(layer.named_parameters(recurse=False)):
            raise ValueError(
                f"no first weights known for {type(layer).__name__} with {list(own)}; give it a method initialise(rng)"
            )
