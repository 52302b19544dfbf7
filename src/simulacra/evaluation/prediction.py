"""What samples of sequences are good for: n-grams learn from them and predict real ones (the task of ``tasks`` where
examples have no labels). Text, music and molecules alike, as the tokens that a model learns.

    real on real      bits a held-out example costs after learning from real ones: what the task gives at best
    samples on real   the same after learning from as many samples: whether they can stand in for data
    both on real      after learning from both: whether samples add to data

It is a task, and no likelihood of the model: n-grams see the last few tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from simulacra.core.batch import Batch
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.tasks import LEAST
from simulacra.mathematics.backoff import Backoff
from simulacra.mathematics.significance import paired_bootstrap

ORDER = 6  # tokens that n-grams see, the predicted one among them

Tokens = Sequence[Sequence[int]]


def token_rows(batch: Batch, end: int) -> list[list[int]]:
    """The tokens of each example; where examples differ in length, with ``end`` after each, whose place is predicted
    too. ValueError for examples that are no tokens.
    """
    x = batch.x
    if not isinstance(x, torch.Tensor) or x.dim() != 2 or x.is_floating_point():
        raise ValueError("next tokens are predicted for sequences of tokens; leave --tasks out")
    rows: list[list[int]] = x.tolist()
    if batch.length is None:
        return rows
    return [[*row[:n], end] for row, n in zip(rows, batch.length.tolist(), strict=True)]


def prediction(
    fake: Tokens, train: Tokens, held: Tokens, *, k: int, order: int = ORDER, rng: Rng | int = 0
) -> list[Figure]:
    """Bits a held-out example costs by what n-grams learnt from, and what samples save beside data, paired.

    fake, train  equally many are learnt from: the fewer of the two.
    k            tokens there are, the end among them.
    ValueError for fewer than 20 sequences on a side.
    """
    for side, some in (("samples", fake), ("training examples", train), ("held-out examples", held)):
        if len(some) < LEAST:
            raise ValueError(f"a task needs at least {LEAST} sequences; there are {len(some)} {side}")
    stream, n = Rng.of(rng), min(len(fake), len(train))
    fake, train = fake[:n], train[:n]

    def figure(
        name: str, value: float, direction: Literal["lower", "higher", "neither"], interval: intervals.Interval,
        note: str,
    ) -> Figure:  # fmt: skip
        return Figure(
            name=name,
            value=value,
            direction=direction,
            unit="bits an example",
            n=len(held),
            interval=interval.bounds,
            interval_method=interval.method,
            level=intervals.LEVEL,
            seed=stream.seed,
            note=note,
        )

    learnt: dict[str, tuple[Tokens, Literal["lower", "neither"]]] = {
        "real": (train, "neither"),
        "samples": (fake, "lower"),
        "both": ([*train, *fake], "lower"),
    }
    bits = {name: torch.from_numpy(Backoff(some, k=k, order=order).bits(held)) for name, (some, _) in learnt.items()}
    mean = float(np.mean([len(row) for row in held]))
    figures = [
        figure(
            f"next token, {name} on real",
            float(bits[name].mean()),
            direction,
            intervals.of_mean(bits[name]),
            f"{order}-grams learnt from {len(some):,}; of {mean:.4g} tokens on average",
        )
        for name, (some, direction) in learnt.items()
    ]
    gain = paired_bootstrap(bits["real"] - bits["both"], rng=stream("gain"))
    interval = intervals.Interval(bounds=gain.interval, method="paired bootstrap, of these two counts")
    note = f"p = {gain.p:.2g}; {n:,} samples beside {n:,} real examples"
    return [*figures, figure("bits saved by samples", gain.value, "higher", interval, note)]
