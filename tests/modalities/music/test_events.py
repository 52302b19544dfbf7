"""Tunes and events are two ways to write the same: there and back without loss, whatever is drawn under the grammar."""

from __future__ import annotations

import json

import pytest
import torch
from music_made import drawn, tune

from simulacra.modalities.music.events import Events
from simulacra.modalities.music.grammar import Grammar
from simulacra.modalities.music.tunes import Note, Tune, pieces, tidied

TUNES = [tune(i) for i in range(8)]
EVENTS = Events.fitted(TUNES)


def note(start: int, pitch: int = 60, duration: int = 12, program: int = 0, velocity: int = 90) -> Note:
    return Note(start=start, program=program, pitch=pitch, duration=duration, velocity=velocity)


@pytest.mark.parametrize("seed", range(8))
def test_a_tune_comes_back_from_its_events(seed):
    events = Events.from_json(json.loads(json.dumps(EVENTS.to_json())))
    assert events == EVENTS
    assert events.decode(events.encode(TUNES[seed]).tolist()) == TUNES[seed]


def test_events_by_hand():
    events = Events(bars=(36, 48), instruments=(0, 5), velocities=(90,), pitches=(60, 61, 62), durations=(12, 24))
    written = events.encode(
        Tune(notes=(note(0), note(0, 62, 24), note(0, 60, program=5), note(60, 61)), bars=(48, 36, 36))
    )
    assert [events.names[i] for i in written] == [
        "bar 48", "position 0", "instrument 0", "velocity 90", "pitch 60", "duration 12", "pitch 62", "duration 24",
        "instrument 5", "pitch 60", "duration 12",
        "bar 36", "position 12", "instrument 0", "pitch 61", "duration 12",
        "bar 36",
    ]  # fmt: skip


@pytest.mark.parametrize("room", [1, 2, 5, 6, 7, 40])
def test_whatever_the_grammar_lets_through_is_a_tune_with_these_very_events(room):
    seen, length = drawn(EVENTS, 24, room, seed=room)
    assert int(length.min()) >= 1
    for row, m in zip(seen.tolist(), length.tolist(), strict=True):
        found = EVENTS.decode(row[:m])
        assert EVENTS.encode(found).tolist() == row[:m]
    if room == 40:
        assert int(length.max()) == room  # it is the room that ended some


def test_crowded_pitches_leave_something_that_may_come_next():
    """Two pitches and long notes: soon everything sounds, and only time may pass."""
    events = Events(bars=(4,), instruments=(0, 1), velocities=(1,), pitches=(60, 61), durations=(3, 50))
    seen, length = drawn(events, 40, 60, seed=3)
    for row, m in zip(seen.tolist(), length.tolist(), strict=True):
        assert events.encode(events.decode(row[:m])).tolist() == row[:m]


@pytest.mark.parametrize("seed", range(4))
def test_the_grammar_lets_every_tune_through(seed):
    written = torch.from_numpy(EVENTS.encode(TUNES[seed]))
    legal = Grammar(events=EVENTS, room=len(written))
    padded = torch.stack([torch.where(torch.arange(len(written)) < t, written, -1) for t in range(len(written))])
    may = legal(padded)
    assert bool(may[torch.arange(len(written)), written].all())
    assert bool(legal(written[None])[0, -1])


def test_the_mask_is_the_same_whatever_stands_in_the_other_rows():
    seen, _ = drawn(EVENTS, 6, 20)
    legal = Grammar(events=EVENTS, room=40)
    assert torch.equal(legal(seen)[2:3], legal(seen[2:3]))
    # columns of nothing after the last event change nothing
    assert torch.equal(legal(torch.cat([seen, torch.full((6, 3), -1)], dim=1)), legal(seen))


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["pitch 60"], "event 0, pitch 60, cannot stand after the beginning"),
        (["bar 36", "position 35", "instrument 0", "pitch 60"], "pitch 60, cannot stand after instrument"),
        (["bar 36", "position 40"], "position 40, lies outside its bar"),
        (["bar 36", "bar 48", "position 1", "instrument 0", "velocity 40", "pitch 60"], "6 events end within a note"),
    ],
)
def test_what_is_no_tune_is_told_with_its_place(names, part):
    number = {name: i for i, name in enumerate(EVENTS.names)}
    with pytest.raises(ValueError, match=part):
        EVENTS.decode([number[name] for name in names])


def test_what_is_not_in_the_vocabulary_is_named():
    strange = Tune(notes=(note(0, 20),), bars=(7,))
    assert EVENTS.unknown(strange) == ["bar 7", "velocity 90", "pitch 20"]
    with pytest.raises(ValueError, match="bar 7 is not among the events"):
        EVENTS.encode(strange)


def test_notes_are_made_such_that_midi_can_tell_them_apart():
    found = tidied([note(0, duration=20), note(12), note(12, duration=5), note(12, program=1)])
    assert found.notes == (note(0, duration=12), note(12), note(12, program=1))
    assert (found.cut, found.dropped) == (1, 1)
    by_a_step = tidied([note(0, duration=13), note(12)])
    assert (by_a_step.notes, by_a_step.cut) == ((note(0), note(12)), 1)
    with pytest.raises(ValueError, match="begins while the same pitch still sounds"):
        Tune(notes=(note(0, duration=20), note(12)), bars=(48,))
    with pytest.raises(ValueError, match="begins within its tune of 48 steps"):
        Tune(notes=(note(48),), bars=(48,))


def test_pieces_are_whole_bars_that_fit():
    whole = TUNES[0]
    events = Events.fitted(TUNES)
    parts = pieces(whole, events.costs(whole), 40)
    assert len(parts) > 1
    assert sum((p.bars for p in parts), ()) == whole.bars
    assert sum(len(p.notes) for p in parts) == len(whole.notes)
    assert all(len(events.encode(p)) <= 40 for p in parts)
    assert pieces(whole, events.costs(whole), 10_000) == [whole]
    assert pieces(whole, events.costs(whole), 2) == []
