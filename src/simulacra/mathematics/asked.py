"""How often each category of a column is asked for while a conditional generator learns, by how often it occurs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Wanted = Callable[[Tensor], Tensor]
"""(counts int64 (k,)) -> weights (k,) of the categories, 0 for those that never occur."""


def logarithmic(counts: Tensor) -> Tensor:
    """log(1 + count): Xu et al. 2019, section 4.3."""
    return torch.log1p(counts.to(torch.get_default_dtype()))


def as_they_occur(counts: Tensor) -> Tensor:
    """The counts themselves: every row as likely as every other."""
    return counts.to(torch.get_default_dtype())
