"""What the loop tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from simulacra.core.batch import Batch, Data
from simulacra.core.randomness import Rng
from simulacra.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a monitor has to say, in plain words.

    name   of the monitor: "divergence", "mode collapse" ...
    level  "ok"; "attention": somebody should look; "stop": going on is a waste, the run ends.
    measured  what it rests on, in words: (what, how much, from where on it is a fault or what it is worth).
    """

    name: str
    level: Literal["ok", "attention", "stop"]
    text: str
    step: int
    measured: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        # what comes back from JSON is the same
        object.__setattr__(self, "measured", tuple(tuple(row) for row in self.measured))


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A run after a step.

    step, examples, seconds  done so far, over all sittings of a resumed run.
    fraction  share of the budget used up, 0 .. 1.
    model     with its present weights; averaged() is a copy in evaluation mode that carries the moving averages.
    data      what it learns from, wherever the run keeps it: data.batch(index(numbers), rng) draws from it.
    ready     a batch of other data -> the same on the run's device, in its type.
    rng       a stream of this step's own.
    log       last row of the log; empty before the first.
    main      whether this process is the one that writes.
    verdicts  all there were; it grows as hooks speak.
    done      whether this was the last step of this sitting.
    """

    step: int
    examples: int
    seconds: float
    fraction: float
    model: Any
    averaged: Callable[[], Any]
    data: Data
    ready: Callable[[Batch], Batch]
    index: Callable[[Tensor], Tensor]
    rng: Rng
    log: Mapping[str, int | float]
    training: Training
    verdicts: Sequence[Verdict]
    main: bool
    done: bool


@runtime_checkable
class Hook(Protocol):
    """Called after every step that is a multiple of ``every``, and after the last; what it returns is made known.

    A hook with memory may have ``state() -> JSON value`` and ``restore(value)``: then it survives a resume.
    """

    every: int

    def __call__(self, moment: Moment) -> Sequence[Verdict] | None: ...


@runtime_checkable
class Keeping(Protocol):
    """A hook that keeps tensors, saved with the resume checkpoint and read back in place."""

    def tensors(self) -> Mapping[str, Tensor]: ...
