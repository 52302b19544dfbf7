"""Data saved by ``datasets`` is read like any other; without the library, or the network, one line says so."""

import sys

import numpy as np
import pytest
from PIL import Image
from small_pictures import picture

from simulacra.modalities.sources import open_data


@pytest.fixture
def datasets(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("datasets")


def part(datasets, seeds, **how):
    images = [picture(i, **how) for i in seeds]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])})
    return datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in seeds]}, features=features)


def test_a_saved_data_set(datasets, tmp_path):
    part(datasets, range(30)).save_to_disk(tmp_path / "a")
    loaded = open_data(str(tmp_path / "a"))
    assert loaded.train.space.classes.names == ("even", "odd")
    assert len(loaded.train) + len(loaded.held_out) == 30
    even = {np.asarray(picture(i)).transpose(2, 0, 1).tobytes() for i in range(0, 30, 2)}
    for x, y in zip(loaded.train.x, loaded.train.y, strict=True):
        assert (x.numpy().tobytes() in even) == (int(y) == 0)


def test_saved_splits_are_kept(datasets, tmp_path):
    parts = {"train": part(datasets, range(10), mode="L"), "test": part(datasets, range(10, 14), mode="L")}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "a")
    loaded = open_data(str(tmp_path / "a"))
    assert (len(loaded.train), len(loaded.held_out)) == (10, 4)
    assert loaded.train.space.only.shape == (1, 12, 12)


def test_no_pictures_in_it(datasets, tmp_path):
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(tmp_path / "a")
    with pytest.raises(ValueError, match="no column of pictures among text"):
        open_data(str(tmp_path / "a"))


def test_damaged_files_are_one_line(datasets, tmp_path):
    part(datasets, range(4)).save_to_disk(tmp_path / "a")
    next((tmp_path / "a").glob("*.arrow")).write_bytes(b"noise")
    with pytest.raises(ValueError, match="cannot be had from the hub") as told:
        open_data(str(tmp_path / "a"))
    assert "\n" not in str(told.value)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"needs the extra: pip install 'simulacra\[hub\]'"):
        open_data("owner/name")


def test_without_the_network(datasets, monkeypatch):
    def refuse(name):
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError, match="owner/name: cannot be had from the hub") as told:
        open_data("owner/name")
    assert "\n" not in str(told.value)


def test_a_picture_is_the_same_from_a_folder(datasets, tmp_path):
    (tmp_path / "f").mkdir()
    for i in range(10):
        picture(i, mode="RGBA").save(tmp_path / "f" / f"{i}.png")
    part(datasets, range(10), mode="RGBA").save_to_disk(tmp_path / "a")
    first, second = open_data(str(tmp_path / "f"), size=7), open_data(str(tmp_path / "a"), size=7)
    assert np.array_equal(np.sort(first.train.x.numpy(), 0), np.sort(second.train.x.numpy(), 0))
    assert Image.open(tmp_path / "f" / "0.png").mode == "RGBA"
