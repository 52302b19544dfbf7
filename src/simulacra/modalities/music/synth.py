"""Notes made audible: each one four harmonics with a short attack and an exponential decay, the same for everything.

No sound font is needed, and none is used: what is heard is the notes, not the instruments. Drums are left out.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulacra.core.checkpoint import told
from simulacra.modalities.music.tunes import DRUMS, GRID, Tune

RATE = 22050  # samples a second: above twice the highest harmonic that is kept
LONGEST = 120.0  # seconds: what comes later is not played
HARMONICS = (1.0, 0.5, 0.25, 0.12)
TEMPO = 120.0  # quarters a minute


@dataclass(frozen=True)
class Tone:
    """One note: its beginning and length, seconds; its number (69 is a' of 440 Hz) and velocity 1 .. 127."""

    start: float
    length: float
    pitch: int
    velocity: int


def sounded(tones: Sequence[Tone]) -> np.ndarray:
    """Mono samples in -1 .. 1 at 22,050 a second, (n,); ValueError for no tone."""
    if not tones:
        raise ValueError("there is no tone to be heard; expected at least one")
    end = min(max(n.start + n.length for n in tones) + 0.5, LONGEST)
    out = np.zeros(int(end * RATE) + 1)
    for tone in tones:
        first = int(tone.start * RATE)
        if first >= len(out):
            continue
        t = np.arange(min(int((tone.length + 0.3) * RATE), len(out) - first)) / RATE
        frequency = 440.0 * 2 ** ((tone.pitch - 69) / 12)
        wave_ = np.zeros(len(t))
        for k, weight in enumerate(HARMONICS, 1):
            if k * frequency < 0.45 * RATE:  # nothing folds back
                wave_ += weight * np.sin(2 * np.pi * k * frequency * t)
        envelope = np.minimum(t / 0.01, 1) * np.exp(-1.5 * t) * np.exp(-12 * np.maximum(t - tone.length, 0))
        out[first : first + len(t)] += tone.velocity / 127 * wave_ * envelope
    return out * (0.8 / max(np.abs(out).max(), 1e-9))


def tones_of(tune: Tune, *, tempo: float = TEMPO) -> list[Tone]:
    """The tones of a tune, drums left out."""
    second = 60 / tempo / GRID
    notes = (n for n in tune.notes if n.program != DRUMS)
    return [Tone(n.start * second, n.duration * second, n.pitch, n.velocity) for n in notes]


def wav(tunes: Iterable[Tune], *, tempo: float = TEMPO) -> bytes | None:
    """Tunes one after another, half a second apart, as a WAV of 16 bit mono; None where there is nothing to hear."""
    parts = [sounded(tones) for tune in tunes if (tones := tones_of(tune, tempo=tempo))]
    if not parts:
        return None
    silence, out = np.zeros(RATE // 2), io.BytesIO()
    whole = np.concatenate([piece for part in parts for piece in (part, silence)])
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((whole * 32767).astype("<i2").tobytes())
    return out.getvalue()


def write_wav(tunes: Sequence[Tune], path: Path, *, tempo: float = TEMPO) -> str:
    """Write what ``wav`` makes of some tunes; returns a line that says what was written. ValueError for no note."""
    content = wav(tunes, tempo=tempo)
    if content is None:
        raise ValueError(f"{path}: no note to be heard in what was drawn; draw more")
    with told(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return f"{path}: {len(tunes):,} tunes, {len(content) / (2 * RATE):.0f} seconds"
