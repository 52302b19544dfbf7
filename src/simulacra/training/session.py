"""A model in training: everything that changes from step to step, and how it is saved, restored and guarded."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Data
from simulacra.core.randomness import Rng
from simulacra.training import resume
from simulacra.training.average import Average
from simulacra.training.engine import Engine, local
from simulacra.training.feed import Feed
from simulacra.training.hooks import Hook, Keeping, Moment, Verdict
from simulacra.training.log import Ledger, LogFile, read_log
from simulacra.training.move import Move, Seat
from simulacra.training.posthoc import PowerAverages, forget
from simulacra.training.private import Private, PrivateMove
from simulacra.training.settings import Training
from simulacra.training.state import modules_of, named

# a resumed run may change these: how long it lasts and how often it speaks and saves
MAY_CHANGE = ("steps", "minutes", "examples", "save_seconds", "compile")


class Session:
    """A model in training."""

    def __init__(
        self,
        model: Any,
        data: Data,
        training: Training,
        *,
        hooks: Sequence[Hook] = (),
        engine: Engine,
        folder: Path | None = None,
    ) -> None:
        self.model, self.training, self.hooks, self.engine, self.folder = model, training, hooks, engine, folder
        self.feed = Feed(data, training, engine)
        self.modules = list(modules_of(model).values())
        for module in self.modules:
            engine.prepare(module)
        players = model.players()
        self.average = Average(model, players, training, engine)
        for module in self.modules:
            engine.spread(module)
        self.average.bind(model)
        self.powers = None if training.posthoc is None else PowerAverages(model, players, training.posthoc)
        self.seats = {name: Seat(name, player, training) for name, player in players.items()}
        moves = [Move(turn, self.seats, training, engine) for turn in model.turns()]
        if not moves:
            raise ValueError(f"{type(model).__name__} has no turns; there is nothing to train")
        self.private = None if training.private is None else Private(training, self.feed.data, engine)
        self.moves: Sequence[Move | PrivateMove] = moves if self.private is None else self.private.moves(model, moves)
        if training.compile:
            for player in players.values():
                # a loss may call a player's parts instead of the player
                for module in (player.module, *player.module.children()):
                    module.compile()
        self.rng = Rng(training.seed)
        self.ledger = Ledger()
        self.step, self.seconds, self.fraction = 0, 0.0, 0.0
        self.earlier_cpu, self.began_cpu = 0.0, time.process_time()
        self.log: list[dict[str, int | float]] = []
        self.verdicts: list[Verdict] = []
        self.file: LogFile | None = None
        tensors = [local(t) for module in self.modules for t in (*module.parameters(), *module.buffers())]
        self._alive = [*tensors, *self.average.slow, *(self.powers.slow if self.powers is not None else ())]
        self._good, self._good_step = [t.clone() for t in self._alive], 0

    @property
    def examples(self) -> int:
        """Examples drawn so far."""
        return self.step * self.training.batch

    def advance(self) -> None:
        """One step: one batch, seen by every turn that is due."""
        step = self.step
        for seat in self.seats.values():
            seat.schedule_to(self.fraction, step)
        parts = list(self.feed.parts(step)) if self.private is None else []
        for move in self.moves:
            if step % move.turn.every == 0:
                if move.turn.before is not None:
                    move.turn.before(self.fraction, step)
                self.ledger.add(step, move.turn.name, move.take(step, parts))
        self.step = step + 1
        self.average.update(self.step)
        if self.powers is not None:
            self.powers.update(self.step)

    # --- what is told ---

    def write_row(self) -> None:
        """A line of the log: means since the last one."""
        row = {"step": self.step, "examples": self.examples, "seconds": round(self.seconds, 3), **self.ledger.row()}
        self.log.append(row)
        if self.file is not None:
            self.file.add(row, self.log)

    def tell(self, done: bool) -> bool:
        """Call the hooks that are due; whether one of them wants the run to stop."""
        due = [hook for hook in self.hooks if done or self.step % hook.every == 0]
        if not due:
            return False
        moment = Moment(
            step=self.step,
            examples=self.examples,
            seconds=self.seconds,
            fraction=self.fraction,
            model=self.model,
            averaged=self.average.sync,
            data=self.feed.data,
            ready=self.engine.ready,
            index=self.engine.index,
            rng=self.rng("hooks", self.step),
            log=self.log[-1] if self.log else {},
            training=self.training,
            verdicts=self.verdicts,
            main=self.engine.rank == 0,
            done=done,
        )
        before = len(self.verdicts)
        for hook in due:
            self.verdicts += hook(moment) or ()
        return any(verdict.level == "stop" for verdict in self.verdicts[before:])

    # --- the non-finite guard ---

    def sound(self) -> bool:
        """Look whether all is finite since the last look; if not, go back to the weights of then and say so."""
        if self._good_step == self.step:
            return True
        broken = self.ledger.gather()
        if broken is None and self._finite():
            torch._foreach_copy_(self._good, self._alive)
            self._good_step = self.step
            return True
        torch._foreach_copy_(self._alive, self._good)
        if broken is None:
            where, culprit = f"by step {self.step}", "the weights, though no loss was"
        else:
            where, culprit = f"at step {broken[0] + 1}", f"the loss of turn {broken[1]!r}"
        text = (
            f"not a finite number {where}: {culprit}. The weights of step {self._good_step} are kept;"
            " try a lower learning rate, clip=1.0 or precision='float32'"
        )
        self.verdicts.append(Verdict(name="non-finite", level="stop", text=text, step=self.step))
        self.step = self._good_step
        self.ledger.sums.clear()
        return False

    def _finite(self) -> bool:
        floats = [t for t in self._alive if t.is_floating_point()]
        bad = not bool(torch.stack(torch._foreach_norm(floats)).isfinite().all())
        return self.engine.agree(float(bad))[0] == 0.0

    # --- saving and going on ---

    def _tensors(self) -> dict[str, Tensor]:
        model = {f"model/{name}": t.detach() for name, t in named(self.model).items()}
        powers = {} if self.powers is None else self.powers.tensors()
        kept = [(i, hook) for i, hook in enumerate(self.hooks) if isinstance(hook, Keeping)]
        return {
            **model,
            **{f"average/{name}": t.detach() for name, t in self.average.kept.items()},
            **{f"posthoc/{name}": t for name, t in powers.items()},
            **{f"hooks/{i}/{name}": t for i, hook in kept for name, t in hook.tensors().items()},
        }

    def snapshot(self, before: float) -> bool:
        """Store the averages of which others are made later, where they are due; False where not all is sound.

        before  share of the budget that was done before the last step.
        """
        if self.powers is None or self.folder is None or not self.powers.due(before, self.fraction):
            return True
        if not self.sound():
            return False
        self.powers.store(self.folder, self.step, main=self.engine.rank == 0)
        return True

    def save(self) -> None:
        """Write everything a later sitting needs. The caller has seen that all is sound."""
        if self.folder is None:
            return
        if self.file is not None:
            self.file.sync()
        notes = {
            "seconds": self.seconds,
            "cpu_seconds": self.earlier_cpu + time.process_time() - self.began_cpu,
            "training": asdict(self.training),
            "data": self.feed.data.fingerprint,
            "sums": self.ledger.sums,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "hooks": [_memory(hook) for hook in self.hooks],
            **({} if self.private is None else {"private": self.private.seed}),
        }
        tensors = {**self._tensors(), **resume.optimiser_tensors(self.seats)}
        resume.save(self.folder, self.step, tensors, notes, self.engine)

    def begin(self, go_on: bool) -> None:
        """Take up the newest state of the run directory where there is one and it is asked for; open the log."""
        if self.folder is None:
            return
        state = resume.latest(self.folder)
        if state is not None and not go_on:
            raise ValueError(f"{self.folder} already holds a run; resume it, or choose another folder")
        if state is not None:
            notes = resume.load(state, self._tensors(), self.seats, self.engine)
            self._check(notes, state)
            self.step, self.seconds = notes["step"], notes["seconds"]
            self.earlier_cpu = notes.get("cpu_seconds", 0.0)  # runs written before 26 November 2026 did not count it
            if self.private is not None:
                self.private.seed = notes["private"]
            self.ledger.sums = {name: (value[0], value[1]) for name, value in notes["sums"].items()}
            self.verdicts = [Verdict(**verdict) for verdict in notes["verdicts"]]
            for hook, memory in zip(self.hooks, notes["hooks"], strict=False):
                if memory is not None and memory["of"] == type(hook).__name__:
                    hook.restore(memory["state"])  # pyright: ignore[reportAttributeAccessIssue]
            self.log = read_log(self.folder, self.step)
            torch._foreach_copy_(self._good, self._alive)
            self._good_step = self.step
        if self.powers is not None and self.engine.rank == 0:
            forget(self.folder, after=self.step)
        if self.engine.rank == 0:
            self.file = LogFile(self.folder, self.log)
        self.engine.wait()

    def _check(self, notes: dict[str, Any], state: Path) -> None:
        now = json.loads(json.dumps(asdict(self.training)))
        if self.private is None and notes["training"].get("private") is not None:
            raise ValueError(f"{state} was trained privately; a resumed run cannot leave that out")
        for name, value in notes["training"].items():
            # the noise was chosen for a number of steps
            planned = self.private is not None and name in ("steps", "examples")
            if (planned or name not in MAY_CHANGE) and now.get(name) != value:
                raise ValueError(
                    f"{state} was trained with {name}={value}; a resumed run cannot change it to {now[name]}"
                )
        if notes["data"] != self.feed.data.fingerprint:
            raise ValueError(
                f"{state} was trained on other data (fingerprint {notes['data'][:12]}, not"
                f" {self.feed.data.fingerprint[:12]}); give the same data, or fit anew"
            )


def _memory(hook: Hook) -> dict[str, Any] | None:
    state = getattr(hook, "state", None)
    return None if state is None else {"of": type(hook).__name__, "state": state()}
