"""The two ways a model codes examples: walking along them, and bits-back."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from simulacra.core.batch import Batch
from simulacra.core.capabilities import Codec, Factorised, Stepwise, require
from simulacra.core.indices import choices, from_indices
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics import coding
from simulacra.mathematics.coding import CODE_BITS, NORMAL_BITS, NormalBins, Stack, Whole, finder, of_symbols, shares
from simulacra.uses.arithmetic import Rounding
from simulacra.uses.checks import device_of, space_of

AT_ONCE = 1 << 22  # probabilities held at a time
PROBED = 128  # elements of a walk whose probabilities the probe looks at
PROBE = -1  # the number of the batch that is none: the probe's, and the labels'
RAMP = 4  # bits-back begins with batches of at most a quarter of what is written: their codes' bits come from there


@runtime_checkable
class Scheme(Protocol):
    """Pushes examples onto a stack, a batch at a time, and pops them again."""

    name: str
    ramp: int

    def push(self, stack: Stack, number: int, x: Whole, y: Tensor | None) -> None:
        """x (b, size) as ``to_indices`` numbers them; y int64 (b,) on the model's device."""
        ...

    def pop(self, stack: Stack, number: int, b: int, y: Tensor | None) -> Whole: ...

    def probe(self, b: int, y: Tensor | None) -> list[Whole]:
        """The whole numbers that a fixed input comes to."""
        ...


def scheme_of(model: object, rounding: Rounding) -> Scheme:
    """How a model codes: walking where it can, which is exact, otherwise bits-back."""
    if isinstance(model, Stepwise):
        return Walking(model, rounding)
    codec = require(model, Codec, "compress")
    return BitsBack(codec, require(model, Factorised, "compress"), rounding)


class Walking:
    """Element after element, in the model's own order."""

    name = "walk"
    ramp = 0

    def __init__(self, model: Stepwise, rounding: Rounding) -> None:
        self.model, self.rounding = model, rounding

    def push(self, stack: Stack, number: int, x: Whole, y: Tensor | None) -> None:
        walk = self.model.walk(len(x), y=y)
        steps: list[tuple[Whole, Whole]] = []
        for step, place in enumerate(walk.order.tolist()):
            symbol = x[:, place]
            count = shares(self.rounding.log_probs(walk.log_probs(), number, step))
            steps.append(of_symbols(count, symbol))
            walk.take(self._tensor(symbol))
        for start, count in reversed(steps):  # the first element comes off the stack first
            stack.push(start, count)

    def pop(self, stack: Stack, number: int, b: int, y: Tensor | None) -> Whole:
        walk = self.model.walk(b, y=y)
        order = walk.order.tolist()
        x = np.empty((b, len(order)), np.int64)
        for step, place in enumerate(order):
            count = shares(self.rounding.log_probs(walk.log_probs(), number, step))
            x[:, place] = stack.pop(b, finder(count))
            walk.take(self._tensor(x[:, place]))
        return x

    def probe(self, b: int, y: Tensor | None) -> list[Whole]:
        walk = self.model.walk(b, y=y)
        found: list[Whole] = []
        for step in range(min(PROBED, len(walk.order))):
            log_probs = walk.log_probs()
            found.append(shares(self.rounding.log_probs(log_probs, PROBE, 1 + step)))
            u = Rng(0)("probe", step).uniform((b,), dtype=torch.float64)
            walk.take((u * log_probs.shape[1]).long().to(log_probs.device))
        return found

    def _tensor(self, symbol: Whole) -> Tensor:
        return torch.from_numpy(symbol.copy()).to(device_of(self.model))


class BitsBack:
    """A code from q(z | x) off the stack, the example given the code onto it, then the code as the prior has it."""

    name = "bits-back"
    ramp = RAMP

    def __init__(self, codec: Codec, factorised: Factorised, rounding: Rounding) -> None:
        self.codec, self.factorised, self.rounding = codec, factorised, rounding
        self.space = space_of(codec, "compress")
        self.shape = codec.latent.only.shape

    def push(self, stack: Stack, number: int, x: Whole, y: Tensor | None) -> None:
        q = self._posterior(x, y, number)
        code = stack.pop(len(q.mean), q.find, NORMAL_BITS)
        for rows, count in self._values(code, y, number):
            stack.push(*of_symbols(count, x.reshape(-1)[rows]))
        stack.push(code, np.ones_like(code), CODE_BITS)

    def pop(self, stack: Stack, number: int, b: int, y: Tensor | None) -> Whole:
        code = stack.pop(b * self.codec.latent.size, _same, CODE_BITS)
        x = np.empty(b * self.space.size, np.int64)
        for rows, count in reversed(list(self._values(code, y, number))):
            x[rows] = stack.pop(len(count), finder(count))
        x = x.reshape(b, -1)
        stack.push(*self._posterior(x, y, number).of_symbols(code), NORMAL_BITS)
        return x

    def probe(self, b: int, y: Tensor | None) -> list[Whole]:
        rng = Rng(0)("probe")
        code = rng("z").integers(1 << CODE_BITS, (b, self.codec.latent.size)).numpy().reshape(-1)
        u = rng("x").uniform((b, self.space.size), dtype=torch.float64).numpy()
        x = np.floor(u * _each_choices(self.space)).astype(np.int64)
        q = self._posterior(x, y, PROBE)
        return [q.mean, q.log_scale, *(count for _, count in self._values(code, y, PROBE))]

    def _posterior(self, x: Whole, y: Tensor | None, number: int) -> NormalBins:
        values = Batch(x=from_indices(self.space, torch.from_numpy(x))).to(device_of(self.codec)).x
        q = self.codec.posterior(values, y=y)
        normal = q.base_dist if isinstance(q, Independent) else q
        if not isinstance(normal, Normal):
            raise ValueError(f"bits-back needs a normal posterior; {type(self.codec).__name__} gives a {normal}")
        mean = self.rounding.means(normal.mean.flatten(), number, 1)
        return NormalBins(mean, self.rounding.log_scales(normal.stddev.flatten(), number, 2))

    def _values(self, code: Whole, y: Tensor | None, number: int) -> list[tuple[slice, Whole]]:
        """Shares of every element's values given codes, in pieces of what is held at a time."""
        like = next(self.codec.parameters(), None) if isinstance(self.codec, nn.Module) else None
        z = torch.from_numpy(coding.centres(code)).reshape(-1, *self.shape)
        z = z.to(torch.get_default_dtype()) if like is None else z.to(like)
        log_probs = self.factorised.choice_log_probs(z, y=y).flatten(0, 1)
        at_once = max(1, AT_ONCE // log_probs.shape[1])
        pieces = [slice(i, min(i + at_once, len(log_probs))) for i in range(0, len(log_probs), at_once)]
        return [(p, shares(self.rounding.log_probs(log_probs[p], number, 3 + i))) for i, p in enumerate(pieces)]


def _same(piece: slice, slot: Whole) -> tuple[Whole, Whole, Whole]:
    """Bins that all have one share: the slot is the bin."""
    return slot, slot, np.ones_like(slot)


def _each_choices(space: Space) -> Whole:
    return np.concatenate([np.full(int(np.prod(f.shape)), choices(f)) for f in space.fields.values()])
