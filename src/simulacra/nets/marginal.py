"""How often each class occurs: what a class-conditional model learns by counting, and what it sums labels out with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from simulacra.core.batch import Data, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes


class LabelMarginal(nn.Module):
    """p(y) of finitely many classes, each counted once more than it was seen; without classes it holds nothing."""

    counts: Tensor

    def __init__(self, classes: Classes | None) -> None:
        super().__init__()
        self.classes = 0 if classes is None else len(classes)
        self.register_buffer("counts", torch.zeros(self.classes, dtype=torch.int64))

    def fit(self, data: Data) -> None:
        """Counts the labels of data; nothing where there are no classes."""
        if self.classes:
            self.counts.copy_(label_counts(data, self.classes))

    def log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,); ValueError where there are none."""
        if not self.classes:
            raise ValueError("this model knows no classes; fit data with labels")
        counts = self.counts.to(torch.get_default_dtype()) + 1
        return (counts / counts.sum()).log()

    def draw(self, n: int, rng: Rng) -> Tensor | None:
        """n labels, int64 (n,); None where there are no classes."""
        return rng.categorical(self.log_prob().expand(n, -1)) if self.classes else None

    def sum_out(self, score: Callable[[Tensor], Tensor], rows: int) -> Tensor:
        """log sum_y p(y) exp(score(y)), nats (rows,); score takes labels int64 (rows,), all of them the same."""
        one = torch.ones(rows, dtype=torch.int64, device=self.counts.device)
        nats = torch.stack([score(c * one) for c in range(self.classes)])
        return torch.logsumexp(nats + self.log_prob().to(nats)[:, None], dim=0)


def label_counts(data: Data, classes: int) -> Tensor:
    """How many examples each class has, int64 (classes,); ValueError for data without labels."""
    counts = torch.zeros(classes, dtype=torch.int64)
    parts = [torch.arange(len(data))] if isinstance(data, Stored) else torch.arange(len(data)).split(4096)
    for part in parts:
        # labels that are stored need no examples drawn beside them
        y = data.y if isinstance(data, Stored) else data.batch(part, Rng(0)).y
        if not isinstance(y, Tensor):
            raise ValueError(f"this model expects labels of {classes} classes; the data has none")
        counts += torch.bincount(y.cpu(), minlength=classes)
    return counts
