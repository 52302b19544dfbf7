"""MIDI files <-> tunes, by ``symusic``: what is rounded to the grid, cut or dropped on the way in is counted and said.

The way out and in again changes nothing: a tune is written so that it is read as itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulacra.core.checkpoint import told
from simulacra.modalities.music.tunes import DRUMS, GRID, Note, Tune, tidied

SUFFIXES = (".mid", ".midi")
TICKS = 480  # a quarter note of a file that is written
COMMON = 4 * GRID  # steps of a bar of four quarters, where a file tells no metre
LONGEST = 4 * COMMON  # steps of a note: what sounds longer is cut
LEVELS = 8  # velocities are told apart in steps of so many
SIXTEENTH = GRID // 4  # a metre that MIDI can write is a whole number of sixteenths
END = "end"  # the marker at which a tune that was written ends
MOST_BARS = 10_000


@dataclass(frozen=True, kw_only=True)
class Read:
    """A file's tune and what became of its notes.

    moved    beginnings that did not lie on the grid.
    cut      notes that were longer than four bars, or went on when their pitch began anew.
    stretched  notes of no length, that now last a step.
    dropped  notes that began where their pitch did already.
    """

    tune: Tune
    moved: int
    cut: int
    stretched: int
    dropped: int


def read_midi(path: Path) -> Read:
    """The tune of a MIDI file; ValueError, in a line, for one that is damaged, has no note or no beat."""
    symusic = _symusic()
    try:
        score = symusic.Score(str(path))
    except Exception as error:  # symusic raises what its parser meets: ValueError, RuntimeError ...
        raise ValueError(f"{path}: no MIDI that can be read ({' '.join(str(error).split()) or 'damaged'})") from error
    if score.tpq <= 0:
        raise ValueError(f"{path}: its time is not counted in beats; expected ticks a quarter note")
    step = lambda tick: round(tick * GRID / score.tpq)  # noqa: E731
    notes, moved, stretched, cut = list[Note](), 0, 0, 0
    for track in score.tracks:
        program = DRUMS if track.is_drum else track.program
        for n in track.notes:
            start, end = step(n.time), step(n.time + n.duration)
            moved += n.time * GRID % score.tpq != 0
            stretched += end <= start
            cut += end - start > LONGEST
            notes.append(
                Note(
                    start=max(start, 0),
                    program=program,
                    pitch=n.pitch,
                    duration=min(max(end - start, 1), LONGEST),
                    velocity=_level(n.velocity),
                )
            )
    if not notes:
        raise ValueError(f"{path}: there is no note in it")
    clean = tidied(notes)
    until = max(n.start for n in clean.notes) + 1
    marks = [step(m.time) for m in score.markers if m.text == END]
    signatures = [(step(s.time), s.numerator, s.denominator) for s in score.time_signatures]
    bars = _bars(signatures, max([until, *marks]))
    if bars is None:
        raise ValueError(f"{path}: {until // COMMON:,} bars; expected at most {MOST_BARS:,}")
    return Read(
        tune=Tune(notes=clean.notes, bars=bars),
        moved=moved,
        cut=cut + clean.cut,
        stretched=stretched,
        dropped=clean.dropped,
    )


def write_midi(tune: Tune, path: Path, *, tempo: float = 120.0) -> str:
    """Write a tune as a MIDI file; returns a line that says what was written.

    tempo  quarter notes a minute. ValueError for a bar that is no whole number of sixteenths: MIDI has no such metre.
    """
    symusic = _symusic()
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: tunes are written as .mid")
    scale, score = TICKS // GRID, symusic.Score(TICKS)
    score.tempos.append(symusic.Tempo(0, tempo))
    begins, before = 0, None
    for length in tune.bars:
        if length != before:
            score.time_signatures.append(symusic.TimeSignature(begins * scale, *metre(length)))
        begins, before = begins + length, length
    score.markers.append(symusic.TextMeta(begins * scale, END))
    for program in sorted({n.program for n in tune.notes}):
        drums = program == DRUMS
        track = symusic.Track("", 0 if drums else program, drums)
        for n in tune.notes:
            if n.program == program:
                track.notes.append(symusic.Note(n.start * scale, n.duration * scale, n.pitch, n.velocity))
        score.tracks.append(track)
    with told(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        score.dump_midi(str(path))
    return f"{path}: {len(tune.notes):,} notes in {len(tune.bars):,} bars"


def metre(length: int) -> tuple[int, int]:
    """The time signature of a bar of so many steps, in the longest beats of which it has a whole number.

    >>> metre(48), metre(36), metre(42)
    ((4, 4), (3, 4), (7, 8))
    """
    for denominator in (4, 8, 16):
        beat = COMMON // denominator
        if length % beat == 0 and length // beat < 256:
            return length // beat, denominator
    raise ValueError(f"a bar of {length} steps of a twelfth of a quarter has no metre; expected whole sixteenths")


def _bars(signatures: Sequence[tuple[int, int, int]], until: int) -> tuple[int, ...] | None:
    """Lengths of the bars up to a step; of four quarters where the metres told are none that can be written.

    A metre that comes within a bar ends it. None for more bars than anything that was written down has.
    """
    changes = {at: (COMMON * above) // below for at, above, below in signatures
               if below > 0 and above > 0 and (COMMON * above) % below == 0}  # fmt: skip
    found = list(_told(sorted(changes.items()), until))
    if any(length % SIXTEENTH for length in found):
        found = [COMMON] * -(-until // COMMON)
    return tuple(found) if len(found) <= MOST_BARS else None


def _told(changes: Sequence[tuple[int, int]], until: int) -> Iterator[int]:
    at, length, count = 0, COMMON, 0
    ahead = list(changes)
    while at < until and count <= MOST_BARS:
        while ahead and ahead[0][0] <= at:
            length = ahead.pop(0)[1]
        whole = min(length, ahead[0][0] - at) if ahead else length
        yield whole
        at, count = at + whole, count + 1


def _level(velocity: int) -> int:
    """The middle of the step that a velocity lies in: 4, 12 .. 124."""
    return min(max(velocity, 1), 127) // LEVELS * LEVELS + LEVELS // 2


def _symusic() -> Any:
    try:
        import symusic
    except ImportError as error:
        raise ImportError("MIDI needs the package symusic: pip install 'simulacra[music]'") from error
    return symusic
