"""Transformers: attention, what tells them where a token stands, and blocks that can go on from what they have seen.

Pre-norm residual blocks (Xiong et al. 2020), queries and keys normalised too (Dehghani et al. 2023), so
that no input makes their products large. Layer norms without biases, not RMS norms: torch computes those in five
passes on a CPU, a third of a training step's time. Attention has no dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4  # hidden size of a block's dense layers, in widths: Vaswani et al. 2017, section 3.3


class Learned(nn.Module):
    """A vector for each place, added to the token that stands there."""

    def __init__(self, length: int, width: int, heads: int) -> None:
        super().__init__()
        self.table = nn.Embedding(length, width)

    def enter(self, h: Tensor, first: int) -> Tensor:
        """Tokens (b, t, width) that stand at first, first + 1, ... on their way in."""
        return h + self.table(torch.arange(first, first + h.shape[1], device=h.device))

    def turn(self, q: Tensor, first: int) -> Tensor:
        """Queries or keys (b, heads, t, size) of these tokens, as they are."""
        return q


class Rotary(nn.Module):
    """Queries and keys turned by angles that grow with the place, so that products tell distances: Su et al. 2021.

    Pairs of dimensions (i, i + size / 2) turn by place / base^(2 i / size), eq. 15.
    """

    rates: Tensor

    def __init__(self, length: int, width: int, heads: int, base: float = 10_000.0) -> None:
        super().__init__()
        size = width // heads
        if size % 2:
            raise ValueError(f"rotary places need heads of even size; got {width} / {heads} = {size}")
        self.register_buffer("rates", base ** -(torch.arange(0, size, 2) / size), persistent=False)

    def enter(self, h: Tensor, first: int) -> Tensor:
        """Tokens on their way in, as they are."""
        return h

    def turn(self, q: Tensor, first: int) -> Tensor:
        """Queries or keys (b, heads, t, size) of tokens at first, first + 1, ..., turned."""
        places = torch.arange(first, first + q.shape[-2], device=q.device, dtype=self.rates.dtype)
        angles = places[:, None] * self.rates
        cos, sin = angles.cos().to(q.dtype), angles.sin().to(q.dtype)
        a, b = q.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


Positions = Callable[[int, int, int], "Learned | Rotary"]


def learned(length: int, width: int, heads: int) -> Learned:
    """A learned vector for each place."""
    return Learned(length, width, heads)


def rotary(length: int, width: int, heads: int) -> Rotary:
    """Rotary places."""
    return Rotary(length, width, heads)


@dataclass
class Cache:
    """Keys and values of the tokens that a causal transformer has seen, a pair for each block."""

    seen: int = 0
    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list[tuple[Tensor, Tensor]])

    def extend(self, block: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values (b, heads, seen + t, size) that tokens with these new ones, (b, heads, t, size), see."""
        if block == len(self.pairs):
            self.pairs.append((k, v))
        else:
            # joined, not written in place, so that gradients reach what was decided before
            keys, values = self.pairs[block]
            self.pairs[block] = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
        return self.pairs[block]


class Attention(nn.Module):
    """Multi-head attention of tokens to one another, (b, t, width) -> the same: Vaswani et al. 2017, section 3.2.

    causal  whether a token sees itself and those before it only.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.inward = nn.Linear(width, 3 * width, bias=False)
        self.norm_q, self.norm_k = nn.LayerNorm(width // heads, bias=False), nn.LayerNorm(width // heads, bias=False)
        self.outward = nn.Linear(width, width, bias=False)

    def forward(self, h: Tensor, places: Learned | Rotary, cache: Cache | None = None, block: int = 0) -> Tensor:
        """h (b, t, width); with a cache they come after the tokens it has seen, and this is its ``block``-th pair."""
        first = 0 if cache is None else cache.seen
        q, k, v = self.inward(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = places.turn(self.norm_q(q), first), places.turn(self.norm_k(k), first)
        if cache is not None:
            k, v = cache.extend(block, k, v)
        t, whole = q.shape[2], k.shape[2]
        mask = None
        if self.causal and first and t > 1:
            mask = torch.ones(t, whole, dtype=torch.bool, device=h.device).tril(first)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal and not first)
        return self.outward(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then two dense layers on each token alone, each beside what it is added to."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.norm_attention, self.attention = nn.LayerNorm(width, bias=False), Attention(width, heads, causal=causal)
        self.norm_dense = nn.LayerNorm(width, bias=False)
        self.dense = nn.Sequential(nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Linear(EXPANSION * width, width))

    def forward(self, h: Tensor, places: Learned | Rotary, cache: Cache | None = None, block: int = 0) -> Tensor:
        h = h + self.attention(self.norm_attention(h), places, cache, block)
        return h + self.dense(self.norm_dense(h))


class Transformer(nn.Module):
    """Tokens (b, t, width), t up to ``length`` -> the same, normalised.

    heads      must divide width.
    causal     whether a token sees itself and those before it only; what comes after it then changes nothing.
    positions  ``learned`` or ``rotary``: what tells where a token stands.
    """

    def __init__(
        self, width: int, depth: int, heads: int, length: int, *, causal: bool, positions: Positions = learned
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide width; got {heads} and {width}")
        self.length, self.causal = length, causal
        self.places = positions(length, width, heads)
        self.blocks = nn.ModuleList(Block(width, heads, causal=causal) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, h: Tensor, cache: Cache | None = None) -> Tensor:
        """With a cache (causal ones only) the tokens come after those it has seen, and it has then seen these too."""
        assert cache is None or self.causal
        first = 0 if cache is None else cache.seen
        if first + h.shape[1] > self.length:
            raise ValueError(f"this transformer takes {self.length} tokens; got {first + h.shape[1]}")
        h = self.places.enter(h, first)
        for number, block in enumerate(self.blocks):
            h = block(h, self.places, cache, number)
        if cache is not None:
            cache.seen += h.shape[1]
        return self.norm(h)
