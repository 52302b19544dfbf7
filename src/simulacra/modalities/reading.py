"""What every reader of pictures returns, and the choices a reader is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_BYTES = 1 << 33  # decoded pictures are kept in memory: more than 8 GiB of them are refused before they are read


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a reader of pictures may be asked.

    size      (h, w) to crop and resize to; None keeps one common size, or chooses one where sizes are mixed.
    channels  1, 3 or 4; None: grey where every picture is grey, otherwise RGB.
    skip      largest share of unreadable pictures that is skipped rather than refused.
    labels    path of a label file beside the pictures, where it has no name that is recognised.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    skip: float = 0.05
    labels: str | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not all(1 <= n <= 4096 for n in self.size):
            raise ValueError(f"a picture's size must lie in 1 .. 4096; got {self.size[0]}x{self.size[1]}")
        if self.channels not in (None, 1, 3, 4):
            raise ValueError(f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA); got {self.channels}")
        if not 0 <= self.skip < 1:
            raise ValueError(f"the share that may be skipped must lie in 0 .. 1; got {self.skip}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Pictures, uint8 (n, c, h, w), and their labels (n,) or None."""

    pictures: np.ndarray
    labels: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a reader found: the pictures, the official test split where there is one, classes, and plain notes."""

    train: Part
    test: Part | None = None
    classes: tuple[str, ...] = ()
    levels: int = 256
    notes: tuple[str, ...] = ()


def fits_memory(n: int, channels: int, size: tuple[int, int], name: str) -> None:
    """ValueError where n pictures of this size are more than are kept in memory."""
    total = n * channels * math.prod(size)
    if total > MOST_BYTES:
        raise ValueError(
            f"{name}: {n:,} pictures of {channels}x{size[0]}x{size[1]} take {total / 2**30:.1f} GiB, the most is"
            f" {MOST_BYTES / 2**30:.0f}; give a smaller size"
        )


def named(things: Sequence[str], most: int = 3) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(things) - most:,} more" if len(things) > most else ""
    return ", ".join(things[:most]) + more
