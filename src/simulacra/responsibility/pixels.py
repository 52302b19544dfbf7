"""A mark in the pixels of any picture of 32 x 32 or more: keyed lattices for the low frequencies of its brightness.

Quantisation index modulation with dither (Chen & Wornell 2001, "Quantization index modulation", section V) on the
coefficients of the cosine transform of the whole picture, divided by the root of its size, so that resizing leaves them
where they are. Every coefficient is moved to the nearest point of one of two lattices, shifted by a keyed dither; which
of the two is a keyed bit. Further coefficients carry a message, several a bit.

Looking needs the key and the picture alone. Which lattice is the right one is a fair coin for every coefficient, so in
a picture that was not marked with the key the number that lie nearer to it is binomial with p = 1/2 exactly, over keys,
whatever the picture is. Changes of contrast and blur are undone on trial: p is multiplied by the number of trials, and
so is a bound, never too small.

It resists compression, noise, blur, changes of brightness and contrast, and resizing. It does not resist cropping,
rotation or mirroring, which move every coefficient, nor anyone who knows the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft as fft_

from simulacra.responsibility.keys import Key
from simulacra.responsibility.verdicts import Verdict, verdict

fft: Any = fft_
LEAST = 32  # pixels of the shorter side
BANDS = 6, 34  # u + v of the coefficients that are used: below is what is seen first, above what compression takes
PILOTS, MESSAGE, VOTES = 256, 16, 8  # coefficients that show the mark; bits carried, and coefficients a bit
USED = PILOTS + MESSAGE * VOTES
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, section 2.5.1
# changes that are undone on trial: contrast in steps of 4 %, and Gaussian blur exp(-s (u^2 + v^2))
GAINS = (1.0, *(1.04 ** (side * i) for i in range(1, 13) for side in (1, -1)))
BLURS = (0.0, 1.5e-4, 3e-4, 6e-4)


@dataclass(frozen=True, kw_only=True)
class PixelMark:
    """The mark of a key in pictures.

    step  distance between the points of a lattice, in grey levels of 255 and for a picture of 64 x 64; a coefficient
          may be off by a quarter of it and is still read rightly.
    """

    key: Key
    step: float = 40.0

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"the step of a mark must be positive; got {self.step}")

    def mark(self, picture: np.ndarray, message: tuple[bool, ...] = ()) -> np.ndarray:
        """The picture, uint8 (h, w) or (h, w, 1 | 3 | 4), with the mark; alpha is left as it is.

        message  up to 16 bits, the rest 0.

        Raises ValueError for a picture below 32 x 32, and for one that the mark does not stay in.
        """
        _check(picture)
        if len(message) > MESSAGE:
            raise ValueError(f"a message has at most {MESSAGE} bits; got {len(message)}")
        carried = np.zeros(USED, bool)
        carried[PILOTS : PILOTS + len(message) * VOTES] = np.repeat(np.array(message, bool), VOTES)
        where, bits = _places(self.key), self.key.bits("pixel bits", USED) ^ carried
        offset = self._offset(bits)
        plain = picture.reshape(*picture.shape[:2], -1).astype(np.float64)
        marked = _colours(plain)
        # clipping and rounding move coefficients again: they are put back a few times
        for _ in range(4):
            found = _transform(_grey(marked))
            moved = np.zeros_like(found)
            moved[where] = self.step * np.rint((found[where] - offset) / self.step) + offset - found[where]
            marked = np.clip(np.rint(marked + _inverse(picture.shape[:2], moved)[..., None]), 0, 255)
        out = plain.copy()
        out[..., : marked.shape[2]] = marked
        result = out.reshape(picture.shape).astype(np.uint8)
        if not self.look(result).found(1e-9):
            raise ValueError(
                f"the mark does not stay in this picture of {picture.shape[1]}x{picture.shape[0]} once its levels are"
                f" whole numbers in 0 .. 255; give a step larger than {self.step:g}, or another picture"
            )
        return result

    def look(self, picture: np.ndarray) -> Verdict:
        """Whether a picture, as for ``mark``, carries the mark of this key, and which message."""
        _check(picture)
        plain = picture.reshape(*picture.shape[:2], -1).astype(np.float64)
        where = _places(self.key)
        found, keyed = _transform(_grey(_colours(plain)))[where], self.key.bits("pixel bits", USED)
        squared = where[0] ** 2 + where[1] ** 2
        undone = np.stack([found / gain * np.exp(blur * squared) for blur in BLURS for gain in GAINS])
        # + where the right lattice is the nearer one, of size 1 on it and -1 on the other
        nearness = np.cos(2 * np.pi * (undone - self._offset(keyed)) / self.step)
        matches = (nearness[:, :PILOTS] > 0).sum(1)
        best = int(matches.argmax())
        votes = nearness[best, PILOTS:].reshape(MESSAGE, VOTES).sum(1)
        return verdict(int(matches[best]), PILOTS, looks=len(undone), message=tuple(bool(v < 0) for v in votes))

    def _offset(self, bits: np.ndarray) -> np.ndarray:
        """Where the lattice of each coefficient begins: its dither, and half a step for a bit of 1."""
        return self.step * (self.key.shares("pixel dither", USED) + 0.5 * bits)


def _places(key: Key) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns of the coefficients, in the key's order."""
    total = np.add.outer(np.arange(LEAST), np.arange(LEAST))
    u, v = np.nonzero((total >= BANDS[0]) & (total <= BANDS[1]))
    order = key.order("pixel places", len(u))[:USED]
    return u[order], v[order]


def _check(picture: np.ndarray) -> None:
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (1, 3, 4))):
        raise ValueError(
            f"a picture is uint8 (h, w) or (h, w, 1 | 3 | 4); got {picture.dtype} {picture.shape}: convert it first"
        )
    if min(picture.shape[:2]) < LEAST:
        raise ValueError(
            f"a picture of {picture.shape[1]}x{picture.shape[0]} is too small to carry a mark in its pixels;"
            f" expected {LEAST}x{LEAST} or more: enlarge it first"
        )


def _colours(plain: np.ndarray) -> np.ndarray:
    return plain[..., :3] if plain.shape[2] >= 3 else plain[..., :1]


def _grey(colours: np.ndarray) -> np.ndarray:
    return colours @ GREY if colours.shape[2] == 3 else colours[..., 0]


def _scale(h: int, w: int) -> float:
    # the coefficients of a picture enlarged by k are k times as large: those of 64 x 64 are the measure
    return 64.0 / np.sqrt(h * w)


def _transform(grey: np.ndarray) -> np.ndarray:
    return fft.dctn(grey, norm="ortho")[:LEAST, :LEAST] * _scale(*grey.shape)


def _inverse(shape: tuple[int, ...], coefficients: np.ndarray) -> np.ndarray:
    h, w = shape
    whole = np.zeros((h, w))
    whole[:LEAST, :LEAST] = coefficients / _scale(h, w)
    return fft.idctn(whole, norm="ortho")
