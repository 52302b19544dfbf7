"""A mark in the pixels of any picture of 32 x 32 or more: keyed lattices for the low frequencies of its brightness.

Quantisation index modulation with dither (Chen & Wornell 2001, "Quantization index modulation", section V) on the
coefficients of the cosine transform of the whole picture, divided by the root of its size, so that resizing leaves them
where they are. Every coefficient is moved to the nearest point of one of two lattices, shifted by a keyed dither; which
of the two is a keyed bit. Further coefficients carry a message, several a bit.

The change is spread where the picture hides it: in flat areas it is a fraction of what it is where brightness varies
anyway, and larger pictures, whose coefficients compression and noise move less, get a finer lattice.

Looking needs the key and the picture alone. Which lattice is the right one is a fair coin for every coefficient, so in
a picture that was not marked with the key the number that lie nearer to it is binomial with p = 1/2 exactly, over keys,
whatever the picture is. Lattices of several steps are tried, and changes of contrast and blur undone on trial: p is
multiplied by the number of trials, and so is a bound, never too small; trials resemble one another, so that the true
rate lies below. (Counting over random other keys would be exact, but for 1e-6 needs a million of them a picture.)

It resists compression, noise, blur, changes of brightness and contrast, and resizing. Cropping and mirroring move every
coefficient; against those, pictures of 128 x 128 and more also carry a pattern of tiles (``tiles``) in the frequencies
above, and looking takes the better of both at twice its p. It does not resist rotation, cropping and resizing at once,
nor anyone who knows the key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import ndimage

from simulacra.responsibility import tiles
from simulacra.responsibility.keys import Key
from simulacra.responsibility.verdicts import Verdict, read_message, verdict

LEAST = 32  # pixels of the shorter side
BANDS = 6, 34  # u + v of the coefficients that are used: below is what is seen first, above what compression takes
PILOTS, MESSAGE, VOTES = 256, 16, 8  # coefficients that show the mark; bits carried, and coefficients a bit
USED = PILOTS + MESSAGE * VOTES
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, section 2.5.1
# changes that are undone on trial: contrast in steps of 4 %, and Gaussian blur exp(-s (u^2 + v^2))
GAINS = (1.0, *(1.04 ** (side * i) for i in range(1, 13) for side in (1, -1)))
BLURS = (0.0, 1.5e-4, 3e-4, 6e-4)
STEPS = (40.0, 34.0, 28.0)  # of lattices, for pictures of 64 x 64, of 75 x 75 and of 91 x 91 or more
FLAT = 0.05  # how much of the change a flat area takes, against one whose brightness varies by BUSY grey levels
BUSY = 12.0
TILED, LOUD = 128, 2.0  # pixels of the shorter side from which tiles are laid, and their grey levels in busy areas
ROUNDS = 40  # in which coefficients are put on their lattices: a weighted change puts them there by degrees


@dataclass(frozen=True, kw_only=True)
class PixelMark:
    """The mark of a key in pictures.

    steps  distances between the points of a lattice, in grey levels of 255 and for a picture of 64 x 64; a coefficient
           may be off by a quarter of it and is still read rightly. All are looked for; a picture is marked with the
           one nearest to 40 times 64 / the root of its number of pixels.
    """

    key: Key
    steps: tuple[float, ...] = STEPS

    def __post_init__(self) -> None:
        if not self.steps or not min(self.steps) > 0:
            raise ValueError(f"the steps of a mark must be positive numbers; got {self.steps}")

    def mark(self, picture: np.ndarray, message: tuple[bool, ...] = ()) -> np.ndarray:
        """The picture, uint8 (h, w) or (h, w, 1 | 3 | 4), with the mark; alpha is left as it is.

        message  up to 16 bits, the rest 0; none at all where it is empty.

        Raises ValueError for a picture below 32 x 32, and for one that the mark does not stay in.
        """
        _check(picture)
        if len(message) > MESSAGE:
            raise ValueError(f"a message has at most {MESSAGE} bits; got {len(message)}")
        used = USED if message else PILOTS
        carried = np.zeros(USED, bool)
        carried[PILOTS : PILOTS + len(message) * VOTES] = np.repeat(np.array(message, bool), VOTES)
        where, bits = tuple(w[:used] for w in _places(self.key)), (self.key.bits("pixel bits", USED) ^ carried)[:used]
        wanted = 40.0 * _scale(*picture.shape[:2])
        step = min(self.steps, key=lambda s: abs(s - wanted))
        offset = _offset(self.key, step, bits)
        plain = picture.reshape(*picture.shape[:2], -1).astype(np.float64)
        colours = _colours(plain)
        found = _transform(_grey(colours))[where]
        goal = step * np.rint((found - offset) / step) + offset
        weight = _hidden(_grey(colours))
        change = self._tiles(weight)
        # whole levels in 0 .. 255 move coefficients again, and weights leave part undone: what is left is put in anew
        for _ in range(ROUNDS):
            marked = np.clip(np.rint(colours + change[..., None]), 0, 255)
            left = np.zeros((LEAST, LEAST))
            left[where] = goal - _transform(_grey(marked))[where]
            change += weight * _inverse(picture.shape[:2], left)
        marked = np.clip(np.rint(colours + change[..., None]), 0, 255)
        out = plain.copy()
        out[..., : marked.shape[2]] = marked
        result = out.reshape(picture.shape).astype(np.uint8)
        if not self.look(result).found(1e-9):
            raise ValueError(
                f"the mark does not stay in this picture of {picture.shape[1]}x{picture.shape[0]} once its levels are"
                f" whole numbers in 0 .. 255; give larger steps than {step:g}, or another picture"
            )
        return result

    def look(self, picture: np.ndarray) -> Verdict:
        """Whether a picture, as for ``mark``, carries the mark of this key, and which message if any."""
        return self.look_at(see(picture))

    def look_at(self, seen: Seen) -> Verdict:
        """Likewise, of a picture that was seen: many keys may look at it."""
        found = self._lattices(seen.coefficients)
        if seen.folded is None:
            return found
        # two ways to be found: each p is doubled; the message is in the lattices alone
        both = [replace(v, p=min(1.0, 2 * v.p), looks=2 * v.looks) for v in (found, tiles.look(self.key, seen.folded))]
        return replace(min(both, key=lambda v: v.p), message=found.message)

    def _tiles(self, weight: np.ndarray) -> np.ndarray:
        """The change that lays tiles, without what of it lies among the coefficients; none in small pictures."""
        if min(weight.shape) < TILED:
            return np.zeros(weight.shape)
        change = LOUD * weight * tiles.tiles(self.key, weight.shape)
        return change - _inverse(weight.shape, _transform(change))

    def _lattices(self, coefficients: np.ndarray) -> Verdict:
        """What coefficients come to at every contrast, blur and step."""
        where = _places(self.key)
        found, keyed = coefficients[where], self.key.bits("pixel bits", USED)
        squared = where[0] ** 2 + where[1] ** 2
        factors = np.exp(np.array(BLURS)[:, None] * squared)  # 300 looks: steps, blurs, contrasts

        offsets = {s: (_offset(self.key, s, keyed) / s).astype(np.float32) for s in self.steps}

        def off(step: float, factor: np.ndarray, gain: np.ndarray | float, those: slice) -> np.ndarray:
            # how far from the right lattice, in steps: it is the nearer one below a quarter
            return (found[those] / step) * factor[those] / gain - offsets[step][those]

        pilots, gains = slice(PILOTS), np.array(GAINS)[:, None]
        found, factors = found.astype(np.float32), factors.astype(np.float32)  # enough, and twice as fast
        steps = [off(step, factor, gains.astype(np.float32), pilots) for step in self.steps for factor in factors]
        matches = np.stack([np.abs(o - np.rint(o)) < 0.25 for o in steps]).sum(2)
        best = int(matches.argmax())
        at, gain = divmod(best, len(GAINS))
        step, factor = divmod(at, len(BLURS))
        carried = off(self.steps[step], factors[factor], GAINS[gain], slice(PILOTS, None))
        message = read_message(np.cos(2 * np.pi * carried).reshape(MESSAGE, VOTES))
        return verdict(int(matches.flat[best]), PILOTS, looks=matches.size, message=message)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a picture is looked at by: its coefficients (LEAST, LEAST), and its tiles on top of one another if any."""

    coefficients: np.ndarray
    folded: np.ndarray | None


def see(picture: np.ndarray) -> Seen:
    """A picture, as for ``PixelMark.mark``, as marks see it."""
    _check(picture)
    grey = _grey(_colours(picture.reshape(*picture.shape[:2], -1).astype(np.float64)))
    return Seen(coefficients=_transform(grey), folded=tiles.folded(grey) if tiles.fits(grey.shape) else None)


def _offset(key: Key, step: float, bits: np.ndarray) -> np.ndarray:
    """Where the lattice of each coefficient begins: its dither, and half a step for a bit of 1."""
    return step * (key.shares("pixel dither", USED)[: len(bits)] + 0.5 * bits)


def _hidden(grey: np.ndarray) -> np.ndarray:
    """How much of a change each pixel takes, FLAT .. 1: by the deviation of brightness around it."""
    size = 1 + 2 * max(1, round(min(grey.shape) / 32))
    mean = ndimage.uniform_filter(grey, size)
    deviation = np.sqrt(np.maximum(ndimage.uniform_filter(grey**2, size) - mean**2, 0))
    return FLAT + (1 - FLAT) * np.minimum(deviation / BUSY, 1)


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
    h, w = grey.shape
    return _waves(h) @ grey @ _waves(w).T * _scale(h, w)


def _inverse(shape: tuple[int, ...], coefficients: np.ndarray) -> np.ndarray:
    h, w = shape
    return _waves(h).T @ (coefficients / _scale(h, w)) @ _waves(w)


@lru_cache(maxsize=16)
def _waves(n: int) -> np.ndarray:
    """The first LEAST rows of the orthonormal cosine transform of n places (DCT-II), (LEAST, n)."""
    k, at = np.arange(LEAST)[:, None], np.arange(n) + 0.5
    waves = np.cos(np.pi / n * k * at) * math.sqrt(2 / n)
    waves[0] = 1 / math.sqrt(n)
    waves.setflags(write=False)
    return waves
