"""Pictures that are given: from files into the values of their space, and back into something to look at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.core.space import Continuous, Space
from simulacra.modalities.conditions import as_pictures, picture_given, read_conditions
from simulacra.modalities.given import GIVEN, Derived
from simulacra.modalities.images import space as pictures_of


def given(name: str, shape: tuple[int, int, int] = (3, 8, 12)) -> Space:
    plain, rule = pictures_of(*shape), GIVEN[name]
    assert isinstance(rule, Derived)
    return Space(fields=plain.fields, y=Space(fields={"picture": rule.field(plain.only)}), measure=plain.measure)


@pytest.mark.parametrize("name", ["grey", "low_resolution", "sketch", "noisy"])
def test_what_is_shown_is_what_was_read(tmp_path: Path, name: str):
    space = given(name)
    c, h, w = space.y.only.shape
    array = np.random.default_rng(0).integers(0, 256, (h, w, c), dtype=np.uint8)
    Image.fromarray(array[..., 0] if c == 1 else array).save(tmp_path / "a.png")
    y = read_conditions(tmp_path / "a.png", space)
    assert y.shape == (1, c, h, w)
    low, high = (0.0, 1.0) if name == "sketch" else (-1.0, 1.0)
    torch.testing.assert_close(y[0], low + (high - low) * torch.from_numpy(array).permute(2, 0, 1) / 255)
    shown = as_pictures(y, space)
    assert shown.shape == (1, 8, 12, 3)
    assert (shown[0, :: 8 // h, :: 12 // w] == array).all()
    np.save(tmp_path / "a.npy", array[None])
    assert torch.equal(read_conditions(tmp_path / "a.npy", space), y)


def test_files_are_made_to_fit_and_colours_grey(tmp_path: Path):
    Image.new("RGB", (50, 40), (255, 0, 0)).save(tmp_path / "red.png")
    y = read_conditions(tmp_path / "red.png", given("grey"))
    assert y.shape == (1, 1, 8, 12)
    assert float((y - (2 * 0.299 - 1)).abs().max()) < 1 / 127


def test_transparent_pictures_are_shown_beside_opaque_ones():
    space = given("grey", (4, 8, 12))
    shown = as_pictures(torch.zeros(2, 1, 8, 12), space)
    assert shown.shape == (2, 8, 12, 4)
    assert (shown[..., 3] == 255).all()
    assert (shown[..., :3] == 128).all()


def test_what_is_given_no_picture_reads_none(tmp_path: Path):
    row = Space(fields={"row": Continuous(low=-math.inf, high=math.inf, shape=(3,))})
    space = Space(fields=pictures_of(1, 8, 8).fields, y=row)
    assert picture_given(space) is picture_given(pictures_of(1, 8, 8)) is None
    with pytest.raises(ValueError, match="given no pictures"):
        read_conditions(tmp_path, space)
    with pytest.raises(ValueError, match="nothing at .*none.png"):
        read_conditions(tmp_path / "none.png", given("grey"))
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\); expected \(3, 8, 12\)"):
        read_conditions(tmp_path / "a.npy", given("noisy"))
