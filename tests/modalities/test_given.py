"""What pictures are given with: captions as written, pictures as the rules say, and every mistake in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_pictures import png

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous
from simulacra.modalities import captions, emoji
from simulacra.modalities.given import GIVEN, Grey, LowResolution, Noisy, Sketch, given_by, luminance
from simulacra.modalities.sources import open_data

FIELD = Continuous(low=-1, high=1, levels=256, shape=(3, 8, 12))


def pictures(n: int = 2, c: int = 3) -> torch.Tensor:
    return 2 * Rng(0)("pictures").uniform((n, c, 8, 12), dtype=torch.float64) - 1


def test_low_resolution_keeps_means():
    x = pictures()
    y = LowResolution(factor=4)(x, Rng(0))
    assert y.shape == (2, 3, 2, 3) == (2, *LowResolution(factor=4).field(FIELD).shape)
    torch.testing.assert_close(y[0, 1, 1, 2], x[0, 1, 4:, 8:].mean())
    torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)))
    with pytest.raises(ValueError, match="divides the sides; got 3 for 8x12"):
        LowResolution(factor=3).field(FIELD)


def test_grey_is_what_a_picture_file_turned_grey_holds():
    array = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    by_pil = np.asarray(Image.fromarray(array).convert("L")).astype(float)
    x = torch.from_numpy(array).double().permute(2, 0, 1)[None]
    assert float((Grey()(x, Rng(0))[0, 0] - torch.from_numpy(by_pil)).abs().max()) <= 1  # PIL rounds
    with pytest.raises(ValueError, match="grey needs pictures in colour; got 1"):
        Grey().field(Continuous(low=-1, high=1, levels=256, shape=(1, 8, 8)))
    assert torch.equal(luminance(pictures(c=2)), pictures(c=2)[:, :1])


def test_a_sketch_is_white_but_for_edges_and_does_not_turn_with_the_colours():
    flat = torch.full((1, 3, 8, 12), 0.3)
    assert torch.equal(Sketch()(flat, Rng(0)), torch.ones(1, 1, 8, 12))
    edge = torch.full((1, 1, 8, 12), -1.0)
    edge[..., 6:] = 1.0
    y = Sketch(strong=1.0)(edge, Rng(0))
    # a step over the whole range is the largest gradient along one axis: black on both its sides, white elsewhere
    assert torch.equal(y[0, 0, :, 5:7], torch.zeros(8, 2))
    assert torch.equal(y[0, 0, :, :5], torch.ones(8, 5))
    torch.testing.assert_close(Sketch()(-edge, Rng(0)), Sketch()(edge, Rng(0)))
    torch.testing.assert_close(Sketch()(edge.mT, Rng(0)), Sketch()(edge, Rng(0)).mT)


def test_noise_is_as_strong_as_asked_and_a_function_of_the_rng():
    x = pictures(200)
    y = Noisy(sigma=0.25)(x, Rng(1))
    n = x.numel()
    assert abs(float((y - x).std()) - 0.25) < 5 * 0.25 / (2 * n) ** 0.5
    assert torch.equal(y[7:], Noisy(sigma=0.25)(x[7:], Rng(1).rows(7)))


def test_names_and_their_numbers():
    assert given_by("low_resolution:2") == LowResolution(factor=2)
    assert given_by("noisy:0.1") == Noisy(sigma=0.1)
    assert given_by("caption:40") == captions_of(40)
    assert all(given_by(name) is given for name, given in GIVEN.items())
    for text, told in (
        ("colour", "nothing called 'colour'.*one of caption, low_resolution, grey"),
        ("grey:2", "grey has no number"),
        ("low_resolution:two", "sets its factor, int"),
        ("noisy:-1", "sigma of noisy must be positive; got -1"),
    ):
        with pytest.raises(ValueError, match=told):
            given_by(text)


def captions_of(longest: int):
    return type(GIVEN["caption"])(longest=longest)


def folder_of(tmp_path: Path, count: int = 24) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:02}.png").write_bytes(png(i))
    return folder


@pytest.mark.parametrize("form", ["txt", "csv", "jsonl"])
def test_captions_stay_with_their_pictures(tmp_path: Path, form: str):
    folder = folder_of(tmp_path)
    texts = {f"{i:02}.png": f"Picture  number {i}, é" for i in range(24)}
    if form == "txt":
        (folder / "captions.txt").write_text("\n".join(texts.values()))
    elif form == "csv":
        (folder / "captions.csv").write_text("\n".join(f'{k},"{v}"' for k, v in reversed(texts.items())))
    else:
        lines = [json.dumps({"file_name": k, "text": v}) for k, v in reversed(texts.items())]
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    loaded = open_data(str(folder), given="caption:32")
    assert loaded.train.space == loaded.held_out.space
    assert captions.is_captions(loaded.train.space.y)
    by_pixels = {Image.open(folder / k).tobytes(): captions.plain(v) for k, v in texts.items()}
    seen = 0
    for part in (loaded.train, loaded.held_out):
        batch = part.batch(torch.arange(len(part)), Rng(0))
        assert batch.y.shape == (len(part), 32)
        for x, y, n, text in zip(part.x, batch.y, batch.y_length, captions.decode(batch.y), strict=True):
            assert by_pixels[x.permute(1, 2, 0).contiguous().numpy().tobytes()] == text == text.lower()
            assert int(n) == len(text.encode()) == int((y > 0).sum())
            seen += 1
    assert seen == 24
    assert open_data(str(folder), **loaded.options).train.fingerprint == loaded.train.fingerprint
    assert any("captions." in note or "metadata" in note for note in open_data(str(folder)).notes), "said to be there"


def test_long_captions_are_cut_between_characters_and_that_is_said(tmp_path: Path):
    folder = folder_of(tmp_path, 10)
    (folder / "captions.txt").write_text("\n".join(["ééééé"] * 9 + ["e"]))
    loaded = open_data(str(folder), given="caption:5")
    assert "9 captions of more than 5 bytes are cut" in "\n".join(loaded.notes)
    texts = {t for part in (loaded.train, loaded.held_out) for t in captions.decode(part.y)}
    assert texts == {"éé", "e"}
    assert captions.encode(["ABC  d"], 5)[0].tolist() == [list(b"abc d")]
    for text, told in (("  ", "at least one letter"), ("abcdef", "at most 5 bytes; got 6"), ("a\0b", "no zero bytes")):
        with pytest.raises(ValueError, match=told):
            captions.encode([text], 5)


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (None, "", "no captions; expected captions.txt, captions.csv"),
        ("captions.txt", "a\nb", "captions.txt has 2 captions for 10 pictures"),
        ("captions.csv", "00.png,a\n01.png,b", "no line for 8 pictures: 02.png, 03.png"),
        ("captions.csv", "\n".join(f"{i:02}.png," for i in range(10)), "10 captions are empty: 00.png"),
        ("captions.csv", "00.png,a,b", "two columns, file and caption"),
        ("captions.jsonl", '{"file": "00.png"}', "line 1 of captions.jsonl is not an object"),
    ],
)
def test_captions_that_do_not_fit(tmp_path: Path, file: str | None, text: str, told: str):
    folder = folder_of(tmp_path, 10)
    if file is not None:
        (folder / file).write_text(text)
    with pytest.raises(ValueError, match=told):
        open_data(str(folder), given="caption")


def test_pairs_are_made_of_the_pictures_of_any_source():
    loaded = open_data("digits", given="low_resolution:2")
    batch = loaded.held_out.batch(torch.arange(5), Rng(0))
    torch.testing.assert_close(batch.y, torch.nn.functional.avg_pool2d(batch.x, 2))
    assert loaded.train.space.y.only.shape == (1, 4, 4)
    assert "classes are left aside" in "\n".join(loaded.notes)
    assert open_data("digits", **loaded.options).train.space == loaded.train.space
    for text, how, told in (
        ("digits", {"given": "grey"}, "pictures in colour"),
        ("digits", {"given": "caption"}, "no captions here"),
        ("ring", {"given": "grey"}, "given means nothing"),
        ("digits", {"given": "sketch", "binarise": "threshold"}, "black and white are given nothing"),
    ):
        with pytest.raises(ValueError, match=told):
            open_data(text, **how)


@pytest.mark.parametrize(
    ("file", "caption"),
    [
        ("emoji_u2764.png", "heavy black heart"),
        ("emoji_u1f44d_1f3ff.png", "thumbs up sign, dark skin tone"),
        ("emoji_u1f1e9_1f1ea.png", "flag de"),
        ("emoji_u0023_20e3.png", "number sign, combining enclosing keycap"),
        ("emoji_u1f468_200d_1f373.png", "man, cooking"),
        ("emoji_u1fae9.png", "face with bags under eyes"),
        ("emoji_ufe82b.png", None),
        ("cat.png", None),
    ],
)
def test_emoji_are_captioned_by_their_characters(file: str, caption: str | None):
    assert emoji.caption_of(file) == caption
    assert emoji.is_emoji(file) == (file != "cat.png")
