"""Films hold the frames they were made of, there and back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simulacra.modalities.films import film


def walks(n: int = 2, steps: int = 4, c: int = 1) -> np.ndarray:
    """Every frame of one grey, brighter from step to step."""
    shades = np.linspace(0, 240, steps).astype(np.uint8)
    return np.broadcast_to(shades[None, :, None, None, None], (n, steps, 9, 8, c)).copy()


@pytest.mark.parametrize("c", [1, 3])
def test_a_gif_goes_there_and_back(c: int, tmp_path: Path):
    said = film(walks(c=c), tmp_path / "walk.gif")
    assert "6 frames" in said
    with Image.open(tmp_path / "walk.gif") as image:
        seen = []
        for i in range(image.n_frames):
            image.seek(i)
            seen.append(np.asarray(image.convert("L"))[6, 6])
    assert np.abs(np.array(seen, float) - [0, 80, 160, 240, 160, 80]).max() <= 3


def test_an_mp4_holds_as_many_frames_of_the_same_shades(tmp_path: Path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    film(walks(c=3), tmp_path / "walk.mp4")
    reader = ffmpeg.read_frames(str(tmp_path / "walk.mp4"))
    width, height = next(reader)["size"]
    frames = [np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader]
    assert width % 2 == height % 2 == 0
    assert np.abs(np.array([f[8, 8, 0] for f in frames], float) - [0, 80, 160, 240, 160, 80]).max() <= 12


def test_what_cannot_be_a_film_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(ValueError, match=r"as .gif or .mp4; got walk.avi"):
        film(walks(), tmp_path / "walk.avi")
    with pytest.raises(ValueError, match="2 steps or more"):
        film(walks(steps=1), tmp_path / "walk.gif")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r"simulacra\[video\]', or write a .gif"):
        film(walks(), tmp_path / "walk.mp4")
