"""Music made audible: a standard MIDI file played by plain additive tones, so that any browser can sound it.

Format: the MIDI Manufacturers Association's "Standard MIDI Files 1.0". Every note sounds the same for all systems
(``modalities.music.synth``); instruments, pedals, bends and drums (channel 10) are left
aside.
"""

from __future__ import annotations

import struct

import numpy as np

from simulacra.modalities.music.synth import RATE, Tone, sounded

SUFFIXES = (".mid", ".midi")
DRUMS = 9  # channel 10, counted from 0
DEFAULT_TEMPO = 500_000  # microseconds a quarter, until the file says otherwise


def render(data: bytes, name: str = "midi") -> tuple[np.ndarray, int]:
    """A MIDI file as mono samples in -1 .. 1 and their rate. ValueError where it is damaged or holds no note."""
    try:
        found = notes(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"{name}: a damaged MIDI file; remove or replace it") from error
    if not found:
        raise ValueError(f"{name}: no note in it; remove it")
    return sounded(found), RATE


def notes(data: bytes) -> list[Tone]:
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


def _timed(events: list[tuple[int, int, int, int, int]], division: int) -> list[Tone]:
    seconds, last, tempo = 0.0, 0, DEFAULT_TEMPO
    sounding: dict[int, tuple[float, int]] = {}
    found: list[Tone] = []

    def end(key: int) -> None:
        start, velocity = sounding.pop(key)
        found.append(Tone(start, seconds - start, key % 128, velocity))

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
