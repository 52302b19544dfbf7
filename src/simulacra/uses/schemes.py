"""How a model's examples become symbols of known probability: walking along them, or bits-back (``uses.bits_back``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from simulacra.core.capabilities import Codec, Factorised, Stepwise, require
from simulacra.core.randomness import Rng
from simulacra.mathematics.coding import Stack, Whole, finder, of_symbols, shares
from simulacra.uses.arithmetic import PROBE, Rounding
from simulacra.uses.bits_back import BitsBack
from simulacra.uses.checks import device_of

PROBED = 128  # elements of a walk whose probabilities the probe looks at

# (shares (b, k) of the next element's values, its place in x) -> what it is, (b,)
Choose = Callable[[Whole, int], Whole]


@runtime_checkable
class Scheme(Protocol):
    """Pushes examples onto a stack, a batch at a time, and pops them again.

    ramp  0, or how many examples there must be already for each one of a batch: popping codes takes what is written.
    """

    name: str
    ramp: int

    def push(self, stack: Stack, number: int, x: Whole, y: Whole | None) -> None:
        """x (b, size) as ``to_indices`` numbers them, y (b,); number: of the batch."""
        ...

    def pop(self, stack: Stack, number: int, b: int, y: Whole | None) -> Whole: ...

    def probe(self, b: int, y: Whole | None) -> list[Whole]:
        """The whole numbers that a fixed input comes to."""
        ...


def plan_of(model: object, x: Whole, y: Whole | None) -> dict[str, Any]:
    """What of a scheme depends on the data, found in the first examples of a file; JSON for its header."""
    if isinstance(model, Stepwise):
        return {}
    codec = require(model, Codec, "compress")
    return BitsBack.plan(codec, require(model, Factorised, "compress"), x, y)


def scheme_of(model: object, rounding: Rounding, plan: Mapping[str, Any]) -> Scheme:
    """How a model codes: walking where it can, which is exact, otherwise bits-back."""
    if isinstance(model, Stepwise):
        return Walking(model, rounding)
    codec = require(model, Codec, "compress")
    return BitsBack(codec, require(model, Factorised, "compress"), rounding, plan)


class Walking:
    """Element after element, in the model's own order."""

    name = "walk"
    ramp = 0

    def __init__(self, model: Stepwise, rounding: Rounding) -> None:
        self.model, self.rounding = model, rounding
        self.device = device_of(model)

    def along(self, number: int, b: int, y: Whole | None, choose: Choose) -> Whole:
        """Examples (b, size) whose elements are chosen one after another, in the order of the walk."""
        walk = self.model.walk(b, y=self._tensor(y))
        order = walk.order.tolist()
        x = np.empty((b, len(order)), np.int64)
        for step, place in enumerate(order):
            count = shares(self.rounding.log_probs(walk.log_probs(), number, step))
            x[:, place] = choose(count, place)
            walk.take(torch.from_numpy(x[:, place].copy()).to(self.device))
        return x

    def push(self, stack: Stack, number: int, x: Whole, y: Whole | None) -> None:
        steps: list[tuple[Whole, Whole]] = []

        def choose(count: Whole, place: int) -> Whole:
            steps.append(of_symbols(count, x[:, place]))
            return x[:, place]

        self.along(number, len(x), y, choose)
        for start, count in reversed(steps):  # the first element comes off the stack first
            stack.push(start, count)

    def pop(self, stack: Stack, number: int, b: int, y: Whole | None) -> Whole:
        return self.along(number, b, y, lambda count, place: stack.pop(b, finder(count)))

    def probe(self, b: int, y: Whole | None) -> list[Whole]:
        walk = self.model.walk(b, y=self._tensor(y))
        found: list[Whole] = []
        for step in range(min(PROBED, len(walk.order))):
            log_probs = walk.log_probs()
            found.append(shares(self.rounding.log_probs(log_probs, PROBE, 1 + step)))
            u = Rng(0)("probe", step).uniform((b,), dtype=torch.float64)
            walk.take((u * log_probs.shape[1]).long().to(log_probs.device))
        return found

    def _tensor(self, y: Whole | None) -> Tensor | None:
        return None if y is None else torch.from_numpy(y).to(self.device)
