"""Tunes made at random, and events drawn at random under a grammar."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.discrete import support_quantile
from simulacra.modalities.music.events import Events
from simulacra.modalities.music.grammar import Grammar
from simulacra.modalities.music.tunes import Note, Tune, tidied


def tune(seed: int, *, bars: int = 6, density: int = 5, programs: int = 3) -> Tune:
    """A tune of bars of 36 and 48 steps with a few notes in each."""
    rng = Rng(seed)
    lengths = [36 + 12 * i for i in rng("bars").integers(2, (bars,)).tolist()]
    found, begins = list[Note](), 0
    for number, length in enumerate(lengths):
        r = rng("notes", number)
        draw = {k: r(k).integers(m, (density,)).tolist() for k, m in
                (("start", length), ("program", programs), ("pitch", 12), ("duration", 30), ("velocity", 3),
                )}  # fmt: skip
        for i in range(density):
            found.append(
                Note(
                    start=begins + draw["start"][i],
                    program=10 * draw["program"][i],
                    pitch=60 + draw["pitch"][i],
                    duration=1 + draw["duration"][i],
                    velocity=40 + 30 * draw["velocity"][i],
                )
            )
        begins += length
    return Tune(notes=tidied(found).notes, bars=tuple(lengths))


def drawn(events: Events, n: int, room: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Sequences drawn evenly from what the grammar allows: tokens (n, room), -1 beyond each length (n,)."""
    legal, k = Grammar(events=events, room=room), len(events.tokens)
    seen = torch.full((n, 0), -1)
    running = torch.ones(n, dtype=torch.bool)
    u = Rng(seed)("u").uniform((n, room))
    for t in range(room):
        may = legal(seen)
        assert bool(may.any(1).all()), "some row has nothing that may come next"
        # the end is kept rare, so that sequences run into the end of the room
        weight = may.double() * torch.where(torch.arange(k + 1) == k, 0.02, 1.0)
        token = support_quantile((weight / weight.sum(1, keepdim=True)).log(), u[:, t].double())
        running = running & (token != k)
        seen = torch.cat([seen, torch.where(running, token, -1)[:, None]], dim=1)
    return seen, (seen >= 0).sum(1)
