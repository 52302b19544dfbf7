"""A mark in the noise that a sample is drawn from: the signs of its latent are keyed bits, found again by inverting.

The idea is Yang et al. 2024, "Gaussian shading: provable performance-lossless image watermarking for diffusion models":
a normal number is its size times its sign, independent of one another, the sign a fair coin. Here the size is drawn as
ever and the sign is the bit of a key stream (SHAKE-256), so that over keys the latent is N(0, I) exactly, all its
coordinates together, and samples are as good and as varied as without a mark.

Each sample has a number, its nonce, and a stretch of the stream of its own, so that samples of one key have nothing in
common. Numbers are counted on within a call, from a start that the key makes of the seed. Whoever looks tries all of
``nonces``: their stretches are independent, so that for an example not marked with the key the smallest of their p lies
at or below t with probability 1 - (1 - t)^nonces, exactly over keys. That costs 20 bits for the million that is usual,
of the 64 or more that a latent has. The alternatives lose more: a nonce sent along in the signs themselves takes
coordinates whose products are the same in every sample of the key, and parity checks over triples of signs
(Christ & Gunn 2024, "Pseudorandom error-correcting codes") need no search, but cube the correlation that inverting
leaves. Two calls share numbers by a chance of about their samples over a million; such samples have signs in common.

A message takes an eighth of the coordinates of a latent of 512 or more, several a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.randomness import Rng
from simulacra.mathematics.significance import binomial_p
from simulacra.responsibility.inversion import recovered
from simulacra.responsibility.keys import Key
from simulacra.responsibility.verdicts import Verdict, read_message

NONCES = 1 << 20
LEAST = 64  # coordinates
MESSAGE, ROOM = 16, 512  # bits of a message, and the coordinates from which there is room for one
BLOCK = 1 << 12  # nonces whose signs are made at once
NAME = "z"  # what samplers call the draw of their latent
LOST = "the mark stays in {} of these {} samples: what inverts this model does not find their noise again"


@dataclass(frozen=True, kw_only=True)
class LatentMark:
    """The mark of a key in the latents of a sampler.

    nonces  numbers that samples may have; all are tried in looking, and more make it likelier that none comes twice.
    """

    key: Key
    nonces: int = NONCES

    def __post_init__(self) -> None:
        if not 1 <= self.nonces <= 1 << 32:
            raise ValueError(f"the nonces of a mark number 1 .. 2**32; got {self.nonces}")

    def rng(self, rng: Rng | int, message: Sequence[bool] = ()) -> Signed:
        """The stream, whose draws of latents carry the mark and up to 16 bits; all else is drawn as without."""
        if len(message) > MESSAGE:
            raise ValueError(f"a message has at most {MESSAGE} bits; got {len(message)}")
        rng = Rng.of(rng)
        return Signed(rng, Marking(mark=self, message=tuple(message)))

    def numbers(self, rng: Rng, n: int) -> np.ndarray:
        """The nonces of the n samples that begin at the stream's first row; ValueError for more than there are."""
        if rng.first + n > self.nonces:
            raise ValueError(f"a mark numbers at most {self.nonces:,} samples a seed; got {rng.first + n:,}: take more"
                             " seeds")  # fmt: skip
        start = (
            int.from_bytes(self.key.stream("latent start", 8, rng.seed.to_bytes(8, "little")), "little") % self.nonces
        )
        return (start + rng.first + np.arange(n)) % self.nonces

    def signs(self, numbers: np.ndarray, size: int) -> np.ndarray:
        """The keyed signs of samples with these nonces, True where positive, (n, size)."""
        out = np.empty((len(numbers), size), bool)
        for block in np.unique(numbers // BLOCK):
            those = numbers // BLOCK == block
            packed = self._block(int(block), size)[numbers[those] % BLOCK]
            out[those] = np.unpackbits(packed.view(np.uint8), axis=1, count=size).astype(bool)
        return out

    def look(self, codes: Sequence[Tensor]) -> list[Verdict]:
        """What n recovered latents come to; ``codes``: (n, size), once for each condition that was tried."""
        signs = np.stack([c.flatten(1).cpu().numpy() > 0 for c in codes], 1)  # (n, tried, size)
        n, tried, size = signs.shape
        check_size(size)
        where = pilots(self.key, size)
        mask = _packed(_flags(where, size)[None])[0]
        flat = _packed(signs.reshape(n * tried, size))
        best, number = np.full(n * tried, -1), np.zeros(n * tried, np.int64)
        for block in range(-(-self.nonces // BLOCK)):
            keyed = np.ascontiguousarray((self._block(block, size)[: self.nonces - block * BLOCK] & mask).T)
            for i, row in enumerate(flat & mask):
                # words first, so that whole rows of nonces are added at once
                agree = len(where) - np.bitwise_count(keyed ^ row[:, None]).sum(0, dtype=np.int32)
                if agree.max() > best[i]:
                    best[i], number[i] = agree.max(), block * BLOCK + agree.argmax()
        best, number = best.reshape(n, tried), number.reshape(n, tried)
        return [self._verdict(signs[i], best[i], number[i], len(where)) for i in range(n)]

    def _verdict(self, signs: np.ndarray, best: np.ndarray, number: np.ndarray, trials: int) -> Verdict:
        """Of one sample's signs (tried, size)."""
        i, size = int(best.argmax()), signs.shape[1]
        one = binomial_p(int(best[i]), trials)
        # exactly that of the best of so many independent nonces; conditions are no independent looks
        p = 1.0 if one >= 1 else -np.expm1(self.nonces * np.log1p(-one)) * len(best)
        rest = self.key.order("latent places", size)[trials:]
        message = None
        if len(rest):
            bits = signs[i] ^ self.signs(number[i : i + 1], size)[0]
            message = read_message(0.5 - bits[rest].reshape(MESSAGE, -1))
        return Verdict(p=min(1.0, float(p)), matches=int(best[i]), trials=trials, looks=self.nonces * len(best),
                       message=message)  # fmt: skip

    def _block(self, block: int, size: int) -> np.ndarray:
        """The signs of BLOCK nonces in bits, uint64 (BLOCK, words); those beyond ``size`` are 0."""
        words = -(-size // 64)
        about = block.to_bytes(8, "little") + size.to_bytes(8, "little")
        made = np.frombuffer(self.key.stream("latent signs", 8 * words * BLOCK, about), np.uint64)
        return made.reshape(BLOCK, words) & _packed(np.ones((1, size), bool))


@dataclass(frozen=True, kw_only=True)
class Marking:
    """One call's marking: what is put in, and which rows of which size got it, ``said``: (first, rows, size)."""

    mark: LatentMark
    message: tuple[bool, ...] = ()
    said: list[tuple[int, int, int]] = field(default_factory=list)

    def signed(self, z: Tensor, rng: Rng) -> Tensor:
        """Normal numbers (n, *shape) with the mark's signs; where there is room for a message and none, their own."""
        n, size = len(z), z[0].numel()
        check_size(size)
        key, numbers = self.mark.key, self.mark.numbers(rng, n)
        flat = z.reshape(n, size)
        signs = self.mark.signs(numbers, size)
        rest = key.order("latent places", size)[len(pilots(key, size)) :]
        if len(rest) and self.message:
            signs[:, rest] ^= np.repeat(np.resize(np.array([*self.message, *[False] * MESSAGE]), MESSAGE),
                                        len(rest) // MESSAGE)  # fmt: skip
        elif len(rest):
            signs[:, rest] = flat[:, rest].cpu().numpy() > 0
        elif self.message:
            raise ValueError(f"a message needs a latent of {ROOM} numbers or more; this one has {size}: leave it out")
        self.said.append((rng.first, n, size))
        positive = torch.from_numpy(signs).to(z.device)
        return torch.where(positive, flat.abs(), -flat.abs()).reshape(z.shape)


class Signed(Rng):
    """A stream whose normal draws named "z" carry a mark in their signs."""

    __slots__ = ("marking",)

    def __init__(self, rng: Rng, marking: Marking) -> None:
        super().__init__(rng.seed, rng.path, rng.first)
        self.marking = marking

    def __call__(self, *names: str | int) -> Signed:
        return Signed(super().__call__(*names), self.marking)

    def rows(self, first: int) -> Signed:
        """The same stream, its draws starting at another row."""
        return Signed(super().rows(first), self.marking)

    def normal(
        self, shape: Sequence[int], *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Standard normal; of a latent, over keys."""
        z = super().normal(shape, dtype=dtype, device=device)
        return self.marking.signed(z, self) if self.path[-1:] == (NAME,) else z


def checked(model: object, x: Values, rng: Signed, rate: float = 1e-6) -> list[Verdict]:
    """The verdicts on samples that were drawn with a mark; ValueError where it did not stay in each of them.

    x  as it is going to be written: on its levels.
    """
    n = len(x if isinstance(x, Tensor) else next(iter(x.values())))
    rows = sum(rows for _, rows, _ in rng.marking.said)
    if rows != n:
        raise ValueError(f"this model draws no latent that a mark could be put in (it drew {rows} for {n} samples);"
                         " mark the pixels")  # fmt: skip
    found = rng.marking.mark.look(list(recovered(model, x)))
    stays = sum(v.found(rate) for v in found)
    if stays < n:
        raise ValueError(LOST.format(stays, n) + "; draw with another seed or steps, or mark the pixels")
    return found


def check_size(size: int) -> None:
    """ValueError for a latent too small to carry a mark."""
    if size < LEAST:
        raise ValueError(f"a latent of {size} numbers is too small to carry a mark; expected {LEAST} or more: mark the"
                         " pixels")  # fmt: skip


def pilots(key: Key, size: int) -> np.ndarray:
    """The coordinates that show the mark, in the key's order; the others are a message's."""
    kept = size if size < ROOM else size - MESSAGE * (size // (8 * MESSAGE))
    return key.order("latent places", size)[:kept]


def _flags(where: np.ndarray, size: int) -> np.ndarray:
    flags = np.zeros(size, bool)
    flags[where] = True
    return flags


def _packed(bits: np.ndarray) -> np.ndarray:
    """Bits (n, size) in words, uint64 (n, words)."""
    n, size = bits.shape
    whole = np.zeros((n, 64 * -(-size // 64)), bool)
    whole[:, :size] = bits
    return np.packbits(whole, axis=1).view(np.uint64)
