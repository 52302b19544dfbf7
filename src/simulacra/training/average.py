"""Moving averages of weights: a copy of the model that carries them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simulacra.core.turns import Player
from simulacra.training.engine import Engine, local
from simulacra.training.settings import Training
from simulacra.training.state import modules_of, named


class Average:
    """A copy of a model whose averaged players hold an exponential moving average of their weights.

    A half-life of h examples: what a weight was h examples ago counts half as much as what it is now. Early in a run
    the half-life is a share of the examples seen, so that the first weights are soon forgotten.
    """

    def __init__(self, model: Any, players: Mapping[str, Player], training: Training, engine: Engine) -> None:
        """Copy a model; it must not have been distributed yet. ``bind`` comes next."""
        self.half_life, self.warmup, self.batch = training.average_half_life, training.average_warmup, training.batch
        self.copy = copy.deepcopy(model)
        self.modules = list(modules_of(self.copy).values())
        for module in self.modules:
            module.requires_grad_(False).eval()
            engine.spread(module)
        self.averaged = [name for name, player in players.items() if player.averaged and self.half_life > 0]
        self.slow: list[Tensor] = []
        self.fast: list[Tensor] = []
        self.following: list[tuple[Tensor, Tensor]] = []

    def bind(self, model: Any) -> None:
        """Pair every tensor of the copy with the model's, once both hold their final parameters."""
        ours, theirs = self.copy.players(), model.players()
        moving: set[int] = set()
        for name in self.averaged:
            pairs = zip(ours[name].module.parameters(), theirs[name].module.parameters(), strict=True)
            for slow, fast in pairs:
                self.slow.append(local(slow))
                self.fast.append(local(fast))
                moving.add(id(slow))
        # what is not averaged follows the model, but only when somebody looks
        for copied, original in zip(self.modules, modules_of(model).values(), strict=True):
            slow = [*copied.parameters(), *copied.buffers()]
            fast = [*original.parameters(), *original.buffers()]
            self.following += [(local(s), local(f)) for s, f in zip(slow, fast, strict=True) if id(s) not in moving]
        self.kept = {name: tensor for name, tensor in named(self.copy).items() if id(tensor) in moving}

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
