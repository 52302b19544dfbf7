"""Pictures as data: their space, uint8 levels in memory, the way there and back, and black-and-white versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space


def space(c: int, h: int, w: int, *, levels: int = 256, classes: Sequence[str] = ()) -> Space:
    """The space of pictures (c, h, w): one field "picture" in [-1, 1] on ``levels`` grey values."""
    names = {256: "8-bit pixels", 2: "binary pixels"}
    return Space(
        fields={"picture": Continuous(low=-1.0, high=1.0, levels=levels, shape=(c, h, w))},
        y=Classes(names=tuple(classes)) if len(classes) else None,
        measure=names.get(levels, f"{levels}-level pixels"),
    )


def picture_field(space: Space) -> Continuous:
    """The one field of a space of pictures; ValueError for any other space."""
    field = space.only
    if not isinstance(field, Continuous) or field.levels is None or len(field.shape) != 3:
        raise ValueError(f"expected a space of pictures (c, h, w) with levels; got {field}")
    return field


def stored(
    pictures: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    classes: Sequence[str] = (),
    levels: int = 256,
    name: str = "pictures",
) -> Stored:
    """Pictures (n, c, h, w) of uint8 levels 0 .. levels-1 as data, with labels (n,) of these classes if there are any.

    Raises ValueError for another dtype or shape, no pictures, values beyond the levels, and labels that do not fit.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4:
        raise ValueError(f"pictures must be uint8 (n, c, h, w); got {pictures.dtype} {pictures.shape}")
    if not len(pictures):
        raise ValueError(f"{name}: no pictures; expected at least one")
    if levels < 256 and int(pictures.max()) >= levels:
        raise ValueError(f"{name}: grey level {int(pictures.max())}; expected 0 .. {levels - 1}")
    y = None
    if labels is not None:
        check_labels(labels, len(pictures), len(classes), name)
        y = torch.from_numpy(labels.astype(np.int64))
    c, h, w = pictures.shape[1:]
    whole = pictures.flags.c_contiguous and pictures.flags.writeable  # torch holds no read-only memory
    return Stored(
        space=space(c, h, w, levels=levels, classes=classes if y is not None else ()),
        x=torch.from_numpy(pictures if whole else pictures.copy()),
        y=y,
        name=name,
    )


def check_labels(labels: np.ndarray, n: int, k: int, name: str) -> None:
    """ValueError unless labels are whole numbers 0 .. k-1, one a picture."""
    if labels.shape != (n,):
        raise ValueError(f"{name}: {labels.size} labels for {n} pictures; expected one a picture")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{name}: labels of type {labels.dtype}; expected whole numbers")
    if n and not (labels.min() >= 0 and labels.max() < k):
        raise ValueError(f"{name}: labels from {labels.min()} to {labels.max()}; expected 0 .. {k - 1}")


def to_uint8(x: Tensor, space: Space) -> np.ndarray:
    """Values of a space of pictures, (n, c, h, w) floats in [-1, 1], as uint8 0 .. 255 (n, h, w, c)."""
    field = picture_field(space)
    if tuple(x.shape[1:]) != field.shape:
        raise ValueError(f"expected pictures of shape {field.shape}; got {tuple(x.shape[1:])}")
    if not bool(x.isfinite().all()):
        raise ValueError("pictures must be finite to be shown; got NaN or infinity among them")
    level = field.index(x.detach().cpu().double()) * (255 / ((field.levels or 256) - 1))
    return level.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def dynamic_binarisation(data: Stored, *, name: str | None = None) -> Stored:
    """8-bit pictures drawn black and white afresh in every batch: white with probability the grey level.

    Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks", section 6.2; drawn anew
    each time as in Burda et al. 2016. The grey levels stay in ``x``; the space is that of the drawn pictures.
    """
    return replace(data, space=_binary(data), change=_draw_binary, name=name or f"{data.name}-binary", fingerprint="")


def fixed_binarisation(data: Stored, *, rng: Rng | int = 0, name: str | None = None) -> Stored:
    """8-bit pictures drawn black and white once: what a held-out set wants, so that its figures do not flicker."""
    assert isinstance(data.x, Tensor)
    white = Rng.of(rng)("binarise").bernoulli(data.x.float() / 255)
    return replace(
        data, space=_binary(data), x=white.to(torch.uint8), name=name or f"{data.name}-binary", fingerprint=""
    )


def threshold_binarisation(data: Stored, *, name: str | None = None) -> Stored:
    """8-bit pictures made black and white: white from level 128 on."""
    assert isinstance(data.x, Tensor)
    return replace(
        data,
        space=_binary(data),
        x=(data.x >= 128).to(torch.uint8),
        name=name or f"{data.name}-threshold",
        fingerprint="",
    )


def _binary(data: Stored) -> Space:
    field = picture_field(data.space)
    if field.levels != 256:
        raise ValueError(f"{data.name}: binarisation needs 256 grey levels; got {field.levels}")
    # mostly black pictures are far from zero mean: networks that see them centred learn faster
    assert isinstance(data.x, Tensor)
    white = min(max(float(data.x.double().mean()) / 255, 0.01), 0.99)
    fitted = replace(field, levels=2, centre=2 * white - 1, scale=2 * (white * (1 - white)) ** 0.5)
    return replace(data.space, fields={"picture": fitted}, measure="binary pixels")


def _draw_binary(batch: Batch, rng: Rng) -> Batch:
    # the stored grey levels 0 .. 255 arrive decoded with the spacing of the two-level space: 2 level - 1
    assert isinstance(batch.x, Tensor)
    white = rng("binarise").bernoulli((batch.x + 1) / 510)
    return replace(batch, x=white.to(batch.x.dtype) * 2 - 1)
