"""A keyed pattern that repeats over a picture, so that what is left of it after cropping or mirroring still shows it.

The pattern is SIDE x SIDE keyed signs, each CELL pixels wide and high, laid over the picture as tiles (as in Kutter
1998, "Watermarking resisting to translation, rotation, and scaling"). To look for it, edges are taken out of the
picture, the rest is added up over all tiles, and the signs of the sums are compared with the pattern at every shift.

At a given shift the pattern's signs are fair coins over keys whatever the picture is, so that the number that agree is
binomial with p = 1/2 exactly; p is multiplied by the number of shifts, of the picture and of its mirror image. Scaling
and rotation move the tiles apart: after those nothing is found here.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from simulacra.responsibility.keys import Key
from simulacra.responsibility.verdicts import Verdict, verdict

SIDE, CELL = 32, 2  # signs of a tile's side, and pixels of a sign's
TILE = SIDE * CELL
LOOKS = 2 * TILE * TILE  # shifts of the picture and of its mirror image
AROUND, SPREAD = 5, 9  # pixels: the square whose mean is taken out, and that whose deviation is the measure of the rest


def tiles(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """The key's pattern over a picture of this size, -1 or 1, (h, w)."""
    h, w = shape
    tile = np.kron(_pattern(key), np.ones((CELL, CELL)))
    return np.tile(tile, (-(-h // TILE), -(-w // TILE)))[:h, :w]


def fits(shape: tuple[int, ...]) -> bool:
    """Whether a picture of this size holds a whole tile."""
    return min(shape) > TILE


def look(key: Key, folded: np.ndarray) -> Verdict:
    """Whether a picture, as ``folded`` has it, shows the key's tiles, at any shift and mirrored or not."""
    pattern = np.fft.fft2(_pattern(key))
    best = 0.0
    for down in range(CELL):
        for right in range(CELL):
            signs = np.where(folded[down::CELL, right::CELL] > 0, 1.0, -1.0)
            for seen in (signs, signs[:, ::-1]):
                best = max(best, float(np.fft.ifft2(np.fft.fft2(seen) * pattern.conj()).real.max()))
    # agreements less disagreements, a whole number but for rounding
    return verdict(round((best + SIDE * SIDE) / 2), SIDE * SIDE, looks=LOOKS)


def _pattern(key: Key) -> np.ndarray:
    return np.where(key.bits("pixel tiles", SIDE * SIDE).reshape(SIDE, SIDE), 1.0, -1.0)


def folded(grey: np.ndarray) -> np.ndarray:
    """What is left of brightness (h, w) without its edges, summed over cells at every pixel and over tiles."""
    rest = grey - ndimage.uniform_filter(grey, AROUND)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(rest**2, SPREAD), 0)) + 0.5  # levels: rounding's own, and more
    rest = np.clip(rest / spread, -1, 1)
    cells = rest[:-1, :-1] + rest[1:, :-1] + rest[:-1, 1:] + rest[1:, 1:]
    h, w = (-(-n // TILE) for n in cells.shape)
    whole = np.zeros((h * TILE, w * TILE))
    whole[: cells.shape[0], : cells.shape[1]] = cells
    return whole.reshape(h, TILE, w, TILE).sum((0, 2))
