"""The one game: a model is a set of players that take turns, and a loop that never asks which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from simulacra.core.batch import Batch, Loss
from simulacra.core.optimisers import Optimiser
from simulacra.core.randomness import Rng


@dataclass(frozen=True, kw_only=True)
class Player:
    """A module that learns.

    module     its parameters are stepped together, by one optimiser. Modules of different players share none.
    optimiser  settings (``core.optimisers``).
    averaged   whether an exponential moving average of its weights is kept, and used to sample and evaluate.
    """

    module: nn.Module
    optimiser: Optimiser
    averaged: bool = True


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One player's move: a loss of a batch, minimised in that player's parameters alone.

    name          unique among the model's turns; names its draws and its lines in the log.
    player        key of ``Learner.players()``.
    loss          (batch, rng) -> Loss. Other players' parameters need no gradient while it runs.
    every         taken at steps 0, every, 2 every ... A lazy regulariser multiplies its loss by ``every`` itself.
    second_order  whether the loss differentiates a gradient (R1, gradient penalty); such turns cannot be sharded.
    before        called once an optimiser step, before its losses, with the share of the run's budget that is used up,
                  0 .. 1, and the number of the step: what a curriculum is laid along.
    after         called once an optimiser step with the reduced terms, each divided by the reduced weight, the same
                  on every process. Adaptive state (ADA's p, a capacity schedule) lives in registered buffers.
    """

    name: str
    player: str
    loss: Callable[[Batch, Rng], Loss]
    every: int = 1
    second_order: bool = False
    before: Callable[[float, int], None] | None = None
    after: Callable[[Mapping[str, Tensor]], None] | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"a turn's every must be at least 1; got {self.every} in turn {self.name!r}")
