"""Pictures a person can look at: grids, strips, pairs side by side, and training as a GIF.

Everything here takes pictures as ``images.to_uint8`` gives them, uint8 (n, h, w, c), and returns a PIL image.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SEEN_FROM = 56  # pixels: a smaller picture is enlarged at least to this side, by whole factors, without blurring
GAP = 2  # pixels between pictures
PAPER = 255  # white, like the report's page, between images side by side


def grid(
    pictures: np.ndarray, *, columns: int | None = None, enlarge: int | None = None, gap: int = GAP
) -> Image.Image:
    """Pictures uint8 (n, h, w, c) in rows from the top left, as nearly square as they go.

    columns  pictures a row; None chooses.
    enlarge  whole factor by which each pixel is repeated; None enlarges small pictures until they can be seen.
    Raises ValueError for another dtype or shape, and for no pictures.
    """
    _check(pictures)
    n, _, _, c = pictures.shape
    columns = columns or _columns(n, pictures.shape[1] / pictures.shape[2])
    if columns < 1:
        raise ValueError(f"a grid needs at least one column; got {columns}")
    pictures = magnified(pictures, enlarge)
    h, w = pictures.shape[1:3]
    rows = math.ceil(n / columns)
    canvas = np.empty((rows * (h + gap) + gap, min(n, columns) * (w + gap) + gap, c), np.uint8)
    canvas[:] = ground(pictures)
    for i, picture in enumerate(pictures):
        top, left = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        canvas[top : top + h, left : left + w] = picture
    return as_image(canvas)


def strips(rows: Sequence[np.ndarray], *, enlarge: int | None = None, gap: int = GAP) -> Image.Image:
    """One row of pictures (n, h, w, c) under another, all of the same n: walks between examples, one walk a row."""
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError(f"strips need rows of equal length; got {[len(row) for row in rows]}")
    return grid(np.concatenate(rows), columns=len(rows[0]), enlarge=enlarge, gap=gap)


def pairs(
    left: np.ndarray, right: np.ndarray, *, columns: int | None = None, enlarge: int | None = None
) -> Image.Image:
    """Each picture beside its partner (a reconstruction, its nearest neighbour), a wider gap between the pairs.

    left, right  uint8 (n, h, w, c), equal in shape; columns counts pairs.
    """
    _check(left)
    if left.shape != right.shape or right.dtype != np.uint8:
        raise ValueError(f"pairs need pictures of one shape; got {left.shape} and {right.shape}")
    left, right = magnified(left, enlarge), magnified(right, enlarge)
    n, h, _, c = left.shape
    between = np.empty((n, h, GAP, c), np.uint8)
    between[:] = ground(left)
    both = np.concatenate([left, between, right], 2)
    return grid(both, columns=columns or _columns(n, h / both.shape[2]), enlarge=1, gap=3 * GAP)


def beside(images: Sequence[Image.Image], *, gap: int = 8 * GAP) -> Image.Image:
    """Images in a row, tops aligned: samples beside the real thing."""
    if not images:
        raise ValueError("nothing to set side by side; expected at least one image")
    mode = "RGBA" if any(i.mode == "RGBA" for i in images) else "RGB" if any(i.mode == "RGB" for i in images) else "L"
    paper = {"L": PAPER, "RGB": (PAPER,) * 3, "RGBA": (PAPER,) * 4}[mode]
    width = sum(i.width for i in images) + gap * (len(images) - 1)
    canvas = Image.new(mode, (width, max(i.height for i in images)), paper)
    left = 0
    for image in images:
        canvas.paste(image.convert(mode), (left, 0))
        left += image.width + gap
    return canvas


def magnified(pictures: np.ndarray, factor: int | None = None) -> np.ndarray:
    """Pictures (n, h, w, c) with every pixel repeated factor x factor times; None: until their longer side is seen."""
    if factor is None:
        factor = math.ceil(SEEN_FROM / max(pictures.shape[1:3]))
    if factor < 1:
        raise ValueError(f"the factor of enlargement must be at least 1; got {factor}")
    return pictures.repeat(factor, 1).repeat(factor, 2)


def as_image(picture: np.ndarray) -> Image.Image:
    """One picture uint8 (h, w, c) with c of 1, 3 or 4, as a PIL image."""
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def png(image: Image.Image) -> bytes:
    """An image as the bytes of a PNG: what a report embeds."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def gif(frames: Sequence[Image.Image], path: Path | str, *, seconds: float = 6.0, rest: float = 1.5) -> None:
    """Frames of one size as an animation that plays in ``seconds`` and rests on the last frame; then again, for ever.

    Raises ValueError for no frames or frames of several sizes.
    """
    if not frames or len({f.size for f in frames}) != 1:
        raise ValueError(f"a GIF needs frames of one size; got {[f.size for f in frames]}")
    each = max(20, round(1000 * seconds / len(frames)))  # milliseconds; viewers slow down anything below 20
    times = [each] * (len(frames) - 1) + [each + round(1000 * rest)]
    first, *others = [f.convert("RGB").quantize(256) if f.mode != "L" else f for f in frames]
    first.save(path, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=False)


def ground(pictures: np.ndarray) -> np.ndarray:
    """What lies between pictures, (c,): the median of their border pixels, so that no frame fights with what they show.

    A white stroke on black that touches a picture's edge would run into white gaps and be read as part of them.
    """
    border = [pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]]
    return np.median(np.concatenate(border, 1), axis=(0, 1)).astype(np.uint8)


def _columns(n: int, aspect: float) -> int:
    """Pictures a row so that the whole is about square, or a little wider; aspect is height over width of one."""
    return max(1, min(n, math.ceil(math.sqrt(n * aspect))))


def _check(pictures: np.ndarray) -> None:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] not in (1, 3, 4) or not pictures.size:
        raise ValueError(
            f"expected pictures uint8 (n, h, w, c) with 1, 3 or 4 channels; got {pictures.dtype} {pictures.shape}"
        )
