"""What can be counted of notes: pitch classes, intervals, the key they fit best, how alike bars are; and how far the
distributions of such features overlap.

Notes are whole numbers: pitches (n,), 69 is a', and beginnings (n,), in any unit.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

OCTAVE = 12
WIDEST = 12  # semitones of an interval up or down that is told apart; wider ones count as that
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 11)  # harmonic: its leading note is in the key
GRID = 500  # points at which densities are compared
CHUNK = 10_000  # distances at a time
TINY = 1e-12  # a spread below which all distances are one


def pitch_classes(pitch: Int[Tensor, " n"]) -> Float[Tensor, 12]:
    """The share of notes of each of the twelve pitch classes, c first."""
    return torch.bincount(pitch % OCTAVE, minlength=OCTAVE).double() / max(len(pitch), 1)


def intervals_between(pitch: Int[Tensor, " n"]) -> Float[Tensor, 25]:
    """The share of each step from a note to the next, -12 .. 12 semitones; wider ones count as an octave."""
    steps = pitch.diff().clamp(-WIDEST, WIDEST) + WIDEST
    return torch.bincount(steps, minlength=2 * WIDEST + 1).double() / max(len(steps), 1)


def out_of_key(pitch: Int[Tensor, " n"]) -> float:
    """The share of notes outside the major or harmonic minor key that holds most of them; 0 for no note."""
    if not len(pitch):
        return 0.0
    share = pitch_classes(pitch)
    return 1 - max(float(share.roll(-tonic)[list(key)].sum()) for tonic in range(OCTAVE) for key in (MAJOR, MINOR))


def self_similarity(bars: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """The cosine between each two rows, one a bar, such as its pitch classes; 0 with an empty bar, but 1 of itself."""
    length = bars.double().square().sum(1).sqrt().clamp(min=TINY)
    found = (bars.double() @ bars.double().T) / (length[:, None] * length)
    return torch.where(torch.eye(len(bars), dtype=torch.bool), 1.0, found)


def repeated(bars: Float[Tensor, "n d"]) -> float:
    """The mean over bars of the likeness to the most alike other one: how much comes again; NaN for a single bar."""
    if len(bars) < 2:
        return float("nan")
    others = torch.where(torch.eye(len(bars), dtype=torch.bool), -1.0, self_similarity(bars))
    return float(others.amax(1).mean())


def overlapping_area(fake: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> float:
    """How far the distances from drawn to real tunes are distributed as those among real ones, 0 .. 1.

    The integral of the lesser of two densities, each a Gaussian kernel's by Scott's rule: of the Euclidean distances of
    a feature between every drawn and every real tune, and between every two different real ones (Yang & Lerch 2020,
    section 3.3). ValueError for fewer than two drawn or three real tunes. Where all distances are equal on a side the
    area is 1 if they are so on both sides, and to the same value, else 0.
    """
    if len(fake) < 2 or len(real) < 3:
        raise ValueError(f"distances have a density from 2 drawn and 3 real tunes on; got {len(fake)} and {len(real)}")
    between = torch.cdist(fake.double(), real.double()).flatten()
    rows, columns = torch.triu_indices(len(real), len(real), 1)
    among = torch.cdist(real.double(), real.double())[rows, columns]
    spreads = [float(part.std()) for part in (between, among)]
    if min(spreads) < TINY:
        same = max(spreads) < TINY and abs(float(between[0] - among[0])) < TINY
        return 1.0 if same else 0.0
    widths = [s * len(part) ** -0.2 for s, part in zip(spreads, (between, among), strict=True)]  # Scott 1992, eq. 6.42
    reach = 4 * max(widths)  # beyond four deviations of a kernel nothing is left
    low, high = (float(f(torch.cat([between, among]))) for f in (torch.min, torch.max))
    at = torch.linspace(low - reach, high + reach, GRID, dtype=torch.float64)
    densities = [_density(part, width, at) for part, width in zip((between, among), widths, strict=True)]
    return min(1.0, float(torch.trapezoid(torch.minimum(densities[0], densities[1]), at)))


def _density(x: Tensor, width: float, at: Tensor) -> Tensor:
    """The mean of Gaussians of that deviation about values (n,), at points (k,)."""
    total = torch.zeros_like(at)
    for first in range(0, len(x), CHUNK):
        part = x[first : first + CHUNK]
        total += torch.exp(-0.5 * ((at[:, None] - part) / width).square()).sum(1)
    return total / (len(x) * width * math.sqrt(2 * math.pi))
