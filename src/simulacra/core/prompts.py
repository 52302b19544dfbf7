"""What a sequence begins with, and the steps that decide the rest of it, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What rows begin with: tokens int64 (n, t), of which the first ``length`` (n,) of each row count; None: all."""

    tokens: Tensor
    length: Tensor | None = None

    def lengths(self) -> Tensor:
        """The lengths, int64 (n,)."""
        t = self.tokens
        return torch.full((len(t),), t.shape[1], device=t.device) if self.length is None else self.length.to(t.device)


@runtime_checkable
class Steps(Protocol):
    """n rows of tokens that are decided one after another."""

    def log_probs(self) -> Tensor:
        """Nats (n, outputs) of what comes next in each row, normalised."""
        ...

    def take(self, token: Tensor) -> None:
        """Decides the next token of each row, int64 (n,)."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows, int64 (m,), in this order; a row may be kept several times."""
        ...


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What was drawn or found.

    tokens    int64 (n, t), 0 beyond a row's length.
    length    int64 (n,), an end not counted.
    log_prob  nats (n,), of all decisions of a row, an end included: by the distribution that was drawn from.
    ended     bool (n,), whether an end was drawn; False where the number of tokens ended it.
    """

    tokens: Tensor
    length: Tensor
    log_prob: Tensor
    ended: Tensor
