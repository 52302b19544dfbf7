"""A folder of pictures: what is taken, what is skipped and said, what is refused in one line."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_pictures import picture, png

from simulacra.modalities.sources import open_data


def flat(folder: Path, count: int = 40, **how) -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i:03}.png").write_bytes(png(i, **how))
    return folder


def said(loaded) -> str:
    return "\n".join(loaded.notes)


def test_subfolders_are_classes(cats_and_dogs):
    loaded = open_data(str(cats_and_dogs))
    assert loaded.train.space == loaded.held_out.space
    assert loaded.train.space.classes.names == ("cat", "dog")
    assert len(loaded.train) + len(loaded.held_out) == 20
    by_picture = {(cats_and_dogs / "cat" / f"{i}.png").read_bytes() for i in range(12)}
    cats = {np.asarray(Image.open(p)).transpose(2, 0, 1).tobytes() for p in (cats_and_dogs / "cat").iterdir()}
    assert len(by_picture) == len(cats) == 12
    for part in (loaded.train, loaded.held_out):
        for x, y in zip(part.x, part.y, strict=True):
            assert (x.numpy().tobytes() in cats) == (int(y) == 0)


def test_the_same_folder_is_the_same_data_wherever_it_lies(cats_and_dogs):
    first = open_data(str(cats_and_dogs))
    moved = cats_and_dogs.rename(cats_and_dogs.with_name("elsewhere"))
    again = open_data(str(moved))
    assert (first.train.fingerprint, first.held_out.fingerprint) == (
        again.train.fingerprint,
        again.held_out.fingerprint,
    )


def test_train_and_test_folders_are_kept(tmp_path):
    for part, count in (("train", 9), ("test", 4)):
        for name in ("a", "b"):
            (tmp_path / part).mkdir(exist_ok=True)
            flat(tmp_path / part / name, count)
    loaded = open_data(str(tmp_path))
    assert (len(loaded.train), len(loaded.held_out)) == (18, 8)
    assert loaded.train.space.classes.names == ("a", "b")
    assert "official test split" in said(loaded)


def test_one_class_is_no_class(tmp_path):
    flat(tmp_path / "cat")
    loaded = open_data(str(tmp_path))
    assert loaded.train.space.y is None
    assert "one folder, 'cat': no classes" in said(loaded)


def test_pictures_beside_the_subfolders_leave_no_classes(cats_and_dogs):
    (cats_and_dogs / "stray.png").write_bytes(png(99))
    loaded = open_data(str(cats_and_dogs))
    assert loaded.train.space.y is None
    assert "1 pictures lie beside the subfolders" in said(loaded)


def test_mixed_sizes_get_one_and_it_is_said(tmp_path):
    flat(tmp_path, 10, h=40, w=50)
    (tmp_path / "tall.png").write_bytes(png(77, h=90, w=33))
    loaded = open_data(str(tmp_path))
    assert loaded.train.space.only.shape == (3, 32, 32)
    assert "sizes are mixed, 40x50 to 90x33" in said(loaded)
    assert open_data(str(tmp_path), size=16).train.space.only.shape == (3, 16, 16)
    assert open_data(str(tmp_path), size=(20, 10)).train.space.only.shape == (3, 20, 10)


def test_one_size_is_kept(tmp_path):
    assert open_data(str(flat(tmp_path, h=10, w=14))).train.space.only.shape == (3, 10, 14)


def test_grey_stays_grey_until_a_colour_comes(tmp_path):
    flat(tmp_path, mode="L")
    assert open_data(str(tmp_path)).train.space.only.shape[0] == 1
    (tmp_path / "colour.png").write_bytes(png(50))
    assert open_data(str(tmp_path)).train.space.only.shape[0] == 3
    assert open_data(str(tmp_path), channels=1).train.space.only.shape[0] == 1


def test_transparency_is_said_and_kept_on_request(tmp_path):
    flat(tmp_path, mode="RGBA")
    assert "laid over white" in said(open_data(str(tmp_path)))
    assert open_data(str(tmp_path), channels=4).train.space.only.shape[0] == 4


def test_other_files_are_ignored_and_counted(tmp_path):
    flat(tmp_path)
    for name in ("notes.txt", "more.txt", "Thumbs.db", ".hidden.png"):
        (tmp_path / name).write_bytes(b"no picture")
    os.mkfifo(tmp_path / "pipe.png")
    loaded = open_data(str(tmp_path))
    assert len(loaded.train) + len(loaded.held_out) == 40
    assert "ignored 4 files that are no pictures: 2 .txt" in said(loaded)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "header only"])
def test_damaged_pictures_are_skipped_by_name(tmp_path, damage):
    flat(tmp_path)
    whole = png(1, h=64, w=64)
    bad = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"no picture", "header only": whole[:40]}[
        damage
    ]
    (tmp_path / "broken.png").write_bytes(bad)
    loaded = open_data(str(tmp_path), size=12)
    assert len(loaded.train) + len(loaded.held_out) == 40
    assert "skipped 1 of 41 pictures that cannot be read: broken.png (" in said(loaded)
    assert " object at 0x" not in said(loaded)


def test_a_truncated_jpeg_is_not_half_a_picture(tmp_path):
    flat(tmp_path)
    picture(3, 200, 200).save(tmp_path / "broken.jpg", quality=95)
    data = (tmp_path / "broken.jpg").read_bytes()
    (tmp_path / "broken.jpg").write_bytes(data[: len(data) // 2])
    assert "broken.jpg (image file is truncated" in said(open_data(str(tmp_path), size=12))


def test_too_many_damaged_pictures_are_refused(tmp_path):
    flat(tmp_path, 18)
    for i in range(2):
        (tmp_path / f"bad{i}.png").write_bytes(b"no picture")
    with pytest.raises(
        ValueError, match=r"2 of 20 pictures cannot be read, the first bad0.png .* at most 5% are skipped"
    ):
        open_data(str(tmp_path))
    assert len(open_data(str(tmp_path), skip=0.1).train)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_decompression_bomb_is_skipped_unopened(tmp_path, side):
    """A few hundred bytes that promise 100 or 900 million pixels: PIL warns at the first and refuses the second."""
    flat(tmp_path)
    chunk = lambda kind, data: (  # noqa: E731
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    )
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert "skipped 1 of 41 pictures that cannot be read: bomb.png" in said(open_data(str(tmp_path)))


def test_a_file_that_may_not_be_read_is_skipped(tmp_path, monkeypatch):
    flat(tmp_path)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "007.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "007.png ([Errno 13] Permission denied" in said(open_data(str(tmp_path)))


def test_a_folder_that_may_not_be_read_is_refused(cats_and_dogs, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"dog: cannot be read \(Permission denied\)"):
        open_data(str(cats_and_dogs))


def test_label_files(tmp_path):
    flat(tmp_path, 12)
    (tmp_path / "labels.txt").write_text("\n".join(str(i % 11) for i in range(12)) + "\n")
    loaded = open_data(str(tmp_path))
    assert loaded.train.space.classes.names == tuple(str(i) for i in range(11))
    (tmp_path / "labels.csv").write_text(
        "\n".join(f"{i:03}.png,{'odd' if i % 2 else 'even'}" for i in reversed(range(12)))
    )
    loaded = open_data(str(tmp_path))
    assert loaded.train.space.classes.names == ("even", "odd")
    odd = {np.asarray(Image.open(tmp_path / f"{i:03}.png")).transpose(2, 0, 1).tobytes() for i in range(1, 12, 2)}
    for x, y in zip(loaded.train.x, loaded.train.y, strict=True):
        assert (x.numpy().tobytes() in odd) == (int(y) == 1)


def test_label_files_survive_skipped_pictures(tmp_path):
    flat(tmp_path, 40)
    (tmp_path / "020.png").write_bytes(b"no picture")
    (tmp_path / "labels.txt").write_text("\n".join("low" if i < 21 else "up" for i in range(40)))
    loaded = open_data(str(tmp_path))
    ups = {np.asarray(Image.open(tmp_path / f"{i:03}.png")).transpose(2, 0, 1).tobytes() for i in range(21, 40)}
    for x, y in zip(loaded.train.x, loaded.train.y, strict=True):
        assert (x.numpy().tobytes() in ups) == (loaded.train.space.classes.names[int(y)] == "up")


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("labels.txt", "a\nb\n", "labels.txt has 2 labels for 12 pictures"),
        ("labels.csv", "000.png,a\n", "labels.csv has no line for 11 pictures: 001.png, 002.png, 003.png and 8 more"),
        ("labels.csv", "a,b,c\n", "two columns, file and label"),
    ],
)
def test_wrong_label_files(tmp_path, file, text, expected):
    flat(tmp_path, 12)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=expected):
        open_data(str(tmp_path))


def test_folders_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="an empty folder"):
        open_data(str(tmp_path))
    (tmp_path / "notes.docx").write_text("words")
    with pytest.raises(ValueError, match="no pictures among 1 files"):
        open_data(str(tmp_path))


def test_one_picture_cannot_be_learnt(tmp_path):
    flat(tmp_path, 1)
    for path in (tmp_path, tmp_path / "000.png"):
        with pytest.raises(ValueError, match="one example cannot be split"):
            open_data(str(path))


def test_more_than_memory_is_refused(tmp_path, monkeypatch):
    flat(tmp_path)
    monkeypatch.setattr("simulacra.modalities.reading.MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match="40 pictures of 3x12x12 take .* give a smaller size"):
        open_data(str(tmp_path))
