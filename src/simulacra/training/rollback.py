"""Going back to the last healthy weights when a monitor speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from simulacra.training.hooks import Hook, Moment, Verdict
from simulacra.training.looks import Suspicion
from simulacra.training.state import named


class Watch(Hook, Protocol):
    """A monitor that knows whether it was content when it last looked."""

    suspicion: Suspicion

    @property
    def healthy(self) -> bool: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, value: Mapping[str, Any]) -> None: ...


class Rollback:
    """A monitor after whose word the model goes back to its weights of the last look at which all was well.

    Give it to ``train`` in the monitor's place: ``Rollback(model, ModeCollapse(every=100))``. All parameters, buffers
    and averages go back; the optimisers' moments and the step stay, so that other batches come and it is not the same
    path again. The weights are part of the resume checkpoint. Needs the memory of two more models, not sharded.

    most  times it goes back in a run: a model that falls ill again and again is left to the reader of the verdicts.
    """

    def __init__(self, model: Any, watch: Watch, *, most: int = 3) -> None:
        self.watch, self.every, self.most = watch, watch.every, most
        self.kept = {name: t.detach().clone() for name, t in named(model).items()}
        self.averages = {name: t.clone() for name, t in self.kept.items()}
        self.step, self.times = 0, 0

    @torch.no_grad()
    def __call__(self, moment: Moment) -> list[Verdict]:
        said = list(self.watch(moment) or ())
        now, averages = named(moment.model), named(moment.averaged())
        if any(v.level == "attention" for v in said) and self.times < self.most and not moment.done:
            _copy(self.kept, now)
            _copy(self.averages, averages)
            self.times += 1
            self.watch.suspicion.told, self.watch.suspicion.seen = False, 0
            text = f"back to the weights of step {self.step}, where all was well ({self.times} of at most {self.most})"
            said.append(Verdict(name="rollback", level="attention", text=text, step=moment.step))
        elif self.watch.healthy:
            _copy(now, self.kept)
            _copy(averages, self.averages)
            self.step = moment.step
        return said

    def tensors(self) -> dict[str, Tensor]:
        """What it keeps, saved with the resume checkpoint."""
        return {
            f"{part}/{n}": t for part, of in (("kept", self.kept), ("average", self.averages)) for n, t in of.items()
        }

    def state(self) -> dict[str, Any]:
        """What it remembers beside them."""
        return {"watch": self.watch.state(), "step": self.step, "times": self.times}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Remember what ``state`` gave."""
        self.watch.restore(value["watch"])
        self.step, self.times = value["step"], value["times"]


def _copy(source: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    for name, t in into.items():
        t.copy_(source[name])
