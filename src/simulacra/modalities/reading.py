"""What every reader of pictures returns, and the choices a reader is given."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simulacra.modalities.raster import Seen

MOST_BYTES = 1 << 33  # decoded pictures are kept in memory: more than 8 GiB of them are refused before they are read

CHOSEN_SIDES = (8, 64)  # where sizes are mixed and none is asked for: what a small computer trains in minutes


@dataclass(frozen=True)
class Item:
    """A file: its path below the root, "/" between the parts, and how to read it."""

    path: str
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a reader of pictures may be asked.

    size      (h, w) to crop and resize to; None keeps one common size, or chooses one where sizes are mixed.
    channels  1, 3 or 4; None: grey where every picture is grey, otherwise RGB.
    skip      largest share of unreadable pictures that is skipped rather than refused.
    labels    path of a label file beside the pictures, where it has no name that is recognised.
    captions  whether what is written of the pictures is wanted too.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    skip: float = 0.05
    labels: str | None = None
    captions: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and not all(1 <= n <= 4096 for n in self.size):
            raise ValueError(f"a picture's size must lie in 1 .. 4096; got {self.size[0]}x{self.size[1]}")
        if self.channels not in (None, 1, 3, 4):
            raise ValueError(f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA); got {self.channels}")
        if not 0 <= self.skip < 1:
            raise ValueError(f"the share that may be skipped must lie in 0 .. 1; got {self.skip}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Pictures, uint8 (n, c, h, w), their labels (n,) or None, and their captions or None."""

    pictures: np.ndarray
    labels: np.ndarray | None = None
    captions: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a reader found: the pictures, the official test split where there is one, classes, and plain notes.

    resized  whether any of them had another size as it was stored.
    """

    train: Part
    test: Part | None = None
    classes: tuple[str, ...] = ()
    levels: int = 256
    notes: tuple[str, ...] = ()
    resized: bool = False


def common_shape(seen: Sequence[Seen], options: Options) -> tuple[tuple[int, int], int, list[str]]:
    """(h, w), channels, and what was chosen, in words, for pictures whose headers are given."""
    channels = options.channels or (1 if all(s.grey for s in seen) else 3)
    notes = []
    if channels != 4 and any(s.alpha for s in seen):
        notes.append(
            f"{sum(s.alpha for s in seen):,} pictures have transparent parts: laid over white (channels=4 keeps them)"
        )
    sizes = Counter((s.h, s.w) for s in seen)
    if options.size is not None:
        if set(sizes) != {options.size}:
            notes.append(f"cropped about the centre and resized to {options.size[0]}x{options.size[1]}")
        return options.size, channels, notes
    if len(sizes) == 1:
        return next(iter(sizes)), channels, notes
    middle = statistics.median_low(min(s.h, s.w) for s in seen)
    side = min(max(1 << (middle.bit_length() - 1), CHOSEN_SIDES[0]), CHOSEN_SIDES[1])
    (h0, w0), (h1, w1) = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
    notes.append(
        f"sizes are mixed, {h0}x{w0} to {h1}x{w1}: cropped about the centre and resized to {side}x{side}"
        " (size= changes it)"
    )
    return (side, side), channels, notes


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
