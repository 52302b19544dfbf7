"""MIDI out and in again is the identity on tunes; what other files hold is rounded, cut and dropped by count."""

from __future__ import annotations

import pytest
from music_made import drawn, tune

from simulacra.modalities.music.events import Events
from simulacra.modalities.music.midi import COMMON, LONGEST, metre, read_midi, write_midi
from simulacra.modalities.music.tunes import DRUMS, Note, Tune

symusic = pytest.importorskip("symusic")


def note(start: int, pitch: int = 60, duration: int = 12, program: int = 0, velocity: int = 92) -> Note:
    return Note(start=start, program=program, pitch=pitch, duration=duration, velocity=velocity)


def at_levels(whole: Tune) -> Tune:
    """A tune with velocities in the middle of their steps, as files are read."""
    notes = (Note(**{**vars(n), "velocity": n.velocity // 8 * 8 + 4}) for n in whole.notes)
    return Tune(notes=tuple(notes), bars=whole.bars)


@pytest.mark.parametrize("seed", range(6))
def test_a_tune_is_read_as_it_was_written(tmp_path, seed):
    whole = at_levels(tune(seed))
    write_midi(whole, tmp_path / "a.mid")
    found = read_midi(tmp_path / "a.mid")
    assert found.tune == whole
    assert (found.moved, found.cut, found.stretched, found.dropped) == (0, 0, 0, 0)


def test_whatever_is_drawn_under_the_grammar_survives_midi(tmp_path):
    events = Events.fitted([at_levels(tune(i)) for i in range(4)])
    seen, length = drawn(events, 12, 50, seed=5)
    for row, m in zip(seen.tolist(), length.tolist(), strict=True):
        write_midi(events.decode(row[:m]), tmp_path / "a.mid") if row[0] >= 0 else None
        if not events.decode(row[:m]).notes:
            continue
        assert events.encode(read_midi(tmp_path / "a.mid").tune).tolist() == row[:m]


def test_drums_many_instruments_and_bars_of_silence_survive(tmp_path):
    notes = sorted([note(3 * i, 40 + i, program=i) for i in range(20)] + [note(0, 36, program=DRUMS)])
    whole = Tune(notes=tuple(notes), bars=(36, 36, 42, 48, 48))
    write_midi(whole, tmp_path / "a.mid")
    assert read_midi(tmp_path / "a.mid").tune == whole


def score(notes, *, tpq=480, signatures=(), drum=False):
    made = symusic.Score(tpq)
    for signature in signatures:
        made.time_signatures.append(symusic.TimeSignature(*signature))
    track = symusic.Track("", 0, drum)
    for n in notes:
        track.notes.append(symusic.Note(*n))
    made.tracks.append(track)
    return made


def test_what_a_file_loses_is_counted(tmp_path):
    made = score([(0, 480, 60, 90), (7, 480, 62, 90), (480, 0, 64, 127), (960, 480 * 40, 65, 1)])
    made.dump_midi(str(tmp_path / "a.mid"))
    found = read_midi(tmp_path / "a.mid")
    assert (found.moved, found.stretched, found.cut, found.dropped) == (1, 1, 1, 0)
    assert [n.velocity for n in found.tune.notes] == [92, 92, 124, 4]
    assert found.tune.notes[-1].duration == LONGEST
    assert found.tune.notes[2].duration == 1
    # notes of no length are written, and lost, by some; what is there is kept
    assert len(found.tune.notes) == 4


def test_metres_make_bars_and_a_new_one_ends_the_bar_it_comes_in(tmp_path):
    made = score([(0, 240, 60, 90), (480 * 9, 240, 60, 90)], signatures=[(0, 3, 4), (480 * 4, 6, 8)])
    made.dump_midi(str(tmp_path / "a.mid"))
    assert read_midi(tmp_path / "a.mid").tune.bars == (36, 12, 36, 36)
    made = score([(0, 240, 60, 90)], signatures=[(0, 5, 32)])  # 7 1/2 steps: no whole number of them
    made.dump_midi(str(tmp_path / "b.mid"))
    assert read_midi(tmp_path / "b.mid").tune.bars == (COMMON,)
    with pytest.raises(ValueError, match="a bar of 7 steps"):
        metre(7)


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "no MIDI that can be read"), (b"hello", "no MIDI that can be read"), (b"MThd\0\0\0\6\0\1\0", "no MIDI")],
)
def test_damaged_files_are_told_in_a_line(tmp_path, content, part):
    path = tmp_path / "bad.mid"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=part) as caught:
        read_midi(path)
    assert "\n" not in str(caught.value)


def test_a_file_without_notes_and_one_cut_short(tmp_path):
    symusic.Score(480).dump_midi(str(tmp_path / "none.mid"))
    with pytest.raises(ValueError, match="there is no note in it"):
        read_midi(tmp_path / "none.mid")
    write_midi(at_levels(tune(0)), tmp_path / "a.mid")
    whole = (tmp_path / "a.mid").read_bytes()
    (tmp_path / "a.mid").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="no MIDI that can be read"):
        read_midi(tmp_path / "a.mid")


@pytest.mark.slow
def test_every_tune_of_nottingham_is_read_and_comes_back_from_its_events(real_data):
    tunes = [read_midi(path).tune for path in sorted((real_data / "nottingham").glob("*.mid"))]
    assert len(tunes) == 1_034
    events = Events.fitted(tunes)
    assert all(events.decode(events.encode(t).tolist()) == t for t in tunes)
