"""A turn being taken: gradients, optimisers and the numbers for the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Loss
from simulacra.core.muon import Orthogonal
from simulacra.core.optimisers import constant
from simulacra.core.randomness import Rng
from simulacra.core.turns import Player, Turn
from simulacra.training.engine import Engine, WholeMatrices, is_sharded
from simulacra.training.settings import Training


@dataclass(frozen=True)
class Taken:
    """What one turn came to: sums over the whole batch, still on the device.

    values  total, then the terms, in the order of ``names``; weight is their divisor.
    """

    names: tuple[str, ...]
    values: Sequence[Tensor] | Tensor
    weight: float | Tensor


class Seat:
    """A player at the table: its parameters and the optimisers that step them."""

    def __init__(self, name: str, player: Player, training: Training) -> None:
        self.name, self.player = name, player
        self.parameters = [p for p in player.module.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"player {name!r} has no parameter that needs a gradient; nothing could be learnt")
        self.optimisers = player.optimiser.build(player.module)
        self.matrices = [WholeMatrices(o) for o in self.optimisers if isinstance(o, Orthogonal)]
        self.matrices = [whole for whole in self.matrices if whole.pairs]
        for optimiser in self.optimisers:
            _split_groups(optimiser)
        self.rates = [(group, group["lr"]) for optimiser in self.optimisers for group in optimiser.param_groups]
        self.schedule = player.optimiser.schedule
        self.factor = 1.0
        self.active = True

    def activate(self, active: bool) -> None:
        """Whether its parameters need a gradient."""
        if active != self.active:
            self.active = active
            for parameter in self.parameters:
                parameter.requires_grad_(active)

    def step(self) -> None:
        """Let the optimisers act on the gradients."""
        for whole in self.matrices:
            whole.gather()
        for optimiser in self.optimisers:
            optimiser.step()
        for whole in self.matrices:
            whole.scatter()

    def schedule_to(self, fraction: float, step: int) -> None:
        """Set the learning rates for a step."""
        if self.schedule is not constant:
            factor = self.schedule(fraction, step)
            if factor != self.factor:
                self.factor = factor
                for group, rate in self.rates:
                    group["lr"] = rate * factor


class Move:
    """One of a model's turns, taken again and again."""

    def __init__(self, turn: Turn, seats: Mapping[str, Seat], training: Training, engine: Engine) -> None:
        if turn.player not in seats:
            raise ValueError(f"turn {turn.name!r} names no such player: {turn.player!r}; expected one of {list(seats)}")
        self.turn, self.engine, self.clip = turn, engine, training.clip
        self.seat = seats[turn.player]
        self.others = [seat for seat in seats.values() if seat is not self.seat]
        self.rng = Rng(training.seed)
        if turn.second_order and engine.sharded:
            raise ValueError(
                f"turn {turn.name!r} differentiates a gradient, which sharded parameters do not support;"
                " train with distribute=replicate"
            )
        self.computing = engine.computing()
        self.alone = engine.processes == 1 and training.accumulate == 1
        self._weight, self._inverse = float("nan"), torch.empty(0)

    def take(self, step: int, parts: Sequence[tuple[int, Batch]]) -> Taken:
        """One optimiser step of the player on a batch given in parts: (number of the first row, part)."""
        for seat in self.others:
            seat.activate(False)
        self.seat.activate(True)
        for parameter in self.seat.parameters:
            parameter.grad = None
        rng = self.rng("train", step, self.turn.name)
        taken = self._whole(parts[0], rng) if self.alone else self._summed(parts, rng)
        if self.clip is not None:
            self.engine.clip(self.seat.parameters, self.clip)
        self.seat.step()
        if self.turn.after is not None:
            values = zip(taken.names[1:], taken.values[1:], strict=True)
            self.turn.after({name: value / taken.weight for name, value in values})
        return taken

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The turn's loss, in the precision of the run."""
        if self.computing is None:
            return self.turn.loss(batch, rng)
        with self.computing:
            return self.turn.loss(batch, rng)

    def _whole(self, part: tuple[int, Batch], rng: Rng) -> Taken:
        """Gradients where one process sees the whole batch at once: the division rides on the backward pass."""
        loss = self.loss(part[1], rng)
        torch.autograd.backward(loss.total, self._share(loss))
        return Taken(("", *loss.terms), [loss.total.detach(), *loss.terms.values()], loss.weight)

    def _share(self, loss: Loss) -> Tensor:
        """1 / weight in the type of the total; 0 for a batch of no weight. Kept from one step to the next."""
        if isinstance(loss.weight, Tensor):
            weight = loss.weight.detach().to(loss.total)
            return torch.where(weight == 0, 0.0, 1 / weight)
        if loss.weight != self._weight or self._inverse.dtype != loss.total.dtype:
            self._weight = loss.weight
            self._inverse = loss.total.new_tensor(1 / loss.weight if loss.weight else 0.0)
        return self._inverse

    def _summed(self, parts: Sequence[tuple[int, Batch]], rng: Rng) -> Taken:
        """Gradients summed over parts and processes, then divided by the weight summed likewise."""
        names: tuple[str, ...] = ()
        sums: list[Tensor] = []
        for first, batch in parts:
            loss = self.loss(batch, rng.rows(first))
            torch.autograd.backward(loss.total)
            names = ("", *loss.terms)
            weight = torch.as_tensor(loss.weight, dtype=loss.total.dtype, device=loss.total.device).detach()
            values = [weight, loss.total.detach(), *(t.to(loss.total.dtype) for t in loss.terms.values())]
            sums = values if not sums else [a + b for a, b in zip(sums, values, strict=True)]
        return Taken(names, *self.engine.reduce(self.seat.parameters, sums))


def _split_groups(optimiser: torch.optim.Optimizer) -> None:
    """Part sharded from whole parameters in each group: one fused step cannot mix them."""
    for group in list(optimiser.param_groups):
        whole = [p for p in group["params"] if not is_sharded(p)]
        if whole and len(whole) < len(group["params"]):
            group["params"] = [p for p in group["params"] if is_sharded(p)]
            optimiser.param_groups.append({**group, "params": whole})
