"""Small pictures in files, for the readers."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(seed: int, h: int = 12, w: int = 12, mode: str = "RGB") -> Image.Image:
    """A picture of noise, of a mode."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    array = np.random.default_rng(seed).integers(0, 256, (h, w, channels), dtype=np.uint8)
    return Image.fromarray(array[..., 0] if channels == 1 else array, mode=None if mode != "LA" else "LA")


def png(seed: int, h: int = 12, w: int = 12, mode: str = "RGB") -> bytes:
    """The bytes of a PNG of noise."""
    out = io.BytesIO()
    picture(seed, h, w, mode).save(out, "PNG")
    return out.getvalue()


def hash_of(name: str) -> int:
    """A seed from a name."""
    return sum(ord(c) for c in name) * 1000
