"""A decoder-only transformer, its size set by one dial: tokens, one after another, each given those before it.

Pre-norm residual blocks with RMS norms (Zhang & Sennrich 2019) whose gains are left to the matrices that follow,
normalised queries and keys (Henry et al. 2020), rotary places (Su et al. 2021), several queries to a key (Ainslie et
al. 2023), squared ReLUs (So et al. 2021), and projections back into the stream that start at zero, so that a new
network is its input. Matrices inside the blocks are marked for Muon (``core.optimisers``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from simulacra.core.randomness import Rng
from simulacra.nets.masked import whole

EXPANSION = 4  # hidden size of a block's dense layers, in widths: Vaswani et al. 2017, section 3.3
TINY = 1e-6  # added to the mean square before its root is taken

Memory = Callable[[nn.Module, Tensor, Tensor], Tensor]


def kept(block: nn.Module, h: Tensor, turns: Tensor) -> Tensor:
    """A block whose inner values are kept for the backward pass."""
    return block(h, turns)


def recomputed(block: nn.Module, h: Tensor, turns: Tensor) -> Tensor:
    """A block whose inner values are computed anew in the backward pass (Chen et al. 2016): slower, in less memory."""
    return checkpoint(block, h, turns, use_reentrant=False, preserve_rng_state=False)


def rotary(k: int, outputs: int, room: int, given: int, s: Decoder) -> DecoderNetwork:
    """The network of this file."""
    return DecoderNetwork(k, outputs, room, given, s)


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Settings of a decoder; all but the depth have values that need no thought.

    depth   the dial: number of blocks, and width = depth x aspect.
    aspect  width of the stream for each block; a fraction where a width given elsewhere asks for it.
    head    size of a head, even; it must divide the width.
    shared  queries that share a key and a value; it must divide the number of heads.
    window  how many tokens, itself included, a token sees; None: all before it.
    memory  ``kept`` or ``recomputed``: what becomes of a block's inner values until the backward pass.
    base    of the rotary angles' geometric series.
    layers  what it is made of: ``rotary``, or ``nets.learned_places.LearnedPlaces``.
    """

    depth: int = 4
    aspect: float = 32
    head: int = 32
    shared: int = 1
    window: int | None = None
    memory: Memory = kept
    base: float = 10_000.0
    layers: Layers = rotary

    def __post_init__(self) -> None:
        if min(self.depth, self.aspect, self.head, self.shared) < 1 or self.head % 2 or self.width % self.head:
            raise ValueError(
                f"a decoder's head must be even and divide its width, depth x aspect = {self.depth} x {self.aspect};"
                f" got head {self.head}"
            )
        if self.heads % self.shared:
            raise ValueError(f"shared must divide the number of heads, {self.heads}; got {self.shared}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"a window holds at least the token itself; got {self.window}")

    @property
    def width(self) -> int:
        """Width of the stream."""
        return round(self.depth * self.aspect)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.width // self.head

    def build(self, k: int, outputs: int, room: int, given: int) -> DecoderLike:
        """The network: tokens out of k, logits of so many outputs, that many places, a condition of that size."""
        return self.layers(k, outputs, room, given, self)


@runtime_checkable
class Stepping(Protocol):
    """A network as it is asked for one token after another, keys and values kept by whoever asks."""

    def read(self, start: Tensor, tokens: Tensor, pads: Tensor, mask: Tensor, kept: list[Tensor]) -> Tensor:
        """Logits (n, outputs) of what follows whole rows; writes their keys and values.

        start   (n, 1, width), what stands before each row, in column ``pads`` (n,) of its 1 + t; tokens int64 (n, t).
        mask    bool (n or 1, 1 + t, 1 + t), which columns each column sees.
        kept    of each block (2, n, groups, room, head).
        """
        ...

    def step(self, token: Tensor, at: int, pads: Tensor, first: int, mask: Tensor | None, kept: list[Tensor]) -> Tensor:
        """Logits (n, outputs) after one token more, int64 (n,), in column ``at``; it sees columns from ``first`` on."""
        ...


class DecoderLike(nn.Module, ABC):
    """What a model of sequences asks of its network: logits of what follows a start and each of the tokens after it.

    settings, room  how it was made; start maps what is given of a sequence to what stands before its first token.
    """

    settings: Decoder
    room: int
    start: nn.Linear

    def begin(self, n: int, given: Tensor | None) -> Tensor:
        """What stands before the first token, (n, 1, width)."""
        weight = self.start.weight
        one = torch.ones(n, 1, dtype=weight.dtype, device=weight.device) if given is None else given
        return self.start(one)[:, None]

    @abstractmethod
    def forward(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        """tokens int64 (b, t), t < room -> logits (b, t + 1, outputs) of the first token and of each after it."""

    @abstractmethod
    def stepping(self) -> Stepping:
        """The network as it is asked for one token after another."""


Layers = Callable[[int, int, int, int, Decoder], DecoderLike]


class Projection(nn.Linear):
    """A linear layer without a bias that starts at zero."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__(into, out, bias=False)

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """All zero: whoever adds it to something adds nothing yet."""
        self.weight.zero_()


class Inner(nn.Linear):
    """A linear layer without a bias: uniform, with deviation 1 / sqrt(into), so that it keeps the size of its input."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__(into, out, bias=False)

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Uniform; a draw a row of outputs."""
        self.weight.copy_((2 * rng("weight").uniform(self.weight.shape) - 1) * math.sqrt(3 / self.in_features))


def normed(h: Tensor) -> Tensor:
    """h / sqrt(mean h^2) over the last dimension."""
    return F.rms_norm(h, h.shape[-1:], eps=TINY) if h.is_cuda or not torch.is_grad_enabled() else _Normed.apply(h)


class _Normed(torch.autograd.Function):
    """The same in fewer passes over memory than torch's composition of it makes on a CPU, above all backwards."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        d = h.shape[-1]
        scale = (torch.linalg.vector_norm(h, dim=-1, keepdim=True).square_() / d + TINY).rsqrt_()
        out = h * scale
        ctx.save_for_backward(out, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        # d out / d h = scale (1 - out out^T / d)
        out, scale = ctx.saved_tensors
        along = (g * out).mean(-1, keepdim=True)
        return torch.addcmul(g, out, along, value=-1).mul_(scale)


def squared_relu(h: Tensor) -> Tensor:
    """max(h, 0)^2."""
    return _SquaredReLU.apply(h)


class _SquaredReLU(torch.autograd.Function):
    """One product backwards: 2 max(h, 0) is its slope everywhere."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        positive = h.clamp_min(0)
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return torch.addcmul(g.new_zeros(1), g, positive, value=2)


def turning(length: int, head: int, base: float) -> Tensor:
    """cos and sin of place x base^(-2 i / head), float64 (length, head / 2, 2): Su et al. 2021, eq. 15."""
    rates = base ** -(torch.arange(0, head, 2, dtype=torch.float64) / head)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()], -1)


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Queries or keys (b, t, heads, head), neighbours in pairs turned by their places' angles, (t, head / 2, 2)."""
    wide = x if x.dtype == turns.dtype else x.to(turns.dtype)
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.view_as_complex(turns)[:, None]).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Tokens (b, t, width) look at themselves and at those before them -> the same."""

    def __init__(self, s: Decoder) -> None:
        super().__init__()
        self.head, self.heads, self.groups, self.window = s.head, s.heads, s.heads // s.shared, s.window
        self.inward = Inner(s.width, (self.heads + 2 * self.groups) * s.head)
        self.outward = Projection(s.width, s.width)

    def asked(self, h: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (b, heads, t, head), keys and values (b, groups, t, head) of normalised tokens (b, t, width)."""
        found = self.inward(h).unflatten(-1, (-1, self.head))
        # split, not indexed: the gradient of an index is written into zeros first
        qk, v = found.split([self.heads + self.groups, self.groups], dim=2)
        q, k = turned(normed(qk), turns).transpose(1, 2).split([self.heads, self.groups], dim=1)
        return q, k, v.transpose(1, 2)

    def forward(self, h: Tensor, turns: Tensor) -> Tensor:
        q, k, v = self.asked(h, turns)
        k, v = (t.to(q.dtype) for t in (k, v))
        if self.window is None or self.window >= h.shape[1]:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.groups < self.heads)
        else:
            out = windowed(q, k, v, self.window)
        return self.outward(out.transpose(1, 2).flatten(2))

    def look(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """What these queries find among keys that they may see, mapped back: (b, t, width)."""
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=self.groups < self.heads)
        return self.outward(out.transpose(1, 2).flatten(2))


def windowed(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention to the last ``window`` tokens, in work and memory that grow with t x window; q, k, v (b, heads, t, d).

    Cut into pieces as long as the window, each query sees its own piece and the one before it, and of those the mask
    leaves the window. Keys and values may be of fewer heads, shared.
    """
    t = q.shape[2]
    pieces = -(-t // window)
    q, k, v = (F.pad(x, (0, 0, 0, pieces * window - t)).unflatten(2, (pieces, window)) for x in (q, k, v))
    k, v = (torch.cat([F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x], dim=3) for x in (k, v))
    if k.shape[1] < q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    i, j = torch.arange(window, device=q.device)[:, None], torch.arange(2 * window, device=q.device)
    seen = (j > i) & (j <= i + window)
    first = torch.arange(pieces, device=q.device)[:, None, None] > 0  # before the first piece there is nothing
    mask = seen & (first | (j >= window))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).flatten(2, 3)[:, :, :t]


class Dense(nn.Module):
    """Two matrices with a squared ReLU between them, on each token alone."""

    def __init__(self, s: Decoder) -> None:
        super().__init__()
        self.inward, self.outward = Inner(s.width, EXPANSION * s.width), Projection(EXPANSION * s.width, s.width)

    def forward(self, h: Tensor) -> Tensor:
        return self.outward(squared_relu(self.inward(h)))


class Block(nn.Module):
    """Attention, then dense layers, each beside what it is added to."""

    def __init__(self, s: Decoder) -> None:
        super().__init__()
        self.attention, self.dense = Attention(s), Dense(s)

    def forward(self, h: Tensor, turns: Tensor) -> Tensor:
        h = h + self.attention(normed(h), turns)
        return h + self.dense(normed(h))


class DecoderNetwork(DecoderLike):
    """Tokens out of k, one after another -> logits of what comes next.

    What stands before the first token is a vector of the condition (given,), or always the same.

    outputs  number of logits: k, or more where there is something beside tokens to be told, such as an end.
    room     how many places there are: the start's, and room - 1 tokens'.
    """

    turns: Tensor

    def __init__(self, k: int, outputs: int, room: int, given: int, s: Decoder) -> None:
        super().__init__()
        self.settings, self.room, self.outputs = s, room, outputs
        self.start = nn.Linear(max(given, 1), s.width, bias=False)
        self.tokens = nn.Embedding(k, s.width)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.depth))
        self.out = Projection(s.width, outputs)
        self.register_buffer("turns", turning(room, s.head, s.base), persistent=False)
        for matrix in self.blocks.parameters():
            matrix.muon = True  # type: ignore[attr-defined]

    def places(self, t: int) -> Tensor:
        """The turns of the first t places, in the type of the weights."""
        return self.turns[:t].to(self.start.weight.dtype)

    def forward(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        h = torch.cat([self.begin(len(tokens), given), self.tokens(tokens)], dim=1)
        h = normed(h)
        turns = self.places(h.shape[1])
        for block in self.blocks:
            h = self.settings.memory(block, h, turns) if torch.is_grad_enabled() else block(h, turns)
        return self.out(normed(h))

    def stepping(self) -> Stepping:
        return _Stepping(self)


class _Stepping:
    """See ``Stepping``: rotary places are relative, so it does not matter how many columns are empty."""

    def __init__(self, network: DecoderNetwork) -> None:
        self.network, self.tokens = network, whole(network.tokens.weight)
        self.out, self.blocks = whole(network.out.weight).T, [_BlockStep(b) for b in network.blocks]  # type: ignore[arg-type]
        self.turns = torch.view_as_complex(network.places(network.room))

    def read(self, start: Tensor, tokens: Tensor, pads: Tensor, mask: Tensor, kept: list[Tensor]) -> Tensor:
        h = torch.cat([start, F.embedding(tokens, self.tokens)], dim=1)
        t = h.shape[1]
        place = torch.arange(t, device=h.device)
        h = normed(torch.where((place == pads[:, None])[..., None], start, h))
        for block, here in zip(self.network.blocks, kept, strict=True):
            assert isinstance(block, Block)
            q, k, v = block.attention.asked(normed(h), self.network.places(t))
            here[0, :, :, :t], here[1, :, :, :t] = k, v
            h = h + block.attention.look(q, k, v.to(q.dtype), mask[:, None])
            h = h + block.dense(normed(h))
        return normed(h[:, -1]) @ self.out

    def step(self, token: Tensor, at: int, pads: Tensor, first: int, mask: Tensor | None, kept: list[Tensor]) -> Tensor:
        h, turn = normed(F.embedding(token, self.tokens)), self.turns[at]
        for block, here in zip(self.blocks, kept, strict=True):
            h = block(h, turn, at, first, mask, here)
        return normed(h) @ self.out


class _BlockStep:
    """A block for one token of each row, its weights as they are multiplied by."""

    def __init__(self, block: Block) -> None:
        attention, dense = block.attention, block.dense
        self.head, self.heads, self.both = attention.head, attention.heads, attention.heads + attention.groups
        self.asked, self.found = whole(attention.inward.weight).T, whole(attention.outward.weight).T
        self.inward, self.outward = whole(dense.inward.weight).T, whole(dense.outward.weight).T

    def __call__(self, h: Tensor, turn: Tensor, at: int, first: int, mask: Tensor | None, kept: Tensor) -> Tensor:
        n = len(h)
        found = (normed(h) @ self.asked).view(n, -1, self.head)
        pairs = torch.view_as_complex(normed(found[:, : self.both]).view(n, self.both, -1, 2))
        qk = torch.view_as_real(pairs * turn).flatten(2)
        kept[0, :, :, at], kept[1, :, :, at] = qk[:, self.heads :], found[:, self.both :]
        q = qk[:, : self.heads].view(n, self.both - self.heads, -1, self.head)
        keys, values = kept[:, :, :, first : at + 1]
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        h = torch.addmm(h, out.reshape(n, -1), self.found)
        return torch.addmm(h, (normed(h) @ self.inward).relu_().square_(), self.outward)
