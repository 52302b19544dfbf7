"""What of a roll is kept: by frames that can be read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simulacra.modalities.music.frames import frames_of
from simulacra.modalities.music.gaps import gap
from simulacra.modalities.music.rolls import rolled
from simulacra.modalities.music.tunes import Note, Tune, cut, joined

CHORD = [[48, 55, 60, 67]]  # from low to high


def redrawn(fill: str, frames: list[list[int]]) -> list[set[int]]:
    """The MIDI numbers that are drawn anew in each frame."""
    kept: Tensor = gap(fill)(torch.from_numpy(rolled(frames)))
    return [{108 - i for i in (~row).nonzero()[:, 0].tolist()} for row in kept]


def test_a_harmony_is_all_under_the_melody():
    assert redrawn("harmony", CHORD) == [set(range(21, 67))]
    assert redrawn("harmony", [[60], []]) == [set(range(21, 60)), set()]  # rests stay rests


@pytest.mark.parametrize(
    ("number", "keys"),
    [(1, range(61, 109)), (2, range(56, 67)), (3, range(49, 60)), (4, range(21, 55))],
)
def test_a_voice_is_found_anew_between_its_neighbours(number, keys):
    assert redrawn(f"voice:{number}", CHORD) == [set(keys)]


def test_a_frame_without_the_voice_and_bars_outside_stay_as_they_are():
    assert redrawn("voice:3", [[60, 67], *CHORD]) == [set(), set(range(49, 60))]
    whole = set(range(21, 109))
    assert redrawn("bars:2-3", CHORD * 13) == [set()] * 4 + [whole] * 8 + [set()]
    assert redrawn("bars:1", CHORD * 5) == [whole] * 4 + [set()]


@pytest.mark.parametrize("fill", ["", "voice", "voice:x", "bars:2", "bars:3-2", "voice:0", "bars:1-9", "alto"])
def test_what_means_nothing_is_told(fill):
    with pytest.raises(ValueError, match=r"expected harmony|counted from 1|and the tune has"):
        redrawn(fill, CHORD)


def test_frames_are_what_sounds_as_each_begins():
    notes = (
        Note(start=0, program=0, pitch=60, duration=24, velocity=92),
        Note(start=5, program=0, pitch=62, duration=5, velocity=92),  # over before the next frame
        Note(start=12, program=3, pitch=55, duration=13, velocity=92),
        Note(start=36, program=0, pitch=72, duration=12, velocity=92),
    )
    assert frames_of(Tune(notes=notes, bars=(48,))) == [[60], [55, 60], [55], [72]]
    assert frames_of(Tune(notes=(), bars=(48,))) == []


def test_what_is_cut_is_joined_to_the_same():
    notes = tuple(Note(start=12 * i, program=0, pitch=60 + i, duration=18, velocity=92) for i in range(9))
    tune = Tune(notes=notes, bars=(48, 36, 48))
    for bars in (1, 2):
        before, after = cut(tune, bars)
        assert before is not None
        assert len(after.bars) == bars
        assert joined(before, after) == tune
    assert cut(tune, 3) == (None, tune)
