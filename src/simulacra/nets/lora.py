"""Low-rank adapters: a trained network is frozen, and what is learnt is a small sum beside chosen matrices of it.

Hu et al. 2022 ("LoRA: low-rank adaptation of large language models"), eq. 3:

    W' = W + (alpha / rank) B A,    A (rank, in) drawn at random, B (out, rank) zero at first

so an adapted network begins as the very network it was, and ``merge`` makes it one again. A convolution's filters count
as a matrix (out, in x height x width). The sum is made where a layer's weight is read
(``torch.nn.utils.parametrize``), so code that reads weights itself, such as a cached attention, need not know of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from simulacra.core.randomness import Rng
from simulacra.nets import decoder, learned_places
from simulacra.nets.causal_attention import AttentionLayer
from simulacra.nets.initialise import LINEAR, fan_in_uniform
from simulacra.nets.residual_unet import SelfAttention
from simulacra.nets.transformer import Attention
from simulacra.nets.unet import GridAttention

Layers = Callable[[nn.Module, nn.Module], bool]  # (a layer, the module it stands in) -> whether it is adapted
ATTENTION = (Attention, AttentionLayer, GridAttention, SelfAttention, decoder.Attention, learned_places.Attention)


def attention(layer: nn.Module, parent: nn.Module) -> bool:
    """The projections of attention, in and out: Hu et al. 2022, section 4.2."""
    return isinstance(layer, LINEAR) and isinstance(parent, ATTENTION)


def dense(layer: nn.Module, parent: nn.Module) -> bool:
    """Every linear layer."""
    return isinstance(layer, nn.Linear)


def matrices(layer: nn.Module, parent: nn.Module) -> bool:
    """Every linear and convolutional layer."""
    return isinstance(layer, LINEAR)


@runtime_checkable
class Adapter(Protocol):
    """How a trained network is changed for being tuned."""

    def adapt(self, module: nn.Module, rng: Rng, *, learn: Collection[str] = ()) -> list[str]:
        """Freeze a module, but for the parameters named in ``learn``, and add what is to be learnt; the layers' names.

        The module's outputs stay what they were. Raises ValueError where it has no layer to be adapted.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank adapters.

    rank    of what is added to each matrix.
    alpha   what is added is multiplied by alpha / rank.
    layers  which layers: ``attention``, ``dense``, ``matrices``.
    """

    rank: int = 8
    alpha: float = 8.0
    layers: Layers = attention

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1; got {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"alpha must be positive; got {self.alpha}")

    def adapt(self, module: nn.Module, rng: Rng, *, learn: Collection[str] = ()) -> list[str]:
        chosen = [
            (f"{prefix}.{name}" if prefix else name, layer)
            for prefix, parent in module.named_modules()
            for name, layer in parent.named_children()
            if self.layers(layer, parent)
        ]
        if not chosen:
            said = getattr(self.layers, "__name__", "layers")
            raise ValueError(f"{type(module).__name__} has none of the layers that LoRA(layers={said}) adapts;"
                             " choose layers=matrices, or leave the adapter out")  # fmt: skip
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in learn)
        for name, layer in chosen:
            added = LowRank(layer.weight, self.rank, self.alpha / self.rank)  # type: ignore[arg-type]
            added.initialise(rng(name))
            # unsafe: the check would draw from torch's own generator, and the shape is W's by construction
            parametrize.register_parametrization(layer, "weight", added, unsafe=True)
        return [name for name, _ in chosen]


class LowRank(nn.Module):
    """W -> W + factor B A."""

    def __init__(self, weight: Tensor, rank: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.down = nn.Parameter(weight.new_empty(rank, weight[0].numel()))
        self.up = nn.Parameter(weight.new_zeros(len(weight), rank))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """A at random, B zero."""
        self.down.copy_(fan_in_uniform(self.down, rng("down")))
        self.up.zero_()

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.factor * (self.up @ self.down)).view_as(weight)


def merge(module: nn.Module) -> None:
    """Add what was learnt to the matrices, in place: the plain network with the same outputs, nothing frozen."""
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer, "weight") and isinstance(layer.parametrizations["weight"][0], LowRank):  # type: ignore[index]
            with torch.no_grad():
                weight = layer.weight.detach().clone()  # type: ignore[union-attr]
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
                layer.weight.copy_(weight)  # type: ignore[union-attr,operator]
    for parameter in module.parameters():
        parameter.requires_grad_(True)


def plain(name: str) -> str:
    """The name of a tensor in the network without adapters; adapters keep a name that no such network has."""
    return re.sub(r"\.parametrizations\.(\w+)\.original$", r".\1", name)


def adapted(name: str) -> str | None:
    """For an adapter's tensor the name of the weight it is added to; None for any other."""
    found = re.fullmatch(r"(.*)\.parametrizations\.(\w+)\.0\.(?:up|down)", name)
    return f"{found[1]}.{found[2]}" if found else None
