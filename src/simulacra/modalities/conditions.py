"""Pictures that models are given: read from files, and shown beside what is drawn for them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simulacra.core.space import Classes, Continuous, Space
from simulacra.modalities import archives, arrays, folders
from simulacra.modalities.reading import Item, Options


def picture_given(space: Space) -> Continuous | None:
    """The field of the picture that examples of a space are given; None where they are given something else."""
    y = space.y
    if y is None or isinstance(y, Classes) or y.layout != "grid" or not isinstance(y.only, Continuous):
        return None
    return y.only


def read_conditions(path: Path | str, space: Space) -> Tensor:
    """The pictures of a file, folder, archive or array as conditions of a space, (n, *y's shape).

    Files are turned grey or into colours, cropped about their centre and resized to what the space is given; an array
    must have that size. Raises ValueError for what cannot be read, and where the space is given no pictures.
    """
    path, field = Path(path), picture_given(space)
    if field is None:
        raise ValueError("this model is given no pictures; draw from it with sample, and --y")
    if not path.exists():
        raise ValueError(f"nothing at {path}; expected a picture, a folder or archive of them, or an array")
    c, h, w = field.shape
    if path.suffix in (".npy", ".npz"):
        found = arrays.read_arrays(path)
        values = found.get("x", next(iter(found.values())))
        pictures, _ = arrays.pictures_from(values, path.name, "nhwc" if values.shape[1:] == (h, w, c) else None)
        if pictures.shape[1:] != field.shape:
            raise ValueError(f"{path.name}: pictures of shape {pictures.shape[1:]}; expected {field.shape}")
    else:
        if path.is_dir():
            items = folders.items_of_folder(path)
        else:
            items = archives.items_of_archive(path) if archives.is_archive(path) else [Item(path.name, path.read_bytes)]
        read = folders.read_items(items, path.name, Options(size=(h, w), channels=c, skip=0.0))
        # subfolders named train and test are pictures like all the others here
        pictures = np.concatenate([part.pictures for part in (read.train, read.test) if part is not None])
    low, high = _ends(field, space)
    return torch.from_numpy(np.array(pictures)).to(torch.get_default_dtype()) * ((high - low) / 255) + low


def as_pictures(y: Tensor, space: Space) -> np.ndarray:
    """Conditions (n, *y's shape) as pictures of the examples' own size and channels, uint8 (n, h, w, c)."""
    field, (c, h, w) = picture_given(space), space.only.shape
    assert field is not None
    low, high = _ends(field, space)
    level = ((y.detach().cpu().double() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
    rows = torch.arange(h) * level.shape[2] // h
    columns = torch.arange(w) * level.shape[3] // w
    level = level[:, :, rows][..., columns]
    if level.shape[1] == 1:
        level = level.expand(-1, min(c, 3), -1, -1)
    if level.shape[1] < c:  # what has no transparency of its own is opaque
        level = torch.cat([level, torch.full_like(level[:, :1], 255)], dim=1)
    return level.permute(0, 2, 3, 1).contiguous().numpy()


def _ends(field: Continuous, space: Space) -> tuple[float, float]:
    """What black and white stand for: the field's own range, or where it has none that of the examples."""
    like = space.only
    if math.isinf(field.high - field.low) and isinstance(like, Continuous):
        return like.low, like.high
    return field.low, field.high
