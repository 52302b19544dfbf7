"""Tunes <-> events: bar, position, instrument, velocity, pitch, duration, each a token (after Huang & Yang 2020, REMI).

A bar tells its length. A position within it is followed by its notes, by instrument and pitch: a note is its pitch and
its duration, after its instrument and its velocity where these are not those of the note before. So every tune has
one sequence of events; what every sequence may go on with is told by ``music.grammar``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from simulacra.modalities.music.tunes import Note, Tune

BAR, POSITION, INSTRUMENT, VELOCITY, PITCH, DURATION = range(6)
KINDS = ("bar", "position", "instrument", "velocity", "pitch", "duration")


@dataclass(frozen=True, kw_only=True)
class Events:
    """A vocabulary: the values that each kind of event has, in order; all of those it was fitted to, and no others.

    bars, durations  in steps; instruments, velocities, pitches as notes have them. Positions are the steps of the
    longest bar.
    """

    bars: tuple[int, ...]
    instruments: tuple[int, ...]
    velocities: tuple[int, ...]
    pitches: tuple[int, ...]
    durations: tuple[int, ...]

    @cached_property
    def tokens(self) -> tuple[tuple[int, int], ...]:
        """(kind, value) of every token."""
        values = (self.bars, range(max(self.bars)), self.instruments, self.velocities, self.pitches, self.durations)
        return tuple((kind, value) for kind, several in enumerate(values) for value in several)

    @property
    def names(self) -> tuple[str, ...]:
        """The tokens in words: "pitch 69"."""
        return tuple(f"{KINDS[kind]} {value}" for kind, value in self.tokens)

    @cached_property
    def _number(self) -> dict[tuple[int, int], int]:
        return {token: i for i, token in enumerate(self.tokens)}

    @staticmethod
    def fitted(tunes: Iterable[Tune]) -> Events:
        """The vocabulary of some tunes; pitches are all between the lowest and the highest. ValueError for no note."""
        tunes = list(tunes)
        notes = [note for tune in tunes for note in tune.notes]
        if not notes:
            raise ValueError("events are fitted to notes; these tunes have none")
        pitches = [n.pitch for n in notes]
        return Events(
            bars=tuple(sorted({bar for tune in tunes for bar in tune.bars})),
            instruments=tuple(sorted({n.program for n in notes})),
            velocities=tuple(sorted({n.velocity for n in notes})),
            pitches=tuple(range(min(pitches), max(pitches) + 1)),
            durations=tuple(sorted({n.duration for n in notes})),
        )

    def unknown(self, tune: Tune) -> list[str]:
        """The events of a tune that are not in the vocabulary, in words; what encoding it would drop."""
        wanted = {(BAR, bar) for bar in tune.bars}
        for n in tune.notes:
            wanted |= {(INSTRUMENT, n.program), (VELOCITY, n.velocity), (PITCH, n.pitch), (DURATION, n.duration)}
        return [f"{KINDS[kind]} {value}" for kind, value in sorted(wanted - set(self._number))]

    def encode(self, tune: Tune) -> np.ndarray:
        """Events int64 (t,); ValueError for one that is not in the vocabulary."""
        found, state = list[tuple[int, int]](), (-1, -1)
        for begins, length, notes in _by_bar(tune):
            found.append((BAR, length))
            at = -1
            for note in notes:
                if note.start - begins != at:
                    at = note.start - begins
                    found.append((POSITION, at))
                if note.program != state[0]:
                    found.append((INSTRUMENT, note.program))
                if note.velocity != state[1]:
                    found.append((VELOCITY, note.velocity))
                state = (note.program, note.velocity)
                found += [(PITCH, note.pitch), (DURATION, note.duration)]
        try:
            return np.array([self._number[token] for token in found], np.int64)
        except KeyError as error:
            kind, value = error.args[0]
            raise ValueError(
                f"{KINDS[kind]} {value} is not among the events that were learned from; leave the tune out, or fit on"
                " data that has it"
            ) from None

    def decode(self, tokens: Sequence[int]) -> Tune:
        """The tune of some events; ValueError, with its place, for one that cannot stand there."""
        notes, bars = list[Note](), list[int]()
        begins = at = 0
        state = {INSTRUMENT: -1, VELOCITY: -1, PITCH: -1}
        before = None
        for place, token in enumerate(tokens):
            kind, value = self.tokens[token]
            if before not in FOLLOWS[kind] or (kind == PITCH and min(state[INSTRUMENT], state[VELOCITY]) < 0):
                after = "the beginning" if before is None else KINDS[before]
                raise ValueError(f"event {place}, {KINDS[kind]} {value}, cannot stand after {after}")
            if kind == BAR:
                begins, at = sum(bars), -1
                bars.append(value)
            elif kind == POSITION:
                if value >= bars[-1] or value <= at:
                    raise ValueError(f"event {place}, position {value}, lies outside its bar or before what was there")
                at = value
            elif kind == DURATION:
                notes.append(
                    Note(
                        start=begins + at,
                        program=state[INSTRUMENT],
                        pitch=state[PITCH],
                        duration=value,
                        velocity=state[VELOCITY],
                    )
                )
            else:
                state[kind] = value
            before = kind
        if before not in (BAR, DURATION):
            raise ValueError(f"{len(tokens)} events end within a note; expected whole ones")
        return Tune(notes=tuple(notes), bars=tuple(bars))

    def costs(self, tune: Tune) -> list[int]:
        """Events that each bar takes at most, where it begins a piece: instrument and velocity are told anew."""
        found = []
        for _, _, notes in _by_bar(tune):
            state, at, total = None, None, 1
            for note in notes:
                total += 2 + (note.start != at)
                total += 2 if state is None else (note.program != state[0]) + (note.velocity != state[1])
                state, at = (note.program, note.velocity), note.start
            found.append(total)
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns into an equal vocabulary."""
        return {"kind": "events", **{name: list(getattr(self, name)) for name in self.__dataclass_fields__}}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Events:
        """The vocabulary that ``to_json`` wrote; ValueError for anything else."""
        if value.get("kind") != "events":
            raise ValueError(f"no vocabulary of events: {value.get('kind')!r}; expected what Events.to_json writes")
        return Events(**{name: tuple(value[name]) for name in Events.__dataclass_fields__})


# what may stand before each kind of event
FOLLOWS: dict[int, set[int | None]] = {
    BAR: {None, BAR, DURATION},
    POSITION: {BAR, DURATION},
    INSTRUMENT: {POSITION, DURATION},
    VELOCITY: {POSITION, DURATION, INSTRUMENT},
    PITCH: {POSITION, DURATION, INSTRUMENT, VELOCITY},
    DURATION: {PITCH},
}


def _by_bar(tune: Tune) -> list[tuple[int, int, list[Note]]]:
    """Where each bar begins, how long it is, and its notes."""
    found, begins, at = list[tuple[int, int, list[Note]]](), 0, 0
    for length in tune.bars:
        notes: list[Note] = []
        while at < len(tune.notes) and tune.notes[at].start < begins + length:
            notes.append(tune.notes[at])
            at += 1
        found.append((begins, length, notes))
        begins += length
    return found
