"""What monitors look with: examples as vectors, and how a fault that is seen becomes a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data
from simulacra.core.space import Categorical, Space
from simulacra.training.hooks import Moment, Verdict

EARLY = 0.1  # share of the budget in which a model may still look collapsed


class Suspicion:
    """Turns looks into verdicts: a fault counts when seen ``patience`` times in a row, and is told once."""

    def __init__(self, name: str, patience: int = 2) -> None:
        self.name, self.patience = name, patience
        self.seen, self.told, self.last = 0, False, ""

    def look(
        self, moment: Moment, bad: bool, fault: str, fine: str, measured: Sequence[Sequence[str]] = ()
    ) -> list[Verdict]:
        """What is to be said after a look; ``fault`` and ``fine`` say what was seen, each for its case."""
        self.seen = self.seen + 1 if bad else 0
        self.last = fault if bad else fine
        if self.seen >= self.patience and not self.told:
            self.told = True
            return [self.verdict(moment, "attention", fault, measured)]
        if self.told and not bad:
            self.told = False
            return [self.verdict(moment, "ok", f"over again: {fine}", measured)]
        return [self.verdict(moment, "ok", fine, measured)] if moment.done and not bad else []

    def verdict(
        self,
        moment: Moment,
        level: Literal["ok", "attention", "stop"],
        text: str,
        measured: Sequence[Sequence[str]] = (),
    ) -> Verdict:
        """Something said now."""
        return Verdict(name=self.name, level=level, text=text, step=moment.step, measured=measured)

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return {"seen": self.seen, "told": self.told, "last": self.last}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Remember what ``state`` gave."""
        self.seen, self.told, self.last = value["seen"], value["told"], value["last"]


class Remembering:
    """A monitor whose memory is its suspicion alone."""

    suspicion: Suspicion

    @property
    def healthy(self) -> bool:
        """Whether the last look found nothing wrong."""
        return not self.suspicion.seen

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return self.suspicion.state()

    def restore(self, value: Mapping[str, Any]) -> None:
        """Remember what ``state`` gave."""
        self.suspicion.restore(value)


def draw(data: Data, n: int, moment: Moment, name: str) -> Batch:
    """Up to n different examples, on the model's device and in its type."""
    index = moment.rng(name, "order").permutation(len(data))[:n]
    return moment.ready(data.batch(moment.index(index) if data is moment.data else index, moment.rng(name)))


def vectors(batch: Batch, space: Space) -> Tensor:
    """Examples as vectors, (b, size): numbers as they are over their field's scale, categories as indicators."""
    x: Mapping[str, Tensor] = batch.x if isinstance(batch.x, Mapping) else {next(iter(space.fields)): batch.x}
    parts: Sequence[Tensor] = [
        torch.nn.functional.one_hot(x[name].long(), f.k).reshape(len(x[name]), -1).float()
        if isinstance(f, Categorical)
        else (x[name].float() / f.scale).reshape(len(x[name]), -1)
        for name, f in space.fields.items()
    ]
    return torch.cat([*parts], 1).nan_to_num()


def distances(x: Tensor) -> tuple[float, float]:
    """Mean distance between two rows, and median distance from a row to its nearest other; (b, size), b > 1."""
    between = torch.cdist(x, x)
    mean = float(between.sum() / (len(x) * (len(x) - 1)))
    between.fill_diagonal_(math.inf)
    return mean, float(between.min(1).values.median())
