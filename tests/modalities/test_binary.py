"""IDX and CIFAR files, written here byte by byte and read back."""

import gzip
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest

from simulacra.modalities.sources import open_data

PICTURES = np.random.default_rng(0).integers(0, 256, (50, 4, 5), dtype=np.uint8)
LABELS = (np.arange(50) % 7).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def folder(path: Path, *, packed: bool = False) -> Path:
    for part, count in (("train", 50), ("t10k", 9)):
        for kind, array in (("images-idx3", PICTURES), ("labels-idx1", LABELS)):
            data = idx(array[:count])
            (path / f"{part}-{kind}-ubyte{'.gz' * packed}").write_bytes(gzip.compress(data) if packed else data)
    return path


def cifar(n: int, seed: int = 0) -> bytes:
    records = np.random.default_rng(seed).integers(0, 256, (n, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(n) % 10
    return records.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_keeps_its_split(tmp_path, packed):
    loaded = open_data(str(folder(tmp_path, packed=packed)))
    assert (len(loaded.train), len(loaded.held_out)) == (50, 9)
    assert np.array_equal(loaded.train.x.numpy()[:, 0], PICTURES)
    assert np.array_equal(loaded.train.y.numpy(), LABELS)
    assert len(loaded.train.space.classes) == 7


def test_one_idx_file_is_split_by_content(tmp_path):
    path = folder(tmp_path) / "train-images-idx3-ubyte"
    loaded = open_data(str(path))
    assert len(loaded.train) + len(loaded.held_out) == 50
    assert loaded.train.y is not None
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert open_data(str(path)).train.y is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "magic number none"),
        (bytes([0, 0, 13, 3]) + bytes(100), "magic number 00000d03; expected IDX of unsigned bytes"),
        (b"\x89PNG", "magic number 89504e47"),
        (bytes([0, 0, 8, 3, 0]), "ends inside its header"),
        (idx(PICTURES)[:-1], "promises 1,000 bytes, it holds 999"),
        (idx(PICTURES) + b"x", "promises 1,000 bytes, it holds more"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "the most that is read"),
        (idx(PICTURES[:0]), "no pictures"),
        (idx(LABELS), "1 dimensions; expected pictures"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx(tmp_path, data, said, packed):
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' * packed}"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(ValueError, match=said):
        open_data(str(path))


def test_damaged_gzip(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    data = gzip.compress(idx(PICTURES))
    for bad in (data[: len(data) // 2], data[:-6] + b"damage", b"no gzip"):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="cannot be read"):
            open_data(str(path))


def test_labels_of_another_length(tmp_path):
    (folder(tmp_path) / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:49]))
    with pytest.raises(ValueError, match="49 labels for 50 pictures"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz"])
def test_a_folder_of_cifar_batches(tmp_path, suffix):
    pack = {"": bytes, ".xz": lzma.compress, ".gz": gzip.compress}[suffix]
    for i in (1, 2):
        (tmp_path / f"data_batch_{i}.bin{suffix}").write_bytes(pack(cifar(20, i)))
    (tmp_path / f"test_batch.bin{suffix}").write_bytes(pack(cifar(10, 3)))
    loaded = open_data(str(tmp_path))
    assert (len(loaded.train), len(loaded.held_out)) == (40, 10)
    assert loaded.train.space.only.shape == (3, 32, 32)
    assert loaded.train.space.classes.names[3] == "cat"
    # red, green, blue planes, row by row
    first = np.frombuffer(cifar(20, 1), np.uint8)[1:3073]
    assert np.array_equal(loaded.train.x[0].numpy().ravel(), first)
    assert any("the official test split is cut: 10 of 10,000" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (cifar(2)[:-1], "6145 bytes; expected CIFAR-10 records of 3073"),
        (b"", "0 bytes"),
        (b"\x0b" + bytes(3072), "label 11; expected CIFAR-10's 0 .. 9"),
    ],
)
def test_damaged_cifar(tmp_path, data, said):
    (tmp_path / "data_batch_1.bin").write_bytes(data)
    for path in (tmp_path, tmp_path / "data_batch_1.bin"):
        with pytest.raises(ValueError, match=said):
            open_data(str(path))
