"""Captioned rows, and a page of them that needs no network."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from simulacra.modalities.strips import captioned, page

FRAMES = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5, 1)


def test_all_frames_are_in_the_page_where_the_script_looks_for_them():
    text = page(FRAMES, ["z1: 2 nats", "<z2>"], [-2.0, 0.0, 2.0], title="T", about="A")
    (sheet,) = re.findall(r"data:image/png;base64,([^\"]+)", text)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet))))
    assert pixels.shape == (8, 15)
    for row in range(2):
        for step in range(3):
            assert np.array_equal(pixels[4 * row : 4 * row + 4, 5 * step : 5 * step + 5], FRAMES[row, step, ..., 0])
    assert "&lt;z2&gt;" in text
    assert "http" not in text
    assert 'value="1"' in text  # the sliders begin in the middle


def test_captions_stand_left_of_their_rows():
    image = captioned([FRAMES[0], FRAMES[1]], ["first", "a longer second"])
    ink = np.asarray(image.convert("L"))[:, : image.width // 3] < 128
    half = image.height // 2
    assert ink[:half].any()
    assert ink[half:].any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="as many captions"):
        page(FRAMES, ["one"], [0.0, 1.0, 2.0], title="")
    with pytest.raises(ValueError, match="too many pixels"):
        page(np.zeros((40, 900, 32, 32, 1), np.uint8), ["a"] * 40, list(range(900)), title="")
    with pytest.raises(ValueError, match="must be uint8"):
        page(FRAMES[0], ["one"], [0.0], title="")
    with pytest.raises(ValueError, match="one caption"):
        captioned([FRAMES[0]], ["a", "b"])
