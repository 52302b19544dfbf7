"""Which event may come next, so that whatever is drawn is a tune, and is written as the tune's own events are.

A mask over the next token (``mathematics.decoding.Legal``), computed for all rows at once from all that was drawn: no
position goes back, the notes of a position go up, no instrument begins a pitch that it still sounds, nothing is told
that holds already, and no note is begun that there is no room to finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from simulacra.modalities.music.events import BAR, DURATION, INSTRUMENT, PITCH, POSITION, VELOCITY, Events

NEVER = -1


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """The mask of a vocabulary for sequences of up to ``room`` events, with an end after the last token."""

    events: Events
    room: int

    @cached_property
    def _table(self) -> Tensor:
        """(kind, value, number within its kind) of every token, int64 (k, 3)."""
        rows, seen = [], dict[int, int]()
        for kind, value in self.events.tokens:
            rows.append((kind, value, seen.get(kind, 0)))
            seen[kind] = seen.get(kind, 0) + 1
        return torch.tensor(rows)

    def __call__(self, seen: Tensor) -> Tensor:
        """Events so far int64 (n, t), -1 for none -> which may come next, bool (n, k + 1), the end last."""
        table = self._table.to(seen.device)
        kinds, values = table[:, 0], table[:, 1]
        now = _read(seen, table, len(self.events.instruments), len(self.events.pitches))
        left = self.room - now.count
        begun = (now.instrument >= 0)[:, None], (now.velocity >= 0)[:, None]
        # the pitches that each instrument may begin here, (n, instruments, pitches)
        free = now.until <= now.at[:, None, None]
        own = _of(free, now.instrument)
        # within an instrument's notes of one position pitches go up
        number = torch.arange(free.shape[2], device=seen.device)
        own = own & (number > torch.where(now.fresh, NEVER, now.pitch)[:, None])
        may = torch.zeros(len(seen), len(table) + 1, dtype=torch.bool, device=seen.device)
        after = lambda *kind: torch.isin(now.kind, torch.tensor(kind, device=seen.device))[:, None]  # noqa: E731
        telling = begun[0] & begun[1]  # both are known, so a pitch may follow at once
        note = 2 + (~begun[1]).long()  # events of a note of an instrument that was told
        # a bar, and the end
        whole = after(NEVER, BAR, DURATION)
        may[:, :-1] |= whole & (kinds == BAR)
        may[:, -1:] |= after(BAR, DURATION)
        # a position: later in this bar, with some instrument that may begin some pitch there
        then = now.bar[:, None] + values
        soon = now.until.flatten(1).amin(1, keepdim=True) <= then
        same = begun[0] & (_of(now.until, now.instrument).amin(1, keepdim=True) <= then)
        need = note + (~same).long()
        later = (values > now.position[:, None]) & (values < now.length[:, None])
        may[:, :-1] |= after(BAR, DURATION) & (kinds == POSITION) & later & soon & (left[:, None] > need)
        # an instrument: another one, of a higher number once the position has notes, with some pitch to begin
        other = torch.where(now.first[:, None], table[:, 2] != now.instrument[:, None],
                            table[:, 2] > now.instrument[:, None])  # fmt: skip
        able = free.any(2).gather(1, torch.where(kinds == INSTRUMENT, table[:, 2], 0).expand(len(seen), -1))
        here = after(POSITION, DURATION)
        may[:, :-1] |= here & (kinds == INSTRUMENT) & other & able & (left[:, None] > note)
        # a velocity, another one; a pitch
        some = own.any(1, keepdim=True) & begun[0]
        told = (here | after(INSTRUMENT)) & some
        may[:, :-1] |= told & (kinds == VELOCITY) & (table[:, 2] != now.velocity[:, None]) & (left[:, None] > 2)
        pitch = own.gather(1, torch.where(kinds == PITCH, table[:, 2], 0).expand(len(seen), -1))
        may[:, :-1] |= (here | after(INSTRUMENT, VELOCITY)) & telling & (kinds == PITCH) & pitch & (left[:, None] > 1)
        may[:, :-1] |= after(PITCH) & (kinds == DURATION)
        return may


@dataclass(frozen=True, kw_only=True)
class _Now:
    """Where each row stands, int64 (n,) unless said.

    count       events so far.
    kind        of the last one, -1 for none.
    bar, length, position, at  where its bar begins and how long it is, the position in it, both together; -1 for none.
    instrument, velocity, pitch  the last ones, as numbers within their kind; -1 for none.
    first, fresh  bool: whether the position has no note yet, and whether the instrument has none there.
    until       (n, instruments, pitches), the step from which each may begin anew.
    """

    count: Tensor
    kind: Tensor
    bar: Tensor
    length: Tensor
    position: Tensor
    at: Tensor
    instrument: Tensor
    velocity: Tensor
    pitch: Tensor
    first: Tensor
    fresh: Tensor
    until: Tensor


def _read(seen: Tensor, table: Tensor, instruments: int, pitches: int) -> _Now:
    n, t = seen.shape
    if t == 0:
        seen = seen.new_full((n, 1), -1)
    there, rows = seen >= 0, table[seen.clamp(min=0)]
    kind = torch.where(there, rows[..., 0], NEVER)
    place = torch.arange(seen.shape[1], device=seen.device).expand(n, -1)
    # the place of the latest event of each kind up to each place, -1 for none
    latest = {k: torch.where(kind == k, place, NEVER).cummax(1).values for k in range(6)}

    def latest_of(which: int, column: int) -> Tensor:
        at = latest[which]
        return torch.where(at >= 0, rows[..., column].gather(1, at.clamp(min=0)), NEVER)

    length = latest_of(BAR, 1)
    begins = torch.where(kind == BAR, rows[..., 1], 0).cumsum(1) - length.clamp(min=0)
    position = torch.where(latest[POSITION] > latest[BAR], latest_of(POSITION, 1), NEVER)
    voice = latest_of(INSTRUMENT, 2).clamp(min=0) * pitches + latest_of(PITCH, 2).clamp(min=0)
    over = torch.where(kind == DURATION, begins + position + rows[..., 1], 0)
    until = torch.zeros(n, instruments * pitches, dtype=torch.int64, device=seen.device)
    until = until.scatter_reduce(1, torch.where(kind == DURATION, voice, 0), over, "amax")
    last = torch.where(there, place, NEVER).amax(1)
    final = lambda x: x[:, -1]  # noqa: E731
    return _Now(
        count=there.sum(1),
        kind=torch.where(last >= 0, kind.gather(1, last.clamp(min=0)[:, None])[:, 0], NEVER),
        bar=final(begins),
        length=final(length),
        position=final(position),
        at=final(begins) + final(position),
        instrument=final(latest_of(INSTRUMENT, 2)),
        velocity=final(latest_of(VELOCITY, 2)),
        pitch=final(latest_of(PITCH, 2)),
        first=final(latest[PITCH]) < final(latest[POSITION]),
        fresh=final(latest[PITCH]) < torch.maximum(final(latest[POSITION]), final(latest[INSTRUMENT])),
        until=until.view(n, instruments, pitches),
    )


def _of(each: Tensor, instrument: Tensor) -> Tensor:
    """What (n, instruments, pitches) says of each row's own instrument, of the first where it has none."""
    return each[torch.arange(len(each), device=each.device), instrument.clamp(min=0)]
