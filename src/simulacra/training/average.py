"""Moving averages of weights: a copy of the model that carries them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core.turns import Player
from simulacra.training.settings import Training


class Average:
    """A copy of a model whose averaged players hold an exponential moving average of their weights.

    A half-life of h examples: what a weight was h examples ago counts half as much as what it is now. Early in a run
    the half-life is a share of the examples seen, so that the first weights are soon forgotten.
    """

    def __init__(self, model: Any, players: Mapping[str, Player], training: Training) -> None:
        self.half_life, self.warmup, self.batch = training.average_half_life, training.average_warmup, training.batch
        self.copy = copy.deepcopy(model)
        copies = self.copy.players() if players else {}
        self.names = [name for name, player in players.items() if player.averaged and self.half_life > 0]
        self.slow: list[Tensor] = []
        self.fast: list[Tensor] = []
        moving: set[int] = set()
        for name in self.names:
            for ours, theirs in zip(copies[name].module.parameters(), players[name].module.parameters(), strict=True):
                self.slow.append(local(ours))
                self.fast.append(local(theirs))
                moving.add(id(ours))
        # what is not averaged follows the model, but only when somebody looks
        pairs = list(zip(tensors_of(self.copy, copies), tensors_of(model, players), strict=True))
        self.following = [(local(ours), local(theirs)) for ours, theirs in pairs if id(ours) not in moving]
        for module in modules_of(self.copy, copies):
            module.requires_grad_(False).eval()

    def update(self, step: int) -> None:
        """Move the average towards the weights after so many steps."""
        if self.slow:
            half_life = min(self.half_life, self.warmup * step * self.batch)
            keep = 0.5 ** (self.batch / half_life) if half_life > 0 else 0.0
            torch._foreach_lerp_(self.slow, self.fast, 1 - keep)

    @torch.no_grad()
    def sync(self) -> Any:
        """The copy, everything in it that is not averaged brought up to date."""
        for ours, theirs in self.following:
            ours.copy_(theirs)
        return self.copy


def local(tensor: Tensor) -> Tensor:
    """This process's share of a sharded tensor, detached; a plain tensor as it is."""
    tensor = tensor.detach()
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def modules_of(model: Any, players: Mapping[str, Player]) -> list[nn.Module]:
    """The modules that hold everything a model learns: the model itself where it is one, else its players'."""
    return [model] if isinstance(model, nn.Module) else [player.module for player in players.values()]


def tensors_of(model: Any, players: Mapping[str, Player]) -> list[Tensor]:
    """Every parameter and buffer, always in the same order."""
    found: list[Tensor] = []
    for module in modules_of(model, players):
        found += [*module.parameters(), *module.buffers()]
    return found
