"""Tunes that a verb draws, as a file's name asks: MIDI, sound, a picture; and what they are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simulacra.modalities.music.midi import write_midi
from simulacra.modalities.music.roll import write_roll
from simulacra.modalities.music.synth import write_wav
from simulacra.modalities.music.tunes import Tune


def write_tunes(tunes: Sequence[Tune], path: Path) -> str:
    """Write tunes as one .mid each (several in a folder, or as NAME-1.mid ...), all as one .wav, or as rolls in a .png.

    Returns a line that says what was written; every note of every tune is in the files.
    """
    suffix = path.suffix.lower()
    if suffix == ".wav":
        return write_wav(tunes, path)
    if suffix == ".png":
        return write_roll(tunes, path)
    if suffix not in (".mid", ".midi", ""):
        raise ValueError(f"{path}: tunes are written as .mid, a folder of them, .wav or .png")
    if suffix and len(tunes) == 1:
        return write_midi(tunes[0], path)
    if not suffix and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is not an empty folder; give another name")
    digits = len(str(len(tunes)))
    for number, tune in enumerate(tunes, 1):
        name = f"{number:0{digits}}.mid"
        write_midi(tune, path / name if not suffix else path.with_name(f"{path.stem}-{name}"))
    where = path / "*.mid" if not suffix else path.with_name(f"{path.stem}-*.mid")
    return f"{where}: {len(tunes):,} tunes, {sum(len(t.notes) for t in tunes):,} notes, none dropped"
