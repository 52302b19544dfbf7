"""Pictures and sounds that small studies are made of."""

from __future__ import annotations

import io
import wave

import numpy as np

from simulacra.evaluation.study.stimuli import Stimulus, of_array


def pictures(n: int, seed: int, *, side: int = 5) -> list[Stimulus]:
    """n different pictures of random colours."""
    rng = np.random.default_rng(seed)
    return of_array(rng.integers(0, 255, (n, side, side, 3), dtype=np.uint8), "array")


def a_wav(seconds: float = 0.1, rate: int = 8000, *, width: int = 2, channels: int = 1) -> bytes:
    """A tone of 440 Hz at half of full scale."""
    t = np.arange(int(seconds * rate)) / rate
    x = 0.5 * np.sin(2 * np.pi * 440 * t)
    if width == 1:
        raw = np.rint(x * 127 + 128).astype(np.uint8)
    else:
        raw = np.rint(x * (2 ** (8 * width - 1) - 1)).astype("<i4")
        raw = raw.view(np.uint8).reshape(-1, 4)[:, :width].copy()
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        frames = raw.reshape(len(x), -1)
        file.writeframes(np.tile(frames, (1, channels)).tobytes())
    return out.getvalue()
