"""Distances between records of numbers and categories, and the nearest of many."""

from __future__ import annotations

import torch
from torch import Tensor

CELLS = 1 << 22  # distances held at a time


def nearest_records(
    numbers: Tensor, codes: Tensor, other_numbers: Tensor, other_codes: Tensor, *, k: int = 1
) -> tuple[Tensor, Tensor]:
    """The k nearest of m records for each of n: distances (n, k), ascending, and their numbers int64 (n, k).

    numbers (n, p) on a scale from 0 to 1, no NaN; codes (n, q) whole numbers. The distance is the mean over columns of
    |difference| and of 1 where codes differ (Gower 1971), so it lies in 0 .. 1.
    """
    columns = numbers.shape[1] + codes.shape[1]
    if not columns or k > len(other_numbers):
        raise ValueError(f"expected columns and at least {k} records to search; got {columns} and {len(other_numbers)}")
    found: list[tuple[Tensor, Tensor]] = []
    step = max(1, CELLS // max(1, len(other_numbers)))
    for start in range(0, len(numbers), step):
        some, own = numbers[start : start + step], codes[start : start + step]
        apart = torch.cdist(some, other_numbers, p=1.0) if some.shape[1] else torch.zeros(len(some), len(other_numbers))
        for column in range(own.shape[1]):
            apart = apart + (own[:, column, None] != other_codes[None, :, column])
        nearest = apart.topk(k, dim=1, largest=False)
        found.append((nearest.values / columns, nearest.indices))
    return torch.cat([d for d, _ in found]), torch.cat([i for _, i in found])
