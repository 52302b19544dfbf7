"""The one loop: players take turns, and it never asks which model they make up."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from simulacra.core.batch import Data
from simulacra.core.capabilities import Fitter, Learner
from simulacra.core.checkpoint import told
from simulacra.training import resume as going_on
from simulacra.training.engine import Distribute, Engine, replicate
from simulacra.training.hooks import Hook, Verdict
from simulacra.training.session import Session
from simulacra.training.settings import Training

Ended = Literal["budget", "interrupted", "stopped"]


@dataclass(kw_only=True)
class Trained:
    """What a run came to.

    model     with its last weights; averaged, a copy with the moving averages of its averaged players: use this one.
              Both are in evaluation mode.
    seconds   of training, over all sittings; earlier_cpu, processor seconds of the sittings before this one.
    private   what a private run has given away: "epsilon", "delta" ... (``training.private``); empty for any other.
    ended     "budget": all of it is used up; "interrupted": by Ctrl-C, it can go on; "stopped": by a verdict.
    """

    model: Any
    averaged: Any
    steps: int = 0
    examples: int = 0
    seconds: float = 0.0
    earlier_cpu: float = 0.0
    log: list[dict[str, int | float]] = field(default_factory=list)
    private: Mapping[str, float] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    ended: Ended = "budget"

    @property
    def interrupted(self) -> bool:
        """Whether the run was ended by Ctrl-C, before its budget."""
        return self.ended == "interrupted"


def closed_form(model: Any, data: Data) -> None:
    """What is learnt before the first step: a Fitter's ``fit``."""
    if isinstance(model, Fitter):
        model.fit(data)


def train(
    model: Any,
    data: Data,
    training: Training,
    *,
    hooks: Sequence[Hook] = (),
    folder: Path | str | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
    distribute: Distribute = replicate,
    begin: Callable[[Any, Data], None] = closed_form,
) -> Trained:
    """Train a model, in place, on data: fit what is learnt in closed form, then take turns until a budget is used up.

    model       a Learner, a Fitter or both.
    hooks       called as the run goes on (``training.hooks``): monitors, progress bars, sample grids.
    folder      where log and resume checkpoints go; None keeps everything in memory.
    resume      go on from the newest checkpoint in ``folder``; without one, begin.
    device      None takes the accelerator where there is one.
    distribute  with several processes (``torchrun``): ``engine.replicate`` or ``engine.shard``.
    begin       what is done with model and data before the first step, and not again where a run is resumed; left out
                of a private run, as it sees every example without noise.

    Raises ValueError for a model that cannot be trained, a folder that is in use, holds a run already, cannot be
    written to or holds another model's run; the last good checkpoint survives.
    """
    if not isinstance(model, (Learner, Fitter)):
        raise ValueError(f"{type(model).__name__} cannot be trained: it has neither players and turns nor fit(data)")
    engine = Engine(device=device, precision=training.precision, distribute=distribute)
    home = None if folder is None else Path(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(engine.defaults())
        if home is not None and engine.rank == 0:
            with told(f"make {home}"):
                home.mkdir(parents=True, exist_ok=True)
            stack.enter_context(going_on.lock(home))
        engine.wait()
        # what was learnt in closed form lies in the model's buffers, so a resumed run has it
        began = time.perf_counter()
        if training.private is not None:
            # what is measured or counted of the data has no noise: it stays as the model begins
            if not isinstance(model, Learner):
                raise ValueError(
                    f"{type(model).__name__} learns in closed form, which is not private;"
                    " choose a family that learns by steps, or leave private (--epsilon) out"
                )
        elif not (resume and home and going_on.latest(home)):
            begin(model, data)
        if not isinstance(model, Learner):
            return Trained(model=model, averaged=model, seconds=time.perf_counter() - began)
        session = Session(model, data, training, hooks=hooks, engine=engine, folder=home)
        session.begin(resume)
        return _finish(session, _steps(session, stack.enter_context(_interrupts())))


class Clock:
    """Seconds trained and whether to stop, the same in all processes: they agree about five times a second."""

    def __init__(self, session: Session) -> None:
        self.session, self.before, self.start = session, session.seconds, time.perf_counter()
        self.next, self.last = session.step, (session.step, session.seconds)

    def look(self, stop: int) -> tuple[float, int]:
        """(seconds over all sittings, the largest ``stop`` any process has), as of the last agreement."""
        session = self.session
        seconds = self.before + time.perf_counter() - self.start
        if session.engine.processes == 1:
            return seconds, stop
        if session.step < self.next:
            return session.seconds, 0
        seconds, agreed = session.engine.agree(seconds, float(stop))
        pace = (seconds - self.last[1]) / max(session.step - self.last[0], 1)
        self.next = session.step + max(1, min(1000, int(0.2 / max(pace, 1e-9))))
        self.last = (session.step, seconds)
        return seconds, int(agreed)


INTERRUPT, STOP = 1, 2


def _steps(session: Session, interrupted: threading.Event) -> Ended:
    """Step until a budget is used up, somebody interrupts or a verdict stops the run."""
    training, clock, wants = session.training, Clock(session), 0
    for module in session.modules:
        module.train()
    session.fraction = training.fraction(session.step, session.seconds)
    saved, agreed = session.seconds, 0
    while session.fraction < 1 and not agreed:
        session.advance()
        wants |= INTERRUPT if interrupted.is_set() else 0
        session.seconds, agreed = clock.look(wants)
        before, session.fraction = session.fraction, training.fraction(session.step, session.seconds)
        last = session.fraction >= 1
        if not session.snapshot(before):
            session.tell(done=True)
            return "stopped"
        if session.step % training.log_every == 0 or last:
            if not session.sound():
                session.tell(done=True)
                return "stopped"
            session.write_row()
        if session.hooks and session.tell(done=last or agreed != 0):
            wants |= STOP
            # with several processes the next agreement says it
            agreed = wants if session.engine.processes == 1 else agreed
        due = training.save_seconds is not None and session.seconds - saved >= training.save_seconds
        if session.folder is not None and (due or last or agreed):
            if not session.sound():
                session.tell(done=True)
                return "stopped"
            session.save()
            saved = session.seconds
    return "budget" if session.fraction >= 1 else "interrupted" if agreed == INTERRUPT else "stopped"


def _finish(session: Session, ended: Ended) -> Trained:
    for seat in session.seats.values():
        seat.activate(True)
        for parameter in seat.parameters:
            parameter.grad = None
    for module in session.modules:
        module.eval()
    return Trained(
        model=session.model,
        averaged=session.average.sync(),
        steps=session.step,
        examples=session.examples,
        seconds=session.seconds,
        earlier_cpu=session.earlier_cpu,
        log=session.log,
        verdicts=session.verdicts,
        private={} if session.private is None else session.private.spent(session.step),
        ended=ended,
    )


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Within it, the first Ctrl-C (or SIGTERM) only sets the event; a second one is the usual KeyboardInterrupt."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(number, before[number] or signal.SIG_DFL)

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
