"""A decoder's steps: one token after another, with keys and values kept, or computed anew every time.

``Cached`` keeps keys and values in memory set aside beforehand, so that a token costs its own share of work; its rows
may have prompts of different lengths. Beyond the network's room it goes on by halves: what is full is read anew from
its last half, so that any length can be drawn, each token seeing between half the room and all of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core.prompts import Prompt, Steps
from simulacra.nets.decoder import DecoderLike
from simulacra.nets.ladder import wide


def context(tokens: int, room: int) -> int:
    """How many of so many tokens are seen by what comes next: all that fit beside the start, then by halves."""
    half = room // 2
    return tokens if tokens < room else half + (tokens - room) % (room - half)


class Cached:
    """A decoder's steps with keys and values kept; equal to ``Recomputed`` but for rounding.

    given   conditions (n, given) or None.
    prompt  what the rows begin with.
    """

    def __init__(self, network: DecoderLike, n: int, given: Tensor | None, prompt: Prompt | None = None) -> None:
        s = network.settings
        self.network, self.room, self.window = network, network.room, s.window
        self.begin = network.begin(n, given).detach()
        self.stepping = network.stepping()
        self.kept = [self.begin.new_zeros(2, n, s.heads // s.shared, self.room, s.head) for _ in range(s.depth)]
        # all rows end in the same column; how many tokens each has, and in how many columns there is nothing before it
        self.past, self.length = _to_the_right(prompt, n, self.begin.device)
        self.count = self.past.shape[1]
        self._read()

    def log_probs(self) -> Tensor:
        """Nats (n, outputs) of what comes next in each row."""
        if self.logits is None and self.seen == self.room:
            self._read()
        elif self.logits is None:
            self.logits = self._step(self.past[:, self.count - 1])
        assert self.logits is not None
        return wide(self.logits).log_softmax(-1)

    def take(self, token: Tensor) -> None:
        """Decides the next token of each row."""
        if self.logits is None:
            self.log_probs()
        if self.count == self.past.shape[1]:
            self.past = F.pad(self.past, (0, max(self.count, 64)))
        self.past[:, self.count] = token
        self.count, self.length, self.logits = self.count + 1, self.length + 1, None

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows."""
        self.begin, self.past, self.length, self.pads = (
            t[rows] for t in (self.begin, self.past, self.length, self.pads)
        )
        self.kept = [kept[:, rows] for kept in self.kept]
        self.mask = None if self.mask is None else self.mask[rows]
        self.logits = None if self.logits is None else self.logits[rows]

    @torch.no_grad()
    def _read(self) -> None:
        """Begins with as much of each row's tokens as there is room for."""
        lengths = torch.tensor([context(m, self.room) for m in self.length.tolist()], device=self.past.device)
        t = max(lengths.tolist(), default=0)
        self.pads = t - lengths
        place = torch.arange(self.room, device=self.past.device)
        there = place >= self.pads[:, None]
        ragged = bool(self.pads.any())
        self.mask = there[:, None, None] if ragged else None
        place = place[: t + 1]
        seen = place[:, None] >= place
        if self.window is not None:
            seen = seen & (place[:, None] - place < self.window)
        # what stands before a row's start sees itself, so that it has something to see
        mask = (seen & there[:, None, : t + 1]) | (place[:, None] == place) if ragged else seen[None]
        tokens = self.past[:, self.count - t : self.count]
        self.seen, self.logits = t + 1, self.stepping.read(self.begin, tokens, self.pads, mask, self.kept)

    @torch.no_grad()
    def _step(self, token: Tensor) -> Tensor:
        """Logits (n, outputs) after one token more."""
        at = self.seen
        first = 0 if self.window is None else max(0, at + 1 - self.window)
        mask = None if self.mask is None else self.mask[..., first : at + 1]
        self.seen = at + 1
        return self.stepping.step(token, at, self.pads, first, mask, self.kept)


def _to_the_right(prompt: Prompt | None, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A prompt's tokens with all rows ending together, int64 (n, t), and how many of each row count."""
    if prompt is None:
        return torch.zeros(n, 0, dtype=torch.int64, device=device), torch.zeros(n, dtype=torch.int64, device=device)
    lengths = prompt.lengths().to(device)
    t = int(lengths.max()) if n else 0
    place = torch.arange(t, device=device) - (t - lengths[:, None])
    return prompt.tokens.to(device).gather(1, place.clamp(min=0)), lengths


class Recomputed:
    """The same steps by a whole pass of the network for every token and row: what ``Cached`` must equal."""

    def __init__(self, network: DecoderLike, n: int, given: Tensor | None, prompt: Prompt | None = None) -> None:
        self.network, self.given = network, given
        self.rows: list[list[int]] = [[] for _ in range(n)]
        if prompt is not None:
            pairs = zip(prompt.tokens.tolist(), prompt.lengths().tolist(), strict=True)
            self.rows = [row[:m] for row, m in pairs]

    @torch.no_grad()
    def log_probs(self) -> Tensor:
        """Nats (n, outputs) of what comes next in each row."""
        device, found = self.network.start.weight.device, list[Tensor]()
        for i, row in enumerate(self.rows):
            seen = row[len(row) - context(len(row), self.network.room) :]
            tokens = torch.tensor([seen], dtype=torch.int64, device=device).reshape(1, -1)
            given = None if self.given is None else self.given[i : i + 1]
            found.append(self.network(tokens, given)[:, -1])
        return wide(torch.cat(found)).log_softmax(-1)

    def take(self, token: Tensor) -> None:
        """Decides the next token of each row."""
        self.rows = [[*row, t] for row, t in zip(self.rows, token.tolist(), strict=True)]

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows."""
        self.rows = [self.rows[r] for r in rows.tolist()]
        self.given = None if self.given is None else self.given[rows]


StepsOf = Callable[[DecoderLike, int, "Tensor | None", "Prompt | None"], Steps]
