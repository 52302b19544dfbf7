"""Walks between pictures as films: .gif by pillow, .mp4 by imageio-ffmpeg."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simulacra.modalities import grids

SUFFIXES = (".gif", ".mp4")
RATE = 12  # frames a second
MISSING = "films need the package imageio-ffmpeg: pip install 'simulacra[video]', or write a .gif"


def film(walks: np.ndarray, path: Path, *, rate: int = RATE) -> str:
    """Walks uint8 (n, steps, h, w, c) side by side, played there and back; a line that says what was written.

    Raises ValueError for another ending than .gif and .mp4 or fewer than 2 steps, ImportError for an .mp4 without its
    package.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"films are written as {' or '.join(SUFFIXES)}; got {path.name}")
    if walks.ndim != 5 or walks.shape[1] < 2:
        raise ValueError(f"a film needs walks (n, steps, h, w, c) of 2 steps or more; got {walks.shape}")
    order = [*range(walks.shape[1]), *range(walks.shape[1] - 2, 0, -1)]
    frames = [grids.grid(walks[:, i]) for i in order]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".gif":
        grids.gif(frames, path, seconds=len(frames) / rate, rest=0.0)
    else:
        _mp4([np.asarray(f.convert("RGB")) for f in frames], path, rate)
    return f"{path}: {len(frames)} frames of {frames[0].width}x{frames[0].height}, {rate} a second"


def _mp4(frames: list[np.ndarray], path: Path, rate: int) -> None:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError(MISSING) from error
    # H.264 halves the resolution of colours: sides are even, the last row and column repeated
    height, width = frames[0].shape[:2]
    around = ((0, height % 2), (0, width % 2), (0, 0))
    even = [np.pad(f, around, mode="edge") for f in frames]
    size = (even[0].shape[1], even[0].shape[0])
    writer = imageio_ffmpeg.write_frames(str(path), size, fps=rate, macro_block_size=1, quality=8)
    writer.send(None)
    for frame in even:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
