"""Codebooks: settings and layers that turn vectors into one of finitely many, with a gradient as if they did not.

``VQ`` keeps k vectors that follow those assigned to them (van den Oord et al. 2017), ``FSQ`` rounds each coordinate to
a few levels and keeps nothing (Mentzer et al. 2023). Both pass gradients straight through: a quantised vector's is the
vector's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from simulacra.core import across
from simulacra.core.randomness import Rng

ODD_EDGE = 1e-3  # of half a level: keeps atanh finite for even numbers of levels (Mentzer et al. 2023, appendix A.1)


@dataclass(frozen=True)
class Quantised:
    """Vectors (b, places, channels) made discrete.

    vectors     of the codebook, with the gradient of the vectors they stand for.
    index       int64 (b, places), in 0 .. k-1.
    commitment  what it costs a vector to lie far from its code, (b,).
    """

    vectors: Tensor
    index: Tensor
    commitment: Tensor


@runtime_checkable
class Quantiser(Protocol):
    """A codebook at work, a module; ``k`` codes of vectors of ``channels``."""

    k: int
    channels: int

    def __call__(self, e: Tensor) -> Quantised:
        """Vectors (b, places, channels) by their codes."""
        ...

    def vectors(self, index: Tensor) -> Tensor:
        """Codes int64 (...) -> their vectors (..., channels)."""
        ...

    def observe(self, e: Tensor, index: Tensor, rng: Rng) -> None:
        """Remembers what it needs of a part of a batch until ``update``."""
        ...

    def update(self) -> None:
        """Once an optimiser step, on every process: adapts to what was observed in the whole batch."""
        ...


@runtime_checkable
class Codebook(Protocol):
    """Settings of a codebook."""

    @property
    def k(self) -> int:
        """How many codes there are."""
        ...

    @property
    def channels(self) -> int:
        """Of the vectors it quantises."""
        ...

    def build(self) -> Quantiser:
        """The codebook itself."""
        ...


@dataclass(frozen=True, kw_only=True)
class VQ:
    """k vectors, each the moving average of the vectors assigned to it (van den Oord et al. 2017, appendix A.1).

    decay       of the averages, a step.
    commitment  weight of a vector's squared distance to its code (beta of eq. 3).
    revive      a code used less than this share of the average use is dead: it is put where a vector of the batch lies.
    """

    k: int = 256
    channels: int = 16
    decay: float = 0.99
    commitment: float = 0.25
    revive: float = 0.05

    def __post_init__(self) -> None:
        if self.k < 1 or self.channels < 1:
            raise ValueError(f"a codebook needs k and channels of at least 1; got {self.k} and {self.channels}")
        if not (0 <= self.decay < 1 and self.commitment >= 0 and 0 <= self.revive < 1):
            raise ValueError(
                "a codebook needs decay and revive in [0, 1) and a commitment of at least 0; got"
                f" {self.decay}, {self.revive} and {self.commitment}"
            )

    def build(self) -> VectorQuantiser:
        return VectorQuantiser(self)


@dataclass(frozen=True, kw_only=True)
class FSQ:
    """Finite scalar quantisation: coordinate i rounded to levels[i] values (Mentzer et al. 2023, section 3.1).

    The default is the paper's choice for about 2^8 codes; (8, 5, 5, 5) is that for 2^10 (table 1).
    """

    levels: tuple[int, ...] = (8, 6, 5)

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels needs at least 2 values for each coordinate; got {self.levels}")

    @property
    def k(self) -> int:
        return math.prod(self.levels)

    @property
    def channels(self) -> int:
        return len(self.levels)

    def build(self) -> ScalarQuantiser:
        return ScalarQuantiser(self)


class VectorQuantiser(nn.Module):
    """Codes as nearest of k vectors, which follow what is assigned to them in registered buffers.

    codebook  (k, channels);  counts, sums  moving averages of how many vectors were assigned to each, and of their sum.
    revived   how many dead codes were put elsewhere since the start, int64.
    The rest is what has been seen of the present batch: counts and sums, and k of its vectors, those with the largest
    random keys, so that which ones does not depend on how many processes share the batch.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    revived: Tensor
    seen: Tensor
    seen_sums: Tensor
    keys: Tensor
    candidates: Tensor

    def __init__(self, s: VQ) -> None:
        super().__init__()
        self.settings, self.k, self.channels = s, s.k, s.channels
        for name in ("codebook", "sums", "seen_sums", "candidates"):
            self.register_buffer(name, torch.zeros(s.k, s.channels))
        for name in ("counts", "seen"):
            self.register_buffer(name, torch.zeros(s.k))
        self.register_buffer("keys", torch.full((s.k,), -1, dtype=torch.int64))
        self.register_buffer("revived", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Codes N(0, I); all of them are dead until vectors are assigned to them."""
        self.codebook.copy_(rng("codebook").normal(self.codebook.shape))

    def forward(self, e: Tensor) -> Quantised:
        """Vectors (b, places, channels) by the codes nearest to them."""
        e = e.to(self.codebook.dtype)  # under autocast it may be bfloat16
        with torch.no_grad(), torch.autocast(e.device.type, enabled=False):
            # |e - c|^2 less |e|^2, which is the same for all codes
            far = self.codebook.square().sum(1) - 2 * e @ self.codebook.T
            index = far.argmin(-1)
        code = self.vectors(index)
        commitment = self.settings.commitment * (e - code).square().sum((1, 2))
        return Quantised(e + (code - e).detach(), index, commitment)

    def vectors(self, index: Tensor) -> Tensor:
        """Codes int64 (...) -> their vectors (..., channels)."""
        return self.codebook[index]

    @torch.no_grad()
    def observe(self, e: Tensor, index: Tensor, rng: Rng) -> None:
        """e (b, places, channels) with its codes; rng: which vectors a dead code may be put at."""
        flat, codes = e.reshape(-1, self.channels).to(self.seen), index.reshape(-1)
        self.seen.index_add_(0, codes, torch.ones_like(flat[:, 0]))
        self.seen_sums.index_add_(0, codes, flat)
        keys = rng("revival").words(index.shape, device=e.device).reshape(-1)
        self._keep(torch.cat([self.keys, keys]), torch.cat([self.candidates, flat]))

    @torch.no_grad()
    def update(self) -> None:
        """The averages of appendix A.1, eqs. 6 to 8, then dead codes put at vectors of the batch."""
        decay = self.settings.decay
        self.counts.mul_(decay).add_(across.total(self.seen), alpha=1 - decay)
        self.sums.mul_(decay).add_(across.total(self.seen_sums), alpha=1 - decay)
        self._keep(across.gather(self.keys), across.gather(self.candidates))
        usual = self.counts.mean()
        dead = self.counts < self.settings.revive * usual
        place = (dead.cumsum(0) - 1).clamp(min=0)  # the first dead code takes the first candidate, and so on
        dead &= self.keys[place] >= 0
        self.counts.copy_(torch.where(dead, usual, self.counts))
        self.sums.copy_(torch.where(dead[:, None], usual * self.candidates[place], self.sums))
        used = (self.counts > 0)[:, None]
        self.codebook.copy_(torch.where(used, self.sums / self.counts.clamp(min=1e-30)[:, None], self.codebook))
        self.revived += dead.sum()
        for spent in (self.seen, self.seen_sums, self.candidates):
            spent.zero_()
        self.keys.fill_(-1)

    def _keep(self, keys: Tensor, candidates: Tensor) -> None:
        best = keys.topk(self.k)
        self.keys.copy_(best.values)
        self.candidates.copy_(candidates[best.indices])


class ScalarQuantiser(nn.Module):
    """Codes as the digits of a number whose i-th digit has levels[i] values; it learns nothing."""

    def __init__(self, s: FSQ) -> None:
        super().__init__()
        self.levels, self.k, self.channels = s.levels, s.k, s.channels

    def forward(self, e: Tensor) -> Quantised:
        """Vectors (b, places, channels) by the levels their coordinates are rounded to."""
        e = e.float() if e.dtype in (torch.bfloat16, torch.float16) else e
        levels = torch.tensor(self.levels, dtype=e.dtype, device=e.device)
        # Mentzer et al. 2023, appendix A.1: even numbers of levels are shifted by half a level, so that 0 is one too
        half = (levels - 1) * (1 + ODD_EDGE) / 2
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        bounded = torch.tanh(e + torch.atanh(offset / half)) * half - offset
        digit = bounded.round()
        vectors = (bounded + (digit - bounded).detach()) / (levels // 2)
        index = ((digit.long() + levels.long() // 2) * self._bases(e.device)).sum(-1)
        return Quantised(vectors, index, torch.zeros(len(e), dtype=e.dtype, device=e.device))

    def vectors(self, index: Tensor) -> Tensor:
        """Codes int64 (...) -> their vectors (..., channels), coordinates in [-1, 1]."""
        levels = torch.tensor(self.levels, device=index.device)
        digit = index[..., None] // self._bases(index.device) % levels
        return (digit - levels // 2).to(torch.get_default_dtype()) / (levels // 2)

    def observe(self, e: Tensor, index: Tensor, rng: Rng) -> None:
        """There is nothing to remember."""

    def update(self) -> None:
        """There is nothing to adapt."""

    def _bases(self, device: torch.device) -> Tensor:
        return torch.tensor([math.prod(self.levels[:i]) for i in range(len(self.levels))], device=device)
