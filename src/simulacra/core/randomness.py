"""Counter-based randomness: a number is a function of (seed, path, row, element), whatever the device or batch.

Philox 4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
Layout, fixed for ever by ``tests/core/test_randomness.py``:

    key      = (low, high) 32 bits of the seed
    counter  = (element // 4, row, low, high 32 bits of the path's hash);  word element % 4 of its output
    path     = the names and numbers an ``Rng`` was called with, hashed by BLAKE2b to 64 bits

The same seed gives the same integers everywhere and the same floats within rounding; row r of a draw does not
depend on how many rows are drawn with it, so batches and processes only choose which rows they compute.
An ``Rng`` has no state: drawing twice from the same one gives the same numbers, so every draw gets a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

M0, M1 = 0xD2511F53, 0xCD9E8D57  # Salmon et al. 2011, the multipliers of Philox 4x32
W0, W1 = 0x9E3779B9, 0xBB67AE85  # the Weyl constants: golden ratio, sqrt(3) - 1
MASK = 0xFFFFFFFF
ROUNDS = 10
CHUNK = 1 << 14  # counters at a time: two (2, n) uint64 arrays stay in the second-level cache


class Rng:
    """A named stream of random numbers.

    ``rng("z").normal((n, 16))`` draws; ``rng("dropout", layer)`` is the stream below that path.
    ``first`` is the number of the first row of what is drawn: process p of a batch draws rows of its own.
    """

    __slots__ = ("first", "path", "seed")

    def __init__(self, seed: int, path: tuple[str | int, ...] = (), first: int = 0) -> None:
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"a seed lies in 0 .. 2**64 - 1; got {seed}")
        self.seed, self.path, self.first = seed, path, first

    @staticmethod
    def of(rng: Rng | int | None) -> Rng:
        """An int becomes the stream of that seed; None that of seed 0."""
        return rng if isinstance(rng, Rng) else Rng(rng or 0)

    def __call__(self, *names: str | int) -> Rng:
        """The stream below this one with these names."""
        return Rng(self.seed, self.path + names, self.first)

    def rows(self, first: int) -> Rng:
        """The same stream, its draws starting at another row (added to the present first)."""
        return Rng(self.seed, self.path, self.first + first)

    def __repr__(self) -> str:
        return f"Rng(seed={self.seed}, path={self.path}, first={self.first})"

    def words(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Uniform 32-bit integers as int64 in 0 .. 2**32 - 1, of this shape; shape[0] counts rows."""
        if torch.device(device).type == "cpu":
            return torch.as_tensor(self._words(shape).astype(np.int64))
        return self._words_torch(shape, torch.device(device))

    def uniform(
        self, shape: Sequence[int], *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Uniform on [0, 1): multiples of 2**-24, so that every dtype down to float32 holds them exactly."""
        dtype = dtype or torch.get_default_dtype()
        if torch.device(device).type == "cpu":
            return torch.as_tensor((self._words(shape) >> np.uint32(8)).astype(np.float32)).mul_(2.0**-24).to(dtype)
        return ((self.words(shape, device) >> 8).to(torch.float32) * 2.0**-24).to(dtype)

    def normal(
        self, shape: Sequence[int], *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Standard normal, by Box and Muller's transform of neighbouring words; |x| < 6.8."""
        dtype = dtype or torch.get_default_dtype()
        work = torch.float64 if dtype == torch.float64 else torch.float32
        even = (*shape[:1], 2 * ((_row_size(shape) + 1) // 2)) if len(shape) else (1, 2)
        if torch.device(device).type == "cpu":
            words = self._words(even).reshape(-1, 2).astype(np.float64 if work == torch.float64 else np.float32)
            radius = np.sqrt(-2 * np.log((words[:, 0] + words.dtype.type(0.5)) * words.dtype.type(2.0**-32)))
            angle = words[:, 1] * words.dtype.type(2 * np.pi * 2.0**-32)
            out = np.empty_like(words)
            np.multiply(radius, np.cos(angle), out=out[:, 0])
            np.multiply(radius, np.sin(angle), out=out[:, 1])
            pairs = torch.as_tensor(out)
        else:
            words_ = self.words(even, device).reshape(-1, 2).to(work)
            radius_ = (-2 * ((words_[:, 0] + 0.5) * 2.0**-32).log()).sqrt()
            angle_ = words_[:, 1] * (2 * torch.pi * 2.0**-32)
            pairs = torch.stack([radius_ * angle_.cos(), radius_ * angle_.sin()], dim=1)
        return pairs.reshape(even)[:, : _row_size(shape)].reshape(tuple(shape)).to(dtype)

    def integers(self, high: int, shape: Sequence[int], *, device: torch.device | str = "cpu") -> Tensor:
        """Uniform int64 in 0 .. high - 1, by multiplication; its bias is below high / 2**32."""
        if not 0 < high <= 1 << 31:
            raise ValueError(f"high lies in 1 .. 2**31; got {high}")
        return (self.words(shape, device) * high) >> 32

    def bernoulli(self, p: Tensor) -> Tensor:
        """True with probability p, elementwise; p (rows, ...) in [0, 1], to within 2**-24."""
        if p.device.type == "cpu" and p.ndim > 1:
            q = p.detach() if p.dtype in (torch.float32, torch.float64) else p.detach().float()
            drawn = self._bernoulli(q.numpy().reshape(len(p), _row_size(p.shape)))
            return torch.from_numpy(drawn).reshape(p.shape)  # pyright: ignore[reportUnknownMemberType]
        return self.uniform(p.shape, dtype=torch.float32, device=p.device) < p

    def gumbel(
        self, shape: Sequence[int], *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Standard Gumbel: the argmax of logits plus this is a draw from their softmax."""
        # u in (0, 1): half a step is added because log 0 is infinite
        u = self.uniform(shape, dtype=torch.float64, device=device) + 2.0**-25
        return -(-u.log()).log().to(dtype or torch.get_default_dtype())

    def categorical(self, logits: Tensor) -> Tensor:
        """One draw a row from softmax(logits) over the last dimension; (..., k) -> int64 (...). By inversion of the
        cumulated probabilities at one uniform number of 52 bits: two words a draw, however many categories."""
        lead = logits.shape[:-1]
        words = self.words((*(lead or (1,)), 2), logits.device)
        u = (((words[..., 0] >> 6) << 26) | (words[..., 1] >> 6)).double() * 2.0**-52
        raised = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
        return inverted((raised - raised.amax(-1, keepdim=True)).exp(), u.reshape(lead))

    def permutation(self, n: int, *, device: torch.device | str = "cpu") -> Tensor:
        """A uniformly random order of 0 .. n-1, int64; the same for every first row."""
        words = Rng(self.seed, (*self.path, "order")).words((1, 2 * n), device).reshape(2, n)
        # 62 bits a key: two equal keys among a billion are rarer than one in a thousand orders
        return ((words[0] << 30) ^ words[1]).argsort(stable=True)

    def _stream(self) -> int:
        text = "\x1f".join(f"{type(p).__name__[0]}{p}" for p in self.path)
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def _bernoulli(self, p: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
        """True with probability p (rows, size), without drawing where p leaves no choice: most of a scan's
        pixels are 0 or 1, and a block of four words is only computed where one of its elements is open."""
        rows, size = p.shape
        blocks = (size + 3) // 4
        padded = p if size == 4 * blocks else np.pad(p, ((0, 0), (0, 4 * blocks - size)))
        padded = padded.reshape(rows * blocks, 4)
        out = padded >= 1
        open_ = np.flatnonzero(((padded > 0) & ~out).any(1))
        u = (self._blocks(open_.astype(np.uint64), blocks) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
        out[open_] = u < padded[open_]
        return out.reshape(rows, 4 * blocks)[:, :size]

    def _words(self, shape: Sequence[int]) -> np.ndarray[Any, np.dtype[Any]]:
        count, size = (shape[0] if len(shape) else 1), _row_size(shape)
        blocks = (size + 3) // 4
        out = self._blocks(np.arange(count * blocks, dtype=np.uint64), blocks)
        return np.ascontiguousarray(out.reshape(count, 4 * blocks)[:, :size]).reshape(tuple(shape))

    def _blocks(self, number: np.ndarray[Any, np.dtype[Any]], blocks: int) -> np.ndarray[Any, np.dtype[Any]]:
        """The words (n, 4) of blocks with these numbers (uint64, (n,)), counted along rows of so many blocks."""
        out = np.empty((len(number), 4), np.uint32)
        stream = self._stream()
        for start in range(0, len(number), CHUNK):
            part = number[start : start + CHUNK]
            row, block = np.divmod(part, np.uint64(max(blocks, 1)))
            counter = np.empty((4, len(part)), np.uint64)
            counter[0], counter[1] = block, (row + np.uint64(self.first)) & np.uint64(MASK)
            counter[2], counter[3] = stream & MASK, stream >> 32
            out[start : start + len(part)] = philox_numpy(counter, self.seed).T
        return out

    def _words_torch(self, shape: Sequence[int], device: torch.device) -> Tensor:
        count, size = (shape[0] if len(shape) else 1), _row_size(shape)
        blocks = (size + 3) // 4
        number = torch.arange(count * blocks, device=device)
        stream = self._stream()
        counter = torch.stack([
            number % max(blocks, 1),
            (number // max(blocks, 1) + self.first) & MASK,
            torch.full_like(number, stream & MASK),
            torch.full_like(number, stream >> 32),
        ])  # fmt: skip
        return philox_torch(counter, self.seed).T.reshape(count, 4 * blocks)[:, :size].reshape(tuple(shape))


def inverted(weight: Tensor, u: Tensor) -> Tensor:
    """The category at which cumulated weights (..., k) >= 0 exceed the share u (...) in [0, 1) of their sum.

    int64 (...): a draw in proportion to the weights if u is uniform, monotone in u, and never one of weight 0.
    """
    summed = weight.cumsum(-1, dtype=torch.float64)
    # in float64 a share below 1 of the sum lies below it even after rounding, for u of up to 52 bits
    found = torch.searchsorted(summed, u[..., None].double() * summed[..., -1:], right=True)
    return found[..., 0].clamp(max=weight.shape[-1] - 1)


def philox_numpy(counter: np.ndarray[Any, np.dtype[Any]], seed: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Philox 4x32-10 of counters (4, n), uint64 holding 32 bits each; the outputs likewise."""
    factor = np.array([[M0], [M1]], np.uint64)
    low, high = np.ascontiguousarray(counter[0::2]), np.ascontiguousarray(counter[1::2])
    key0, key1, mask, half = seed & MASK, seed >> 32, np.uint64(MASK), np.uint64(32)
    product = np.empty_like(low)
    for _ in range(ROUNDS):
        np.multiply(low, factor, out=product)
        np.right_shift(product, half, out=low)
        product &= mask
        # c0' = hi(M1 c2) ^ c1 ^ k0, c2' = hi(M0 c0) ^ c3 ^ k1; c1' = lo(M1 c2), c3' = lo(M0 c0)
        high ^= low[::-1]
        high ^= np.array([[key0], [key1]], np.uint64)
        low, high, product = high, np.ascontiguousarray(product[::-1]), low
        key0, key1 = (key0 + W0) & MASK, (key1 + W1) & MASK
    return np.stack([low[0], high[0], low[1], high[1]])


def philox_torch(counter: Tensor, seed: int) -> Tensor:
    """Philox 4x32-10 of counters (4, n), int64 holding 32 bits each; the outputs likewise, on any device."""
    factor = torch.tensor([[M0], [M1]], device=counter.device)
    low, high = counter[0::2], counter[1::2]
    key0, key1 = seed & MASK, seed >> 32
    for _ in range(ROUNDS):
        product = low * factor  # wraps around 2**64, which leaves the bits that are wanted right
        key = torch.tensor([[key0], [key1]], device=counter.device)
        low, high = (((product >> 32) & MASK).flip(0) ^ high ^ key), (product & MASK).flip(0)
        key0, key1 = (key0 + W0) & MASK, (key1 + W1) & MASK
    return torch.stack([low[0], high[0], low[1], high[1]])


def _row_size(shape: Sequence[int]) -> int:
    size = 1
    for n in shape[1:]:
        size *= n
    return size
