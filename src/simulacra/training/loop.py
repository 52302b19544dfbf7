"""The one loop: players take turns, and it never asks which model they make up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from simulacra.core.batch import Data
from simulacra.core.capabilities import Fitter, Learner
from simulacra.core.randomness import Rng
from simulacra.training.average import Average, modules_of
from simulacra.training.engine import Engine
from simulacra.training.feed import Feed
from simulacra.training.hooks import Hook, Moment, Verdict
from simulacra.training.log import Ledger, LogFile
from simulacra.training.move import Move, Seat
from simulacra.training.settings import Training


@dataclass(kw_only=True)
class Trained:
    """What a run came to.

    model     with its last weights; averaged, a copy with the moving averages of its averaged players: use this one.
              Both are in evaluation mode.
    ended     "budget": all of it is used up; "interrupted": by Ctrl-C, it can go on; "stopped": by a verdict.
    seconds   of training, over all sittings.
    """

    model: Any
    averaged: Any
    steps: int = 0
    examples: int = 0
    seconds: float = 0.0
    log: list[dict[str, int | float]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    ended: Literal["budget", "interrupted", "stopped"] = "budget"

    @property
    def interrupted(self) -> bool:
        """Whether the run was ended by Ctrl-C, before its budget."""
        return self.ended == "interrupted"


class Run:
    """A model in training: everything that changes from step to step."""

    def __init__(self, model: Any, data: Data, training: Training, hooks: Sequence[Hook], engine: Engine) -> None:
        self.model, self.training, self.hooks, self.engine = model, training, hooks, engine
        players = model.players()
        for module in modules_of(model, players):
            engine.prepare(module)
        self.players = players
        self.seats = {name: Seat(name, player, training) for name, player in players.items()}
        self.average = Average(model, players, training)
        self.moves = [Move(turn, self.seats, training, engine) for turn in model.turns()]
        self.feed = Feed(data, training, engine)
        self.rng = Rng(training.seed)
        self.ledger = Ledger()
        self.step = 0
        self.seconds = 0.0
        self.log: list[dict[str, int | float]] = []
        self.verdicts: list[Verdict] = []
        self.file: LogFile | None = None

    def advance(self, fraction: float) -> None:
        """One step: one batch, seen by every turn that is due."""
        step = self.step
        for seat in self.seats.values():
            seat.schedule_to(fraction, step)
        parts = list(self.feed.parts(step))
        for move in self.moves:
            if step % move.turn.every == 0:
                self.ledger.add(step, move.turn.name, move.take(step, parts))
        self.step = step + 1
        self.average.update(self.step)

    def write_row(self) -> None:
        """A line of the log: means since the last one."""
        self.ledger.gather()
        row = {
            "step": self.step,
            "examples": self.step * self.training.batch,
            "seconds": round(self.seconds, 3),
            **self.ledger.row(),
        }
        self.log.append(row)
        if self.file is not None:
            self.file.add(row, self.log)

    def tell(self, fraction: float, done: bool) -> None:
        """Call the hooks that are due."""
        due = [hook for hook in self.hooks if done or self.step % hook.every == 0]
        if due:
            moment = Moment(
                step=self.step,
                examples=self.step * self.training.batch,
                seconds=self.seconds,
                fraction=fraction,
                model=self.model,
                averaged=self.average.sync,
                data=self.feed.data,
                rng=self.rng("hooks", self.step),
                log=self.log[-1] if self.log else {},
                training=self.training,
                verdicts=tuple(self.verdicts),
                main=self.engine.rank == 0,
                done=done,
            )
            for hook in due:
                self.verdicts += hook(moment) or ()


def train(
    model: Any,
    data: Data,
    training: Training,
    *,
    hooks: Sequence[Hook] = (),
    folder: Path | str | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
) -> Trained:
    """Train a model, in place, on data: fit what is learnt in closed form, then take turns until a budget is used up.

    model   a Learner, a Fitter or both.
    folder  where log and resume checkpoints go; None keeps everything in memory.
    device  None takes the accelerator where there is one.
    """
    if not isinstance(model, (Learner, Fitter)):
        raise ValueError(f"{type(model).__name__} cannot be trained: it has neither players and turns nor fit(data)")
    engine = Engine(device=device, precision=training.precision)
    with engine.defaults():
        if isinstance(model, Fitter):
            model.fit(data)
        if not isinstance(model, Learner):
            return Trained(model=model, averaged=model)
        run = Run(model, data, training, hooks, engine)
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            run.file = LogFile(Path(folder))
        return _steps(run)


def _steps(run: Run) -> Trained:
    training, before, start = run.training, run.seconds, time.perf_counter()
    for module in modules_of(run.model, run.players):
        module.train()
    fraction = training.fraction(run.step, run.seconds)
    while fraction < 1:
        run.advance(fraction)
        run.seconds = before + time.perf_counter() - start
        fraction = training.fraction(run.step, run.seconds)
        if run.step % training.log_every == 0 or fraction >= 1:
            run.write_row()
        run.tell(fraction, fraction >= 1)
    for seat in run.seats.values():
        seat.activate(True)
    for module in modules_of(run.model, run.players):
        module.eval()
    return Trained(
        model=run.model,
        averaged=run.average.sync(),
        steps=run.step,
        examples=run.step * training.batch,
        seconds=run.seconds,
        log=run.log,
        verdicts=run.verdicts,
    )
