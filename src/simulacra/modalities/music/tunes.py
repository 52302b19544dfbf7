"""A tune: notes on a grid of time, in bars. What a MIDI file is rounded to, and what events write without loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

GRID = 12  # steps a quarter note: sixteenths and triplets are whole numbers of them
DRUMS = 128  # the instrument that stands for MIDI's channel 10


@dataclass(frozen=True, order=True, kw_only=True)
class Note:
    """A note, ordered by its beginning, its instrument, its pitch.

    start, duration  in steps of a twelfth of a quarter note, from the beginning of the tune.
    program          General MIDI's instrument 0 .. 127, or 128 for drums.
    pitch            0 .. 127, 69 is a' of 440 Hz.
    velocity         1 .. 127.
    """

    start: int
    program: int
    pitch: int
    duration: int
    velocity: int

    @property
    def end(self) -> int:
        """The step at which it is over."""
        return self.start + self.duration


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Notes in order, and the length of every bar in steps; each note begins within a bar.

    No instrument begins a pitch that it still sounds: MIDI could not tell the two apart. ValueError otherwise.
    """

    notes: tuple[Note, ...]
    bars: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.bars or min(self.bars) < 1:
            raise ValueError(f"a tune has at least one bar, each of at least one step; got bars {self.bars[:4]}")
        if list(self.notes) != sorted(self.notes):
            raise ValueError("a tune's notes are in order: by beginning, instrument, pitch; sort them")
        until, sounding = sum(self.bars), dict[tuple[int, int], int]()
        for note in self.notes:
            voice = (note.program, note.pitch)
            if note.duration < 1 or note.start < 0 or note.start >= until:
                raise ValueError(f"a note begins within its tune of {until} steps and lasts at least one; got {note}")
            if sounding.get(voice, 0) > note.start:
                raise ValueError(f"{note} begins while the same pitch still sounds; cut the first one (``tidied``)")
            sounding[voice] = note.end


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """Notes that a tune can hold, and what was done to make them so: how many were cut, and how many dropped."""

    notes: tuple[Note, ...]
    cut: int
    dropped: int


def tidied(notes: Iterable[Note]) -> Tidied:
    """Notes in order, each over where its pitch begins anew; of two that begin together the longer one is kept."""
    found: list[Note] = []
    last: dict[tuple[int, int], int] = {}  # a voice -> where in found its last note stands
    cut = dropped = 0
    for note in sorted(notes, key=lambda n: (n.start, n.program, n.pitch, -n.duration, -n.velocity)):
        voice = (note.program, note.pitch)
        at = last.get(voice)
        if at is not None and found[at].start == note.start:
            dropped += 1
            continue
        if at is not None and found[at].end > note.start:
            found[at] = replace(found[at], duration=note.start - found[at].start)
            cut += 1
        last[voice] = len(found)
        found.append(note)
    return Tidied(notes=tuple(found), cut=cut, dropped=dropped)


def joined(first: Tune, then: Tune) -> Tune:
    """Two tunes one after another; a note of the first is cut where its pitch begins anew."""
    shift = sum(first.bars)
    after = (replace(n, start=n.start + shift) for n in then.notes)
    return Tune(notes=tidied((*first.notes, *after)).notes, bars=(*first.bars, *then.bars))


def cut(tune: Tune, bars: int) -> tuple[Tune | None, Tune]:
    """What comes before the last so many bars of a tune, None for nothing, and those bars."""
    whole = len(tune.bars) - bars
    at = sum(tune.bars[:whole])
    before = tuple(n for n in tune.notes if n.start < at)
    after = tuple(replace(n, start=n.start - at) for n in tune.notes if n.start >= at)
    return Tune(notes=before, bars=tune.bars[:whole]) if whole else None, Tune(notes=after, bars=tune.bars[whole:])


def pieces(tune: Tune, fits: Sequence[int], most: int) -> list[Tune]:
    """Runs of whole bars of a tune, each of at most so many events, as tunes of their own.

    fits  events that each bar takes, at most (``events.Events.cost``). A bar that alone takes more is left out.
    """
    found: list[Tune] = []
    starts = [0]
    for length in tune.bars:
        starts.append(starts[-1] + length)
    first = 0
    while first < len(tune.bars):
        last, total = first, 0
        while last < len(tune.bars) and total + fits[last] <= most:
            total += fits[last]
            last += 1
        if last == first:
            first += 1  # does not fit by itself
            continue
        inside = (n for n in tune.notes if starts[first] <= n.start < starts[last])
        notes = tuple(replace(n, start=n.start - starts[first]) for n in inside)
        if notes:
            found.append(Tune(notes=notes, bars=tune.bars[first:last]))
        first = last
    return found
