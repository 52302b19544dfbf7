"""Arrays of nearly any numbers become the same pictures; what is not pictures is refused in one line."""

import io
import zipfile

import numpy as np
import pytest

from simulacra.modalities.arrays import pictures_from
from simulacra.modalities.sources import open_data

LEVELS = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
NCHW = LEVELS.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "array",
    [
        LEVELS,
        NCHW,
        LEVELS / 255,
        (LEVELS / 255).astype(np.float32),
        LEVELS / 127.5 - 1,
        LEVELS.astype(np.int64),
        LEVELS.astype(np.float64),
        LEVELS.astype(np.uint16) * 257,
        LEVELS.astype(">f8"),
    ],
    ids=["nhwc", "nchw", "0..1", "float32", "-1..1", "int64", "whole floats", "16 bit", "big-endian"],
)
def test_many_forms_one_picture(array):
    assert np.array_equal(pictures_from(array, "x")[0], NCHW)


def test_booleans_and_grey():
    bits = LEVELS[..., 0] > 127
    assert np.array_equal(pictures_from(bits, "x")[0], (bits * 255).astype(np.uint8)[:, None])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.where(np.arange(6) == 3, np.nan, np.ones((4, 5, 6)) / 2), "NaN or infinity in 4 of 4 pictures"),
        (np.full((4, 5, 6), np.inf), "NaN or infinity"),
        (np.linspace(-3, 300, 120).reshape(4, 5, 6), "values from -3 to 300"),
        (np.linspace(0, 1.5, 120).reshape(4, 5, 6), "values from 0 to 1.5"),
        (np.full((4, 5, 6), -7), "values from -7 to -7"),
        (np.full((4, 5, 6), 256), "values from 256 to 256"),
        (np.zeros((4, 5, 6), complex), "type complex128"),
        (np.zeros((0, 5, 6)), "shape \\(0, 5, 6\\)"),
        (np.zeros(7), "expected pictures"),
        (np.zeros((2, 2, 5, 6, 3)), "expected pictures"),
        (np.zeros((2, 3, 6, 3)), "may be \\(n, h, w, c\\) or"),
        (np.zeros((2, 5, 6, 7)), "no axis of 1, 3 or 4 channels"),
    ],
)
def test_refusals(array, said):
    with pytest.raises(ValueError, match=said):
        pictures_from(array, "x")


def test_npz_with_labels_and_test_split(tmp_path):
    np.savez(tmp_path / "a.npz", x=LEVELS, y=np.arange(30) % 3, x_test=LEVELS[:4], y_test=np.array([0, 1, 2, 3]))
    loaded = open_data(str(tmp_path / "a.npz"))
    assert (len(loaded.train), len(loaded.held_out)) == (30, 4)
    assert len(loaded.train.space.classes) == 4
    assert loaded.train.y.tolist() == [i % 3 for i in range(30)]


def test_npy_with_labels_beside(tmp_path):
    np.save(tmp_path / "a.npy", LEVELS)
    assert open_data(str(tmp_path / "a.npy")).train.space.y is None
    np.save(tmp_path / "a-labels.npy", np.arange(30) % 2)
    assert len(open_data(str(tmp_path / "a.npy")).train.space.classes) == 2
    np.save(tmp_path / "other.npy", np.arange(29) % 2)
    with pytest.raises(ValueError, match="29 labels for 30 pictures"):
        open_data(str(tmp_path / "a.npy"), labels=str(tmp_path / "other.npy"))
    np.save(tmp_path / "other.npy", np.arange(30) - 1)
    with pytest.raises(ValueError, match="labels from -1 to 28; expected 0 .."):
        open_data(str(tmp_path / "a.npy"), labels=str(tmp_path / "other.npy"))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_objects_are_never_unpickled(tmp_path, name):
    array = np.array([{"a": 1}, None], dtype=object)
    np.save(tmp_path / name, array) if name == "a.npy" else np.savez(tmp_path / name, x=array)
    with pytest.raises(ValueError, match="never unpickled"):
        open_data(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_arrays(tmp_path, name):
    (np.save if name == "a.npy" else np.savez)(tmp_path / name, LEVELS)
    data = (tmp_path / name).read_bytes()
    for bad in (data[: len(data) // 2], b"", b"noise" * 50):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(ValueError, match=rf"{name}: cannot be read"):
            open_data(str(tmp_path / name))


def test_a_header_that_promises_a_terabyte_costs_nothing(tmp_path):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 1024, 1024)})
    (tmp_path / "a.npy").write_bytes(out.getvalue() + bytes(100))
    with pytest.raises(ValueError, match=r"a.npy: cannot be read"):
        open_data(str(tmp_path / "a.npy"))


def test_an_npz_that_swells_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((100, 100, 100), np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 5000
    monkeypatch.setattr("simulacra.modalities.arrays.MOST_BYTES", 500_000)
    with pytest.raises(ValueError, match="unpacks to 1,000,128 bytes"):
        open_data(str(tmp_path / "a.npz"))
    with zipfile.ZipFile(tmp_path / "b.npz", "w"):
        pass
    with pytest.raises(ValueError, match=r"b.npz: holds no array"):
        open_data(str(tmp_path / "b.npz"))


def test_rows_of_two_are_points(tmp_path):
    points = np.random.default_rng(1).normal(3, 2, (500, 2))
    np.save(tmp_path / "a.npy", points)
    loaded = open_data(str(tmp_path / "a.npy"))
    assert loaded.modality == "points"
    assert loaded.train.space.measure == "plane"
    assert loaded.train.space.only.scale == pytest.approx(points.std(), rel=1e-5)
    assert len(loaded.train) + len(loaded.held_out) == 500
    points[7] = np.nan
    np.save(tmp_path / "a.npy", points)
    with pytest.raises(ValueError, match="NaN or infinity in 1 rows"):
        open_data(str(tmp_path / "a.npy"))
