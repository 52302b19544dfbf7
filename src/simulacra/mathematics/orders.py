"""Orders in which the columns of a table are decided, one for each example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.randomness import Rng

Orders = Callable[[int, int, Rng, torch.device], Tensor]
"""(examples, columns, rng, device) -> ranks (b, columns) in [0, 1): columns are decided by rising rank."""


def as_they_stand(n: int, columns: int, rng: Rng, device: torch.device) -> Tensor:
    """The first column first."""
    return (torch.arange(columns, device=device) / columns).expand(n, -1)


def any_order(n: int, columns: int, rng: Rng, device: torch.device) -> Tensor:
    """Every order as likely as every other: Uria et al. 2014, section 3."""
    return rng.uniform((n, columns), device=device)


@dataclass(frozen=True, kw_only=True)
class Mostly:
    """A share of the examples in the order the columns stand, the others in any."""

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share lies in [0, 1]; got {self.share}")

    def __call__(self, n: int, columns: int, rng: Rng, device: torch.device) -> Tensor:
        straight = rng("straight").uniform((n, 1), device=device) < self.share
        ranks = any_order(n, columns, rng("any"), device)
        return torch.where(straight, as_they_stand(n, columns, rng, device).to(ranks), ranks)


def sequence(ranks: Tensor, first: Tensor) -> Tensor:
    """int64 (b, columns): each example's columns one after another, those that are ``first``, bool, before others."""
    return (ranks + 2 * (~first).to(ranks.dtype)).argsort(dim=1, stable=True)


def standing(first: Tensor, then: int | None = None) -> Tensor:
    """The columns as they stand, first those that are ``first``, bool (b, columns), next the column ``then``."""
    n, columns = first.shape
    ranks = as_they_stand(n, columns, Rng(0), first.device)
    if then is not None:
        ranks = ranks.clone()
        ranks[:, then] = -0.5
    return sequence(ranks, first)
