"""Which examples a step sees: a stateless function of (seed, step), so a resumed run needs no loader's state."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Data
from simulacra.core.randomness import Rng
from simulacra.training.engine import Engine
from simulacra.training.settings import Training


class Feed:
    """The batches of a run: each epoch a new order of all examples, batches running on from one epoch into the next."""

    def __init__(self, data: Data, training: Training, engine: Engine) -> None:
        if len(data) == 0:
            raise ValueError(f"{data.name} holds no examples; training needs at least one")
        parts = engine.processes * training.accumulate
        if training.batch % parts:
            raise ValueError(
                f"batch must be a multiple of processes x accumulate = {parts}; got {training.batch};"
                f" take batch={max(training.batch // parts, 1) * parts}"
            )
        self.data, self.engine, self.batch = engine.place(data), engine, training.batch
        self.share = training.batch // parts
        self.first = engine.rank * training.accumulate * self.share
        self.accumulate = training.accumulate
        self.rng = Rng(training.seed)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def numbers(self, first: int, count: int) -> Tensor:
        """The examples at positions first .. first + count - 1 of the endless run of epochs, int64 (count,)."""
        pieces, n = [], len(self.data)
        while count > 0:
            epoch, at = divmod(first, n)
            if epoch != self._epoch:
                self._epoch, self._order = epoch, self.engine.index(self.rng("order", epoch).permutation(n))
            pieces.append(self._order[at : at + count])
            first, count = first + len(pieces[-1]), count - len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def parts(self, step: int) -> Iterator[tuple[int, Batch]]:
        """This process's share of a step's batch in parts: (number of the part's first row in the batch, part)."""
        draw = self.rng("data", step)
        for part in range(self.accumulate):
            first = self.first + part * self.share
            index = self.numbers(step * self.batch + first, self.share)
            yield first, self.engine.ready(self.data.batch(index, draw.rows(first)))
