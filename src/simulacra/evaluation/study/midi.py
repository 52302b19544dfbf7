"""Music made audible: a standard MIDI file played by plain additive tones, so that any browser can sound it.

Format: the MIDI Manufacturers Association's "Standard MIDI Files 1.0". Every note is four harmonics with a short
attack and an exponential decay, the same for all systems; instruments, pedals, bends and drums (channel 10) are left
aside.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

SUFFIXES = (".mid", ".midi")
RATE = 22050  # samples a second: above twice the highest harmonic that is kept
LONGEST = 120.0  # seconds: what comes later is not played
HARMONICS = (1.0, 0.5, 0.25, 0.12)
DRUMS = 9  # channel 10, counted from 0
DEFAULT_TEMPO = 500_000  # microseconds a quarter, until the file says otherwise


@dataclass(frozen=True)
class Note:
    """One note: its beginning and length, seconds; its number (69 is a' of 440 Hz) and velocity 1 .. 127."""

    start: float
    length: float
    pitch: int
    velocity: int


def render(data: bytes, name: str = "midi") -> tuple[np.ndarray, int]:
    """A MIDI file as mono samples in -1 .. 1 and their rate. ValueError where it is damaged or holds no note."""
    try:
        found = notes(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"{name}: a damaged MIDI file; remove or replace it") from error
    if not found:
        raise ValueError(f"{name}: no note in it; remove it")
    end = min(max(n.start + n.length for n in found) + 0.5, LONGEST)
    out = np.zeros(int(end * RATE) + 1)
    for note in found:
        first = int(note.start * RATE)
        if first >= len(out):
            continue
        t = np.arange(min(int((note.length + 0.3) * RATE), len(out) - first)) / RATE
        frequency = 440.0 * 2 ** ((note.pitch - 69) / 12)
        tone = np.zeros(len(t))
        for k, weight in enumerate(HARMONICS, 1):
            if k * frequency < 0.45 * RATE:  # nothing folds back
                tone += weight * np.sin(2 * np.pi * k * frequency * t)
        envelope = np.minimum(t / 0.01, 1) * np.exp(-1.5 * t) * np.exp(-12 * np.maximum(t - note.length, 0))
        out[first : first + len(t)] += note.velocity / 127 * tone * envelope
    return out * (0.8 / max(np.abs(out).max(), 1e-9)), RATE


def notes(data: bytes) -> list[Note]:
    """Every note of a file, in the order they begin. ValueError for what is no MIDI file."""
    if data[:4] != b"MThd":
        raise ValueError("no MIDI file: it does not begin with MThd")
    size, _, tracks, division = struct.unpack(">IHHH", data[4:14])
    if division & 0x8000:
        raise ValueError("MIDI time in frames of film is not read; expected ticks a quarter")
    events: list[tuple[int, int, int, int, int]] = []  # tick, order, kind, a, b
    at = 8 + size
    for _ in range(tracks):
        tag, length = data[at : at + 4], struct.unpack(">I", data[at + 4 : at + 8])[0]
        if tag == b"MTrk":
            events += _track(data[at + 8 : at + 8 + length], len(events))
        at += 8 + length
    return _timed(sorted(events), division)


TEMPO, ON, OFF = 0, 2, 1  # at one tick: the tempo first, then ends, then beginnings


def _track(data: bytes, order: int) -> list[tuple[int, int, int, int, int]]:
    """Tempo changes and notes of a track: (tick, kind, order, channel * 128 + pitch or tempo, velocity)."""
    found: list[tuple[int, int, int, int, int]] = []
    at, tick, status = 0, 0, 0
    while at < len(data):
        delta, at = _variable(data, at)
        tick += delta
        if data[at] & 0x80:
            status, at = data[at], at + 1
        if status in (0xFF, 0xF0, 0xF7):
            kind, at = (data[at], at + 1) if status == 0xFF else (0, at)
            length, at = _variable(data, at)
            if status == 0xFF and kind == 0x51:
                found.append((tick, TEMPO, order + len(found), int.from_bytes(data[at : at + length], "big"), 0))
            at += length
            continue
        high, channel = status >> 4, status & 15
        if high in (8, 9) and channel != DRUMS:
            kind = ON if high == 9 and data[at + 1] else OFF
            found.append((tick, kind, order + len(found), channel * 128 + data[at], data[at + 1]))
        at += 1 if high in (0xC, 0xD) else 2
    return found


def _timed(events: list[tuple[int, int, int, int, int]], division: int) -> list[Note]:
    seconds, last, tempo = 0.0, 0, DEFAULT_TEMPO
    sounding: dict[int, tuple[float, int]] = {}
    found: list[Note] = []

    def end(key: int) -> None:
        start, velocity = sounding.pop(key)
        found.append(Note(start, seconds - start, key % 128, velocity))

    for tick, kind, _, a, b in events:
        seconds, last = seconds + (tick - last) * tempo / division / 1e6, tick
        if kind == TEMPO:
            tempo = a
            continue
        if a in sounding:
            end(a)
        if kind == ON:
            sounding[a] = (seconds, b)
    for key in list(sounding):
        end(key)
    return sorted(found, key=lambda n: (n.start, n.pitch))


def _variable(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        byte, at = data[at], at + 1
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at
