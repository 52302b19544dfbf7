"""Differentially private training: DP-SGD (Abadi et al. 2016, algorithm 1) for losses that sum over examples.

A step takes every example with probability batch / examples, cuts each one's gradient to norm C, and steps along

    (sum of the cut gradients + sigma C N(0, I)) / batch

sigma is chosen for the run's epsilon, delta and number of steps (``mathematics.privacy``). A turn that takes nothing
from the examples, as a generator's that hears of them from its critic alone, is handed blank ones and needs no noise.

Every draw of a private run comes from a seed that the operating system gave: who knew it could take the noise away
again. It is kept with the state that a resumed run needs, and nowhere else. Losses are functions of the examples: none
is logged and a turn's ``after`` is told none; the log has the norm of the noisy gradient.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes
from simulacra.core.turns import Turn
from simulacra.mathematics.privacy import epsilon, noise_for
from simulacra.training.each_example import ByLayers, Gradients, Inseparable, OneByOne, clipped_sum, learnt
from simulacra.training.engine import Engine
from simulacra.training.move import Move, Taken
from simulacra.training.settings import Training
from simulacra.training.state import modules_of

TRIED = 4  # examples that a model is tried on before it is trained
NEAR = {"float32": 1e-3, "float64": 1e-8, "bfloat16": 5e-2}  # relative difference of gradients that is rounding
UNIT = 1 << 24  # uniform draws are multiples of 1 / UNIT, so chances are counted as such


def secret() -> int:
    """A seed that nobody knows, 64 bits from the operating system."""
    return secrets.randbits(64)


class Private:
    """The noise of a private run, and what it has given away.

    seed  of its draws; set before the first step of a run that goes on.
    """

    def __init__(self, training: Training, data: Data, engine: Engine) -> None:
        """Choose the noise. Raises ValueError for a batch larger than the data, and for several processes."""
        assert training.private is not None
        assert training.planned is not None
        self.settings, self.training, self.data, self.engine = training.private, training, data, engine
        if engine.processes > 1:
            raise ValueError("a private run is trained by one process; start it without torchrun")
        if training.batch > len(data):
            raise ValueError(
                f"a private run's batch is at most the number of examples, {len(data)}; got batch={training.batch}"
            )
        self.rate = math.ceil(training.batch / len(data) * UNIT) / UNIT
        self.seed = secret()
        self.turns: list[Turn] = []
        self.noise = math.inf

    def moves(self, model: Any, moves: Sequence[Move]) -> list[Move | PrivateMove]:
        """The model's moves made private, once it has been seen that they can be; and the noise chosen for them."""
        trial = Trial(model, self.data, self.engine)
        ways = [trial.way(move) for move in moves]
        self.turns = [move.turn for move, way in zip(moves, ways, strict=True) if way is not None]
        self.noise = noise_for(self.settings.epsilon, self.rate, self._noised(self._planned), self.settings.delta)
        return [PrivateMove(move, self, way, trial.batches[0]) for move, way in zip(moves, ways, strict=True)]

    @property
    def _planned(self) -> int:
        return self.training.planned or 0

    def _noised(self, steps: int) -> int:
        """Noisy gradients in so many steps; those of several turns count as so many mechanisms."""
        return sum(-(-steps // turn.every) for turn in self.turns)

    def spent(self, steps: int) -> dict[str, float]:
        """What has been given away after so many steps: the figures that a recipe and a card state."""
        noised = self._noised(steps)
        return {
            "epsilon": epsilon(self.noise, self.rate, noised, self.settings.delta) if noised else 0.0,
            "delta": self.settings.delta,
            "clip": self.settings.clip,
            "noise": self.noise,
            "rate": self.rate,
            "noised": float(noised),
        }

    def draw(self, *names: str | int) -> Rng:
        """A stream of the secret seed."""
        return Rng(self.seed)(*names)

    def batches(self, step: int, turn: str) -> list[tuple[int, Batch]]:
        """The examples that a turn sees in a step, each with the same chance: (number of the first row, part)."""
        u = self.draw("taken", step, turn).uniform((len(self.data),), dtype=torch.float32)
        taken = (u < self.rate).nonzero()[:, 0]
        size = -(-self.training.batch // self.training.accumulate)
        stream = self.draw("data", step, turn)
        found = []
        for first in range(0, len(taken), size):
            numbers = self.engine.index(taken[first : first + size])
            found.append((first, self.engine.ready(self.data.batch(numbers, stream.rows(first)))))
        return found


class PrivateMove:
    """One of a private run's turns. way: None for a turn that takes nothing from the examples."""

    def __init__(self, move: Move, private: Private, way: Gradients | None, like: Batch) -> None:
        self.move, self.turn, self.private, self.way, self.like = move, move.turn, private, way, like

    def take(self, step: int, parts: Sequence[tuple[int, Batch]]) -> Taken:
        """One optimiser step of the player; which examples it sees is drawn here, whatever parts are given."""
        private, seat = self.private, self.move.seat
        if self.way is None:
            space = private.data.space.y
            y = (
                private.draw("labels", step).integers(len(space), (private.training.batch,))
                if isinstance(space, Classes)
                else None
            )
            return self.move.take(step, [(0, blank(self.like, private.training.batch, y))])
        for other in self.move.others:
            other.activate(False)
        seat.activate(True)
        module, rng = seat.player.module, private.draw("train", step, self.turn.name)
        total = [torch.zeros_like(p) for p in seat.parameters]
        for first, batch in private.batches(step, self.turn.name):
            part = clipped_sum(self.way, self.move.loss, module, batch, rng.rows(first), private.settings.clip)
            torch._foreach_add_(total, part)
        deviation = private.noise * private.settings.clip
        for i, (parameter, gradient) in enumerate(zip(seat.parameters, total, strict=True)):
            noise = private.draw("noise", step, self.turn.name, i)
            drawn = noise.normal((1, gradient.numel()), dtype=gradient.dtype, device=gradient.device)
            gradient.add_(drawn.view_as(gradient), alpha=deviation).div_(private.training.batch)
            parameter.grad = gradient
        norm = torch.stack(torch._foreach_norm(total)).norm()
        if self.move.clip is not None:
            self.move.engine.clip(seat.parameters, self.move.clip)
        seat.step()
        if self.turn.after is not None:
            self.turn.after({})
        return Taken(("",), [norm], 1.0)


def blank(like: Batch, n: int, y: Tensor | None) -> Batch:
    """n examples of zeros, shaped like these; with labels y (n,) where there are any."""
    zeros = like.rows(slice(0, 1)).map(lambda t: torch.zeros_like(t).expand(n, *t.shape[1:]))
    device = next(iter(zeros.x.values())).device if isinstance(zeros.x, Mapping) else zeros.x.device
    return replace(zeros, y=zeros.y if y is None else y.to(device), known=None, length=None, y_length=None)


@dataclass(frozen=True)
class _Outcome:
    """What a loss came to: gradients of the player's parameters, and everything that is kept, after it."""

    gradients: list[Tensor]
    kept: dict[str, Tensor]


class Trial:
    """Whether a model's turns can be private: tried on a few examples, with everything as it was afterwards.

    What is found is how the model is written, not what its examples are.
    """

    def __init__(self, model: Any, data: Data, engine: Engine) -> None:
        self.model, self.precision = model, engine.precision
        n = min(TRIED, len(data))
        first, last = torch.arange(n), torch.arange(len(data) - n, len(data)).flip(0)
        ready = [engine.ready(data.batch(engine.index(i), Rng(0)("trial"))) for i in (first, last)]
        # the same labels and lengths: what is asked is whether the examples themselves are seen
        self.batches = (ready[0], replace(ready[0], x=ready[1].x))
        self.named = {
            f"{prefix}{name}": tensor
            for prefix, module in modules_of(model).items()
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        }

    def way(self, move: Move) -> Gradients | None:
        """How to get at the gradients of single examples; None for a turn that takes nothing from them.

        Raises ValueError where one example's part in a step is not bounded by its own gradient.
        """
        for other in move.others:
            other.activate(False)
        move.seat.activate(True)
        for module in modules_of(self.model).values():
            module.train()
        before = {name: t.detach().clone() for name, t in self.named.items()}
        rng = Rng(0)("trial", move.turn.name)
        try:
            one, other_ = (self._outcome(move, batch, rng, before) for batch in self.batches)
            for name in before:
                if not _same(one.kept[name], other_.kept[name]):
                    raise ValueError(
                        f"{type(self.model).__name__} cannot be trained privately: {name!r} is set from the examples"
                        f" in turn {move.turn.name!r} (statistics of batches, a data-dependent start); choose a"
                        " setting or a family without it"
                    )
            if all(map(torch.equal, one.gradients, other_.gradients)):
                return None
            return self._way(move, one, rng, before)
        finally:
            self._restore(before)

    def _way(self, move: Move, whole: _Outcome, rng: Rng, before: Mapping[str, Tensor]) -> Gradients:
        turn, module, batch = move.turn, move.seat.player.module, _fresh(self.batches[0])
        try:
            each = [_flat(s.weighted(torch.ones(1))) for s in OneByOne()(move.loss, module, batch, rng)]
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"{type(self.model).__name__} cannot be trained privately: turn {turn.name!r} takes no single example"
                f" ({' '.join(str(error).split())}); choose a setting or a family without statistics of batches"
            ) from error
        self._restore(before)
        near = NEAR[self.precision] * max(float(torch.stack(each).norm(dim=1).max()), 1e-12)
        if not float((torch.stack(each).sum(0) - _flat(whole.gradients)).norm()) <= near:
            raise ValueError(
                f"{type(self.model).__name__} cannot be trained privately: in turn {turn.name!r} an example's gradient"
                " depends on the others in its batch (batch normalisation, minibatch statistics, a loss divided by what"
                " the batch holds); choose a setting or a family without it"
            )
        if turn.after is not None:
            try:
                turn.after({})
            except KeyError as error:
                raise ValueError(
                    f"{type(self.model).__name__} cannot be trained privately: turn {turn.name!r} adapts itself to its"
                    f" losses ({error}), which are not private; choose a setting or a family that does not"
                ) from error
        if turn.second_order:
            return OneByOne()
        try:
            (share,) = ByLayers()(move.loss, module, batch, rng)
            rows = [_flat(share.weighted(row)) for row in torch.eye(len(batch))]
            norms = share.norms()
        except (Inseparable, RuntimeError):  # a layer that cannot be mapped over rows
            return OneByOne()
        agree = all(float((a - b).norm()) <= near for a, b in zip(rows, each, strict=True))
        right = all(abs(float(n) - float(b.norm())) <= near for n, b in zip(norms, each, strict=True))
        return ByLayers() if agree and right else OneByOne()

    def _outcome(self, move: Move, batch: Batch, rng: Rng, before: Mapping[str, Tensor]) -> _Outcome:
        loss = move.loss(_fresh(batch), rng)
        found = torch.autograd.grad(
            loss.total, learnt(move.seat.player.module), allow_unused=True, materialize_grads=True
        )
        kept = {name: t.detach().clone() for name, t in self.named.items()}
        self._restore(before)
        return _Outcome(gradients=list(found), kept=kept)

    @torch.no_grad()
    def _restore(self, before: Mapping[str, Tensor]) -> None:
        for name, tensor in self.named.items():
            tensor.copy_(before[name])


def _fresh(batch: Batch) -> Batch:
    """The same examples as tensors that no turn has seen: a model may know again what it was shown in another turn."""
    return batch.map(torch.clone)


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.double().flatten() for g in gradients])


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b)
