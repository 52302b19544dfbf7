"""Change an attribute of examples by moving their codes along a direction that labelled examples give."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.core.batch import Data, Values
from simulacra.core.capabilities import Codec, require
from simulacra.core.randomness import Rng
from simulacra.evaluation.extractors import batches
from simulacra.evaluation.likelihood import resting
from simulacra.uses.checks import check_examples, device_of, space_of

EXAMPLES = 2000  # looked at for a direction
STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)


@torch.no_grad()
def codes(model: object, data: Data, *, n: int = EXAMPLES, rng: Rng | int = 0) -> tuple[Tensor, Tensor]:
    """Codes (m, *latent) and labels int64 (m,) of at most n labelled examples.

    A model of classes encodes each example under its own class. ValueError for data without labels.
    """
    codec = require(model, Codec, "edit")
    conditional = space_of(model, "edit").y is not None
    found, labels = [], []
    with resting(model):
        for batch in batches(data, n, Rng.of(rng)("direction")):
            if not isinstance(batch.y, Tensor):
                raise ValueError(f"{data.name} has no labels to learn a direction from; expected data with classes")
            there = batch.to(device_of(model))
            found.append(codec.encode(there.x, **({"y": there.y} if conditional else {})).cpu())
            labels.append(batch.y.cpu())
    return torch.cat(found), torch.cat(labels)


def direction(z: Tensor, has: Tensor) -> Tensor:
    """Mean code of the examples that have an attribute, less that of those without (Larsen et al. 2016).

    z (n, *latent), has bool (n,). Strength 1 takes the mean of those without to the mean of those with it.
    ValueError where all or none have it.
    """
    if has.dtype != torch.bool or has.shape != z.shape[:1]:
        raise ValueError(f"has must be bool ({len(z)},), one a code; got {has.dtype} {tuple(has.shape)}")
    if not bool(has.any()) or bool(has.all()):
        raise ValueError(f"a direction needs examples with and without it; got {int(has.sum())} of {len(has)} with it")
    return z[has].mean(0) - z[~has].mean(0)


@torch.no_grad()
def edit(
    model: object,
    x: Values,
    towards: Tensor,
    *,
    strengths: tuple[float, ...] = STRENGTHS,
    y: Tensor | None = None,
) -> Tensor:
    """Each example's code moved by each strength times a direction (*latent), decoded: (n, strengths, *event).

    Strength 0 is the reconstruction. y: the class under which a model of classes encodes and decodes, int64 (n,).
    Raises ValueError for a model without ``encode`` and ``decode``, and examples that are not of its space.
    """
    codec = require(model, Codec, "edit")
    n = check_examples(space_of(model, "edit"), x)
    if not strengths:
        raise ValueError("a strip needs at least one strength; got none")
    if tuple(towards.shape) != codec.latent.only.shape:
        raise ValueError(f"a direction has the shape {codec.latent.only.shape} of a code; got {tuple(towards.shape)}")
    with resting(model):
        z = codec.encode(x, y=y)
        s = torch.tensor(strengths, dtype=z.dtype, device=z.device).reshape(1, -1, *[1] * towards.ndim)
        moved = (z[:, None] + s * towards.to(z)).flatten(0, 1)
        out = codec.decode(moved, y=None if y is None else y.repeat_interleave(len(strengths)))
    if not isinstance(out, Tensor):
        raise ValueError("edit shows examples of one field; this model's examples have several")
    return out.reshape(n, len(strengths), *out.shape[1:])


@torch.no_grad()
def exchange(model: object, x: Values, y: Tensor, to: Tensor) -> Tensor:
    """Each example's code under its class y decoded under another: the same hand, another digit; (n, *event)."""
    codec = require(model, Codec, "edit")
    check_examples(space_of(model, "edit"), x)
    with resting(model):
        out = codec.decode(codec.encode(x, y=y), y=to)
    if not isinstance(out, Tensor):
        raise ValueError("edit shows examples of one field; this model's examples have several")
    return out
