"""Pass examples through a model's latent space and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import Codec, require


@torch.no_grad()
def reconstruct(model: object, x: Values, *, y: Values | None = None) -> Values:
    """The model's most typical example for the latent code of each x; same shape as x.

    Raises ValueError for a model without ``encode`` and ``decode``.
    """
    codec = require(model, Codec, "reconstruct")
    return codec.decode(codec.encode(x, y=y), y=y)


def error(x: Values, again: Values) -> Tensor:
    """Mean squared error of each example over all its elements, (b,), in the fields' own units."""
    pairs: list[tuple[Any, Any]] = (
        [(x, again)] if isinstance(x, Tensor) else [(x[n], again[n]) for n in x]  # type: ignore[index]
    )
    flat = [
        (a.double() - b.double()).flatten(1) if a.ndim > 1 else (a.double() - b.double())[:, None] for a, b in pairs
    ]
    return torch.cat(flat, dim=1).square().mean(1)
