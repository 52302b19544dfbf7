"""An encoder-decoder transformer: tokens, one after another, each given those before it and a whole other sequence.

Vaswani et al. 2017, with the layers of ``nets.decoder``: RMS norms without gains before every part, normalised queries
and keys, rotary places (in cross-attention too, so that a decoder can look where it is), squared ReLUs, and projections
back into the streams that start at zero. What sentences do not fill is not computed: dense layers see a list of the
tokens that are there, and only attention sees them as rows.

Dropout leaves out the same features of all tokens of a sentence (Gal & Ghahramani 2016): a draw a feature, not one a
token and feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.decoder import Decoder, Dense, Inner, Projection, normed, turned, turning


@dataclass(frozen=True, kw_only=True)
class EncoderDecoder:
    """Settings of an encoder and a decoder of the same size; the depth sets it.

    depth    the dial: blocks of each, and width = depth x aspect.
    aspect   width of the streams for each block.
    head     size of a head, even; it must divide the width.
    dropout  share of the features that is left out of what a part adds to its stream, while training.
    base     of the rotary angles' geometric series.
    """

    depth: int = 3
    aspect: int = 64
    head: int = 32
    dropout: float = 0.1
    base: float = 10_000.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {self.dropout}")
        _ = self.sizes

    @property
    def sizes(self) -> Decoder:
        """What the layers of ``nets.decoder`` are built by."""
        return Decoder(depth=self.depth, aspect=self.aspect, head=self.head, base=self.base)


class Present(NamedTuple):
    """Which places of b rows are there, and the way from the rows to a list of those and back.

    there  bool (b, t).
    index  int64 (n,): the places of the list in the flattened rows; row and column: those of each.
    """

    there: Tensor
    index: Tensor
    row: Tensor
    column: Tensor

    @staticmethod
    def of(there: Tensor) -> Present:
        """The list of the places that are there; of all places where looking would make a device wait."""
        flat = there.flatten()
        index = flat.nonzero()[:, 0] if there.device.type == "cpu" else torch.arange(len(flat), device=there.device)
        return Present(there, index, index // there.shape[1], index % there.shape[1])

    def listed(self, x: Tensor) -> Tensor:
        """Rows (b, t, ...) -> the list (n, ...)."""
        return x.flatten(0, 1).index_select(0, self.index)

    def rows(self, x: Tensor) -> Tensor:
        """The list (n, ...) -> rows (b, t, ...), 0 where nothing is there."""
        b, t = self.there.shape
        whole = x if len(x) == b * t else x.new_zeros(b * t, *x.shape[1:]).index_copy(0, self.index, x)
        return whole.unflatten(0, (b, t))


class Look(nn.Module):
    """Tokens of one list look at those of another, or at their own: multi-head attention."""

    def __init__(self, s: Decoder) -> None:
        super().__init__()
        self.head = s.head
        self.asked, self.offered = Inner(s.width, s.width), Inner(s.width, 2 * s.width)
        self.outward = Projection(s.width, s.width)

    def queries(self, h: Tensor, turns: Tensor) -> Tensor:
        """Normalised tokens (n, width), the turns of their places (n, head / 2, 2) -> (n, heads, head)."""
        return turned(normed(self.asked(h).unflatten(-1, (-1, self.head)))[None], turns)[0]

    def keys(self, h: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (n, heads, head) of normalised tokens (n, width)."""
        k, v = self.offered(h).unflatten(-1, (-1, self.head)).chunk(2, dim=1)
        return turned(normed(k)[None], turns)[0], v

    def found(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool = False) -> Tensor:
        """What queries (b, t, heads, head) find among keys (b, s, heads, head): (b, t, heads, head)."""
        q, k, v = (x.transpose(1, 2) for x in (q, k.to(q.dtype), v.to(q.dtype)))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal).transpose(1, 2)


class Encoding(nn.Module):
    """A block of the encoder: tokens look at all of their row, then dense layers on each."""

    def __init__(self, s: Decoder) -> None:
        super().__init__()
        self.look, self.dense = Look(s), Dense(s)


class Decoding(nn.Module):
    """A block of the decoder: tokens look at those up to themselves, then at the source, then dense layers on each."""

    def __init__(self, s: Decoder) -> None:
        super().__init__()
        self.look, self.cross, self.dense = Look(s), Look(s), Dense(s)


class Dropout:
    """Leaves features out of what a block adds, the same ones of all tokens of a row; rng None leaves out none."""

    def __init__(self, share: float, rng: Rng | None) -> None:
        self.share, self.rng, self.count = share, rng if share else None, 0

    def __call__(self, h: Tensor, at: Present) -> Tensor:
        if self.rng is None:
            return h
        self.count += 1
        kept = self.rng("dropout", self.count).uniform((len(at.there), h.shape[-1]), device=h.device) >= self.share
        return h * (kept.to(h.dtype) / (1 - self.share))[at.row]


class PairNetwork(nn.Module):
    """Source tokens and the target tokens so far -> logits of what comes next.

    sources   kinds of source tokens; 0 stands beyond a source's end, and its vector before its first token.
    outputs   kinds of target tokens and the end, which is the last one; its vector stands before the first token.
    rooms     the longest source and the longest target, in tokens.
    """

    turns: Tensor

    def __init__(self, sources: int, outputs: int, rooms: tuple[int, int], s: EncoderDecoder) -> None:
        super().__init__()
        sizes = s.sizes
        self.settings, self.outputs, self.room = s, outputs, rooms[1]
        self.source, self.tokens = nn.Embedding(sources, sizes.width), nn.Embedding(outputs, sizes.width)
        self.encoder = nn.ModuleList(Encoding(sizes) for _ in range(s.depth))
        self.decoder = nn.ModuleList(Decoding(sizes) for _ in range(s.depth))
        self.out = Projection(sizes.width, outputs)
        self.register_buffer("turns", turning(max(rooms) + 1, s.head, s.base), persistent=False)
        for matrix in (*self.encoder.parameters(), *self.decoder.parameters()):
            matrix.muon = True  # type: ignore[attr-defined]

    def turns_at(self, place: Tensor) -> Tensor:
        """The turns of places (n,), in the type of the weights."""
        return self.turns.to(self.source.weight.dtype)[place]

    def encode(self, y: Tensor, length: Tensor, drop: Dropout | None = None) -> tuple[Tensor, Present]:
        """Source tokens int64 (b, s), so many of each row -> their normalised vectors, a list (n, width), and where."""
        if length.device.type == "cpu" and len(y):
            y = y[:, : int(length.max())]
        y = F.pad(y, (1, 0))
        at = Present.of(torch.arange(y.shape[1], device=y.device) <= length[:, None])
        drop = drop or Dropout(0.0, None)
        h, turns, mask = normed(self.source(at.listed(y))), self.turns_at(at.column), at.there[:, None, None]
        for block in self.encoder:
            assert isinstance(block, Encoding)
            n = normed(h)
            rows = [at.rows(x) for x in (block.look.queries(n, turns), *block.look.keys(n, turns))]
            h = h + drop(block.look.outward(at.listed(block.look.found(*rows, mask)).flatten(1)), at)
            h = h + drop(block.dense(normed(h)), at)
        return normed(h), at

    def forward(
        self,
        x: Tensor,
        decided: Tensor,
        y: Tensor,
        length: Tensor,
        *,
        rng: Rng | None = None,
        shares: list[Tensor] | None = None,
    ) -> tuple[Tensor, Present]:
        """Logits of every decision, a list (n, outputs), and where each stands.

        x, decided  target tokens int64 (b, t) and which places have a decision, bool (b, t).
        y, length   source tokens int64 (b, s) and how many of each row count.
        rng         of dropout; None leaves nothing out.
        shares      takes how much each decision looks at each source place, (b, heads, t, s + 1), block by block.
        """
        drop = Dropout(self.settings.dropout, rng)
        source, there = self.encode(y, length, drop)
        at, before = Present.of(decided), F.pad(x[:, :-1], (1, 0), value=self.outputs - 1)
        h, turns, far = normed(self.tokens(at.listed(before))), self.turns_at(at.column), self.turns_at(there.column)
        mask = there.there[:, None, None]
        for block in self.decoder:
            assert isinstance(block, Decoding)
            n = normed(h)
            # what is not there comes last, so no token that is there sees it
            rows = [at.rows(v) for v in (block.look.queries(n, turns), *block.look.keys(n, turns))]
            h = h + drop(block.look.outward(at.listed(block.look.found(*rows, None, causal=True)).flatten(1)), at)
            q = at.rows(block.cross.queries(normed(h), turns))
            k, v = (there.rows(x) for x in block.cross.keys(source, far))
            if shares is not None:
                scores = torch.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
                shares.append(scores.masked_fill(~mask, -torch.inf).softmax(-1))
            h = h + drop(block.cross.outward(at.listed(block.cross.found(q, k, v, mask)).flatten(1)), at)
            h = h + drop(block.dense(normed(h)), at)
        return self.out(normed(h)), at
