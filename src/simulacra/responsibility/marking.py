"""Marking a batch of pictures that a model has drawn; messages as people write them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.space import Space
from simulacra.modalities import images
from simulacra.modalities.samples import is_pictures
from simulacra.responsibility.keys import Key
from simulacra.responsibility.pixels import PixelMark


def bits_of(message: str) -> tuple[bool, ...]:
    """The bits of a message such as 1011; ValueError for anything else."""
    if set(message) - {"0", "1"}:
        raise ValueError(f"a message is bits, as 1011; got {message!r}")
    return tuple(bit == "1" for bit in message)


def marked(batch: Batch, space: Space, key: Key, *, message: tuple[bool, ...] = (), grid: bool = False) -> Batch:
    """The batch with the key's mark, and up to 16 bits of a message, in the pixels of every picture.

    grid  whether they are to be written into one picture: refused, since a mark belongs to a picture as a whole.

    Raises ValueError for examples that are no pictures of 256 levels, and for pictures too small to carry it.
    """
    if not is_pictures(space) or getattr(space.only, "levels", None) != 256:
        raise ValueError(
            f"a mark in pixels needs pictures of 256 levels; these are {space.measure or 'no pictures'}:"
            " leave --mark out"
        )
    if grid:
        raise ValueError("a mark belongs to one picture, not to a grid of many; write to a folder, .npy or .npz")
    assert isinstance(batch.x, Tensor)
    mark, pictures = PixelMark(key=key), images.to_uint8(batch.x, space)
    out = np.stack([mark.mark(picture, message) for picture in pictures])
    levels = torch.from_numpy(out.transpose(0, 3, 1, 2).copy())
    x = images.picture_field(space).value(levels.to(torch.get_default_dtype()))
    return replace(batch, x=x.to(batch.x))
