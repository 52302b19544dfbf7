"""Music from files, and back to what is seen and heard."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
import torch
from music_made import tune

from simulacra.core.randomness import Rng
from simulacra.modalities.music.midi import write_midi
from simulacra.modalities.music.roll import ROW, STEP, rolls
from simulacra.modalities.music.source import is_music, read_tunes, tunes_of
from simulacra.modalities.music.synth import RATE, sounded, tones_of, wav
from simulacra.modalities.music.tunes import DRUMS, Note, Tune
from simulacra.modalities.sources import open_data

pytest.importorskip("symusic")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "tunes"
    for i in range(24):
        write_midi(tune(i), path / f"{i:02}.mid")
    return path


def one(*notes: tuple[int, int, int], program: int = 0) -> Tune:
    made = (Note(start=s, program=program, pitch=p, duration=d, velocity=100) for s, p, d in notes)
    return Tune(notes=tuple(sorted(made)), bars=(48,))


def test_a_folder_is_recognised_and_every_tune_is_learnt_or_held_out(folder):
    assert is_music(folder)
    loaded = open_data(str(folder), block=60)
    assert loaded.modality == "music"
    f = loaded.train.space.only
    assert f.names == loaded.music.names
    parts = [tunes_of(d.batch(torch.arange(len(d)), Rng(0)), loaded.music) for d in (loaded.train, loaded.held_out)]
    dropped = sum(int(n.split()[0].replace(",", "")) for n in loaded.notes if "dropped" in n)
    whole = sum(len(t.notes) for t in read_tunes(folder))
    assert sum(len(t.notes) for part in parts for t in part) + dropped == whole
    assert "24 tunes" in loaded.notes[0]
    again = open_data(loaded.source, **loaded.options)
    assert again.train.fingerprint == loaded.train.fingerprint
    assert again.music == loaded.music


def test_damaged_files_are_skipped_by_name(folder):
    (folder / "a-bad.mid").write_bytes(b"MThd oops")
    loaded = open_data(str(folder))
    assert any("1 files skipped that cannot be read: a-bad.mid" in n for n in loaded.notes)
    with pytest.raises(ValueError, match="1 of 25 files cannot be read, the first a-bad.mid"):
        open_data(str(folder), skip=0.0)
    with pytest.raises(ValueError, match="no MIDI that can be read"):
        open_data(str(folder / "a-bad.mid"))


@pytest.mark.parametrize(
    ("options", "part"),
    [({"tokens": "bytes"}, "tokens means nothing"), ({"block": 3}, "a piece has room"), ({"size": 3}, "size means")],
)
def test_choices_that_mean_nothing_are_refused(folder, options, part):
    with pytest.raises(ValueError, match=part):
        open_data(str(folder), **options)


def test_one_file_cannot_be_split(folder):
    with pytest.raises(ValueError, match="one tune cannot be split"):
        open_data(str(folder / "00.mid"))


def test_a_tone_has_its_frequency_and_its_length():
    """a' for half a second (12 steps at 120): the spectrum's peak is at 440 Hz, and the end is nearly silent."""
    x = sounded(tones_of(one((0, 69, 12))))
    assert len(x) == pytest.approx(RATE, abs=2)
    spectrum = np.abs(np.fft.rfft(x[: RATE // 2] * np.hanning(RATE // 2)))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 2
    assert np.abs(x).max() == pytest.approx(0.8)
    assert np.abs(x[-RATE // 10 :]).max() < 0.02


def test_a_wav_holds_every_tune_and_drums_are_left_out():
    with wave.open(io.BytesIO(wav([one((0, 69, 12)), one((0, 60, 24))]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        assert file.getnframes() / RATE == pytest.approx(1.0 + 0.5 + 1.5 + 0.5, abs=0.01)
    assert wav([one((0, 36, 12), program=DRUMS)]) is None


def test_a_roll_shows_each_note_where_it_is():
    picture = np.asarray(rolls([one((0, 60, 24), (24, 64, 24))]))
    height = 64 - 60 + 3
    assert picture.shape == (height * ROW, 48 * STEP, 3)
    dark = picture.sum(2) < 400
    rows = lambda pitch: slice((65 - pitch) * ROW, (66 - pitch) * ROW)  # noqa: E731
    assert dark[rows(60), : 24 * STEP - 1].all()
    assert not dark[rows(60), 24 * STEP :].any()
    assert dark[rows(64), 24 * STEP : 48 * STEP - 1].all()
    with pytest.raises(ValueError, match="there are none"):
        rolls([Tune(notes=(), bars=(48,))])
