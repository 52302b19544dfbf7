"""Dense networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn


def mlp(sizes: Sequence[int], *, activation: Callable[[], nn.Module] = nn.SiLU, bias: bool = True) -> nn.Sequential:
    """Linear layers of these sizes (input, hidden ..., output) with an activation between them.

    bias  whether the last layer has one; the others always do.
    """
    layers: list[nn.Module] = []
    for into, out in pairwise(sizes[:-1]):
        layers += [nn.Linear(into, out), activation()]
    return nn.Sequential(*layers, nn.Linear(*sizes[-2:], bias=bias))
