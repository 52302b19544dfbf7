"""Translations token by token: keys and values of the source computed once, those of the target kept, or all anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core.prompts import Steps
from simulacra.nets.decoder import normed
from simulacra.nets.encoder_decoder import Decoding, PairNetwork
from simulacra.nets.ladder import wide


class CachedPairs:
    """Steps of n rows, each given its source; equal to ``RecomputedPairs`` but for rounding.

    y, length  source tokens int64 (n, s) and how many of each row count.

    ValueError beyond the longest target: nothing can come after it.
    """

    @torch.no_grad()
    def __init__(self, network: PairNetwork, y: Tensor, length: Tensor) -> None:
        s = network.settings.sizes
        self.network, self.blocks = network, [block for block in network.decoder if isinstance(block, Decoding)]
        source, at = network.encode(y, length)
        far = network.turns_at(at.column)
        self.there = at.there
        self.cross = [[at.rows(t) for t in block.cross.keys(source, far)] for block in self.blocks]
        # which source each row belongs to; while all sources have equally many rows, one after another, their keys
        # are not copied for every row
        self.source = torch.arange(len(y), device=y.device)
        self.kept = [source.new_zeros(2, len(y), network.room, s.heads, s.head) for _ in self.blocks]
        self.seen, self.logits = 0, None
        self.last = torch.full_like(self.source, network.outputs - 1)

    def log_probs(self) -> Tensor:
        """Nats (n, outputs) of what comes next in each row."""
        if self.logits is None:
            self.logits = self._step(self.last)
        return wide(self.logits).log_softmax(-1)

    def take(self, token: Tensor) -> None:
        """Decides the next token of each row."""
        if self.logits is None:
            self.log_probs()
        self.last, self.logits = token, None

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows."""
        whole = self.kept
        self.kept = [kept.new_zeros(2, len(rows), *kept.shape[2:]) for kept in whole]
        for new, kept in zip(self.kept, whole, strict=True):
            new[:, :, : self.seen] = kept[:, rows, : self.seen]
        self.source, self.last = self.source[rows], self.last[rows]
        self.logits = None if self.logits is None else self.logits[rows]
        sources = len(self.there)
        even = torch.arange(sources, device=rows.device).repeat_interleave(max(1, len(rows) // max(sources, 1)))
        if not torch.equal(self.source, even):
            self.there = self.there[self.source]
            self.cross = [[t[self.source] for t in pair] for pair in self.cross]
            self.source = torch.arange(len(rows), device=rows.device)

    @torch.no_grad()
    def _step(self, token: Tensor) -> Tensor:
        """Logits (n, outputs) after one token more."""
        network, n = self.network, len(token)
        if self.seen == network.room:
            raise ValueError(f"this network knows targets of up to {network.room} tokens; nothing comes after them")
        h = normed(network.tokens(token))
        turns, mask = network.turns_at(torch.tensor([self.seen], device=token.device)), self.there[:, None, None]
        for block, kept, (k, v) in zip(self.blocks, self.kept, self.cross, strict=True):
            here = normed(h)
            kept[0, :, self.seen], kept[1, :, self.seen] = block.look.keys(here, turns)
            keys, values = kept[:, :, : self.seen + 1]
            own = block.look.found(block.look.queries(here, turns)[:, None], keys, values, None)
            h = h + block.look.outward(own.flatten(1))
            # the rows of one source are its queries
            q = block.cross.queries(normed(h), turns).unflatten(0, (len(k), -1))
            h = h + block.cross.outward(block.cross.found(q, k, v, mask).reshape(n, -1))
            h = h + block.dense(normed(h))
        self.seen += 1
        return network.out(normed(h))


class RecomputedPairs:
    """The same steps by a whole pass of both networks for every token and row: what ``CachedPairs`` must equal."""

    def __init__(self, network: PairNetwork, y: Tensor, length: Tensor) -> None:
        self.network, self.y, self.length = network, y, length
        self.past = y[:, :0]

    @torch.no_grad()
    def log_probs(self) -> Tensor:
        """Nats (n, outputs) of what comes next in each row."""
        found = list[Tensor]()
        for i in range(len(self.y)):
            x = F.pad(self.past[i : i + 1], (0, 1))
            decided = torch.ones_like(x, dtype=torch.bool)
            found.append(self.network(x, decided, self.y[i : i + 1], self.length[i : i + 1])[0][-1:])
        return wide(torch.cat(found)).log_softmax(-1)

    def take(self, token: Tensor) -> None:
        """Decides the next token of each row."""
        self.past = torch.cat([self.past, token[:, None]], dim=1)

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows."""
        self.y, self.length, self.past = self.y[rows], self.length[rows], self.past[rows]


PairSteps = Callable[[PairNetwork, Tensor, Tensor], Steps]
