"""Entropy coding: asymmetric numeral systems over many lanes at once, and probabilities as whole numbers.

A message is a stack: what is pushed last is popped first, and popping symbols under a distribution that were never
pushed draws them from it, at the price of the bits they take off the stack. Bits-back coding rests on that.

rANS is of Duda 2013, "Asymmetric numeral systems"; many heads over one stack of words is of Giesen 2014,
"Interleaved entropy coders". Everything here is integer arithmetic on tables, so that it is the same on any machine;
what the tables hold that a machine's own arithmetic made (quantiles of the normal) has a digest, ``tables_digest``.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from simulacra.core.randomness import Rng

Whole = NDArray[np.int64]
Find = Callable[[slice, Whole], tuple[Whole, Whole, Whole]]  # a piece's symbols, starts and counts from their slots

BITS = 24  # a distribution over values is cut into 2**24 shares: the floor of one share a value costs k / 2**24
LOW = 1 << 31  # heads stay in [2**31, 2**63): products with a share fit into 64 bits
WORD = 0xFFFFFFFF
STEPS = 64  # grid steps a bit of -log2 p: rounding to it costs at most (ln 2 / 128)^2 / 2 nats a symbol
FINE = 30  # 2**-30 is the least probability on that grid; below it a value keeps its one share
SMALLEST = STEPS * FINE


class Stack:
    """Symbols as one number, in ``lanes`` heads of 64 bits over a stack of 32-bit words.

    supply  where words come from when more are popped than were pushed (bits-back's first draws); without it that
            is a ValueError: the stack is not what was pushed.
    """

    def __init__(self, lanes: int, *, supply: Rng | None = None) -> None:
        if lanes < 1:
            raise ValueError(f"a stack needs at least one lane; got {lanes}")
        self.supply, self.supplied = supply, 0
        self.heads: NDArray[np.uint64] = np.full(lanes, LOW, np.uint64)
        if supply is not None:
            high, low = _supplied(supply("heads"), 0, 2 * lanes).reshape(2, lanes).astype(np.uint64)
            self.heads = ((high | np.uint64(1 << 31)) & np.uint64((1 << 32) - 1)) << np.uint64(31) | (
                low >> np.uint64(1)
            )
        self._words: NDArray[np.uint32] = np.empty(1024, np.uint32)
        self._length = 0

    def push(self, start: Whole, count: Whole, bits: int = BITS) -> None:
        """Symbols (m,) that occupy shares start .. start + count - 1 of 2**bits, count at least 1."""
        lanes = len(self.heads)
        starts, counts = start.astype(np.uint64), count.astype(np.uint64)
        shift, room = np.uint64(bits), np.uint64(63 - bits)
        for first in range(0, len(starts), lanes):
            c = counts[first : first + lanes]
            x = self.heads[: len(c)]
            full = x >= (c << room)
            if full.any():
                self._append((x[full] & np.uint64(WORD)).astype(np.uint32))
                x = np.where(full, x >> np.uint64(32), x)
            quotient, rest = np.divmod(x, c)
            self.heads[: len(c)] = (quotient << shift) + rest + starts[first : first + lanes]

    def pop(self, m: int, find: Find, bits: int = BITS) -> Whole:
        """The last m symbols pushed, in their order; ``find`` says which symbol a slot 0 .. 2**bits - 1 belongs to."""
        lanes = len(self.heads)
        out = np.empty(m, np.int64)
        shift, mask = np.uint64(bits), np.uint64((1 << bits) - 1)
        for first in reversed(range(0, m, lanes)):
            piece = slice(first, min(first + lanes, m))
            width = piece.stop - piece.start
            x = self.heads[:width]
            slot = x & mask
            out[piece], start, count = find(piece, slot.astype(np.int64))
            x = count.astype(np.uint64) * (x >> shift) + slot - start.astype(np.uint64)
            low = x < np.uint64(LOW)
            wanted = int(low.sum())
            if wanted:
                x[low] = (x[low] << np.uint64(32)) | self._take(wanted)
            self.heads[:width] = x
        return out

    @property
    def bits(self) -> int:
        """Length of the whole in bits."""
        return 64 * len(self.heads) + 32 * self._length

    def widen(self, lanes: int) -> None:
        """More heads, each begun with a word from the stack, so that they cost nothing; ``narrow`` takes them back."""
        more = self._take(lanes - len(self.heads)).astype(np.uint64) | np.uint64(1 << 32)
        self.heads = np.concatenate([self.heads, more])

    def narrow(self, lanes: int) -> None:
        """Undoes ``widen``; ValueError where the heads are not as they were begun."""
        more = self.heads[lanes:]
        if not bool((more >> np.uint64(32) == 1).all()):
            raise ValueError("a head does not end as it began: these are not the probabilities it was pushed with")
        self._append((more & np.uint64(WORD)).astype(np.uint32))
        self.heads = self.heads[:lanes].copy()

    def to_bytes(self) -> bytes:
        """Heads, then words from the bottom of the stack, little-endian."""
        return self.heads.astype("<u8").tobytes() + self._words[: self._length].astype("<u4").tobytes()

    @staticmethod
    def from_bytes(data: bytes, lanes: int) -> Stack:
        """The stack that ``to_bytes`` wrote; ValueError for a length that cannot be one."""
        if lanes < 1 or len(data) < 8 * lanes or (len(data) - 8 * lanes) % 4:
            raise ValueError(f"{len(data)} bytes are no stack of {lanes} lanes; the payload is damaged")
        stack = Stack(lanes)
        stack.heads = np.frombuffer(data[: 8 * lanes], "<u8").astype(np.uint64)
        stack._words = np.frombuffer(data[8 * lanes :], "<u4").astype(np.uint32)
        stack._length = len(stack._words)
        return stack

    def untouched(self, supply: Rng | None = None) -> bool:
        """Whether it is a new stack with this supply again, but for the words that were taken from it."""
        new = Stack(len(self.heads), supply=supply)
        taken = np.empty(0, np.uint32) if supply is None else _supplied(supply("words"), 0, self._length)[::-1]
        return bool((self.heads == new.heads).all()) and np.array_equal(self._words[: self._length], taken)

    def _append(self, words: NDArray[np.uint32]) -> None:
        needed = self._length + len(words)
        if needed > len(self._words):
            grown = np.empty(max(2 * len(self._words), needed), np.uint32)
            grown[: self._length] = self._words[: self._length]
            self._words = grown
        self._words[self._length : needed] = words
        self._length = needed

    def _take(self, n: int) -> NDArray[np.uint32]:
        lacking = n - self._length
        if lacking > 0:
            if self.supply is None:
                raise ValueError("more was popped than was pushed: these are not the probabilities it was pushed with")
            # in reverse, so that pushing everything back leaves the supply's words in reverse, however they were asked
            fresh = _supplied(self.supply("words"), self.supplied, lacking)[::-1]
            self.supplied += lacking
            left = self._words[: self._length].copy()
            self._length = 0
            self._append(fresh)
            self._append(left)
        self._length -= n
        return self._words[self._length : self._length + n]


def _supplied(rng: Rng, first: int, n: int) -> NDArray[np.uint32]:
    return rng.rows(first).words((n, 1)).numpy()[:, 0].astype(np.uint32)


# -- distributions over few values -----------------------------------------------------------------------------------


@functools.cache
def _powers() -> Whole:
    """floor(2**30 * 2**(-j / 64)) for j = 0 .. 1920, then 0, by whole roots: no machine's floats are in it."""
    found: list[int] = []
    for j in range(SMALLEST + 1):
        root = 1 << (STEPS * FINE - j)
        for _ in range(STEPS.bit_length() - 1):  # the 64th root; floors of nested roots are the floor of the root
            root = math.isqrt(root)
        found.append(root)
    return np.array([*found, 0], np.int64)


def shares(steps: Whole) -> Whole:
    """Shares of 2**24 for values whose -log2 p is given in 64ths of a bit, (m, k) -> (m, k); each at least 1.

    steps   0 .. 1920; 1921 for what is impossible, which keeps one share. They need not sum to 1.
    Raises ValueError for more than 2**16 values, and where nothing is possible.
    """
    k = steps.shape[1]
    if k > 1 << 16:
        raise ValueError(f"at most {1 << 16} values are coded at once; got {k}")
    weight = _powers()[steps]
    total = weight.sum(1, keepdims=True)
    if not bool((total > 0).all()):
        raise ValueError("a distribution gives every value a probability below 2**-30: it is not normalised")
    count = 1 + weight * ((1 << BITS) - k) // total
    # what rounding down left over goes to the likeliest value, where it changes least
    count[np.arange(len(count)), count.argmax(1)] += (1 << BITS) - count.sum(1)
    return count


def of_symbols(count: Whole, symbol: Whole) -> tuple[Whole, Whole]:
    """Start and count of each symbol (m,) among its shares (m, k)."""
    own = np.take_along_axis(count, symbol[:, None], 1)[:, 0]
    return np.take_along_axis(count.cumsum(1), symbol[:, None], 1)[:, 0] - own, own


def finder(count: Whole) -> Find:
    """Which symbol a slot belongs to, from shares (m, k)."""
    ends = count.cumsum(1)

    def find(piece: slice, slot: Whole) -> tuple[Whole, Whole, Whole]:
        symbol = (ends[piece] <= slot[:, None]).sum(1)
        start_of, count_of = ends[piece], count[piece]
        own = np.take_along_axis(count_of, symbol[:, None], 1)[:, 0]
        return symbol, np.take_along_axis(start_of, symbol[:, None], 1)[:, 0] - own, own

    return find


# -- codes: a normal, in bins that are equally likely under N(0, 1) ---------------------------------------------------

CODE_BITS = 14  # 2**14 bins: near 0 one is 2**-12.7 wide, far below the spread of any useful posterior
NORMAL_BITS = 28  # shares of a normal over those bins
UNIT = 20  # bins' edges and centres are multiples of 2**-20, which float32 holds exactly
MEAN_STEPS = 1 << 11  # a mean is rounded to 2**-11, at most 1 % of the narrowest useful spread
SCALE_STEPS = 32  # log2 of a spread to 1/32
NARROWEST, WIDEST = -10 * SCALE_STEPS, 4 * SCALE_STEPS  # of log2 spread, in those steps
_FAR = 8  # the normal's distribution function is tabled on [-8, 8], in steps of 2**-10, to 34 bits
_CELL = 10
_MASS = 34  # times 2**28 shares it fits into 63 bits


@dataclass(frozen=True)
class _Tables:
    edges: Whole
    centres: Whole
    mass: Whole
    inverse: Whole


@functools.cache
def _tables() -> _Tables:
    bins = 1 << CODE_BITS
    share = torch.arange(2 * bins, dtype=torch.float64) / (2 * bins)
    quantile, middle = (math.sqrt(2) * torch.erfinv(2 * s - 1).numpy() for s in (share[2::2], share[1::2]))
    t = torch.arange(-_FAR << _CELL, (_FAR << _CELL) + 1, dtype=torch.float64) / (1 << _CELL)
    mass = torch.erfc(-t / math.sqrt(2)).numpy() / 2
    mass[0], mass[-1] = 0.0, 1.0
    return _Tables(
        edges=np.rint(quantile * (1 << UNIT)).astype(np.int64),
        centres=np.rint(middle * (1 << UNIT)).astype(np.int64),
        mass=np.rint(mass * (1 << _MASS)).astype(np.int64),
        inverse=np.rint(2.0 ** (16 - np.arange(NARROWEST, WIDEST + 1) / SCALE_STEPS)).astype(np.int64),
    )


def tables_digest() -> bytes:
    """Of the tables that floating-point functions made: where two machines' differ, so must their codes."""
    t = _tables()
    return hashlib.sha256(b"".join(a.astype("<i8").tobytes() for a in (t.edges, t.centres, t.mass, t.inverse))).digest()


def centres(index: Whole, drop: Whole) -> NDArray[np.float64]:
    """The middle, by probability, of each of the 2**(14 - drop) bins; index and drop, 0 .. 14, broadcast."""
    t, coarse = _tables(), np.maximum(drop, 1)
    # the middle of a coarse bin is an edge between two fine ones
    edge = np.where(drop > 0, (2 * index + 1) << (coarse - 1), 1)
    return np.where(drop > 0, t.edges[edge - 1], t.centres[np.where(drop > 0, 0, index)]) / (1 << UNIT)


@dataclass(frozen=True)
class EvenBins:
    """N(0, 1) over its own bins, in 2**14 shares: all of one size.

    drop  how many of the 14 bits a coordinate goes without, (m,): its 2**(14 - drop) bins are unions of the finest.
    """

    drop: Whole

    def of_symbols(self, index: Whole) -> tuple[Whole, Whole]:
        """Start and count of each bin (m,)."""
        return index << self.drop, np.ones_like(index) << self.drop

    def find(self, piece: slice, slot: Whole) -> tuple[Whole, Whole, Whole]:
        """Which bin a slot belongs to."""
        drop = self.drop[piece]
        index = slot >> drop
        return index, index << drop, np.ones_like(index) << drop


@dataclass(frozen=True)
class NormalBins:
    """Normals over the bins of N(0, 1), in 2**28 shares, each of the finest bins at least one.

    mean   (m,), in steps of 2**-11;  log_scale  log2 of the spread, (m,), in 1/32, from -320 to 128.
    drop   (m,), as for ``EvenBins``.
    """

    mean: Whole
    log_scale: Whole
    drop: Whole

    def of_symbols(self, index: Whole) -> tuple[Whole, Whole]:
        """Start and count of each bin (m,)."""
        every = slice(0, len(index))
        start = self._below(every, index << self.drop)
        return start, self._below(every, (index + 1) << self.drop) - start

    def find(self, piece: slice, slot: Whole) -> tuple[Whole, Whole, Whole]:
        """Which bin a slot belongs to, by bisection of the finest."""
        low, drop = np.zeros_like(slot), self.drop[piece]
        for bit in reversed(range(CODE_BITS)):
            middle = low + (1 << bit)
            low = np.where(self._below(piece, middle) <= slot, middle, low)
        index = low >> drop
        start = self._below(piece, index << drop)
        return index, start, self._below(piece, (index + 1) << drop) - start

    def _below(self, piece: slice, index: Whole) -> Whole:
        """Shares below each bin; index 0 .. 2**14. Increasing in index: the mass below, and one a bin."""
        t, bins = _tables(), 1 << CODE_BITS
        inside = np.clip(index - 1, 0, bins - 2)
        off = t.edges[inside] - (np.clip(self.mean[piece], -(1 << 15), 1 << 15) << (UNIT - MEAN_STEPS.bit_length() + 1))
        z = (off * t.inverse[self.log_scale[piece] - NARROWEST]) >> 16
        z = np.clip(z + (_FAR << UNIT), 0, (2 * _FAR << UNIT) - 1)
        cell, rest = z >> (UNIT - _CELL), z & ((1 << (UNIT - _CELL)) - 1)
        mass = t.mass[cell] + (((t.mass[cell + 1] - t.mass[cell]) * rest) >> (UNIT - _CELL))
        mass = np.where(index <= 0, 0, np.where(index >= bins, 1 << _MASS, mass))
        return index + ((mass * ((1 << NORMAL_BITS) - bins)) >> _MASS)
