"""What ``simulacra evaluate`` is handed when something went wrong: refused in a line, or judged for what it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from simulacra.cli.main import main

ASK = ["--real", "digits", "--extractor", "pixels"]


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def broken(n: int) -> np.ndarray:
    """Floats of a model that diverged: one picture holds a NaN."""
    x = np.zeros((n, 8, 8), np.float32)
    x[3, 2, 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (pictures(30, 8, 8, 3), "pictures of 3 channels; expected 1, as the model's own: convert them"),
        (
            pictures(30, 9, 9),
            "pictures of shape (1, 9, 9); expected (1, 8, 8), as the model's own: crop or resize them",
        ),
        (pictures(1, 8, 8), "a set of features needs at least 2 examples; the samples have 1"),
        (pictures(0, 8, 8), "shape (0, 8, 8); expected pictures"),
        (broken(30), "NaN or infinity in 1 of 30 pictures; remove them"),
    ],
)
def test_arrays_that_cannot_be_judged_are_refused_in_a_line(capsys, tmp_path, x, said):
    np.save(tmp_path / "samples.npy", x)
    assert said in fault(capsys, str(tmp_path / "samples.npy"), *ASK)


@pytest.mark.parametrize(
    ("y", "said"),
    [(np.full(40, 10), "labels from 10 to 10; expected 0 .. 9"), (np.ones(39, int), "39 labels for 40 pictures")],
)
def test_wrong_labels_are_refused_in_a_line(capsys, tmp_path, y, said):
    np.savez(tmp_path / "samples.npz", x=pictures(40, 8, 8), y=y)
    assert said in fault(capsys, str(tmp_path / "samples.npz"), *ASK)


def test_a_folder_in_colour_is_not_judged_against_grey(capsys, tmp_path):
    for i, x in enumerate(pictures(4, 8, 8, 3)):
        Image.fromarray(x).save(tmp_path / f"{i}.png")
    assert "pictures in colour; expected grey ones" in fault(capsys, str(tmp_path), *ASK)


def test_unequal_numbers_and_identical_samples_are_judged_and_say_so(capsys, tmp_path):
    """Forty times one picture: no variety, whatever else; what depends on both numbers says that they differ."""
    np.save(tmp_path / "same.npy", np.repeat(pictures(1, 8, 8), 40, 0))
    main(["evaluate", str(tmp_path / "same.npy"), *ASK, "--json"])
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert found["recall (k=5)"]["value"] == 0
    assert "comparable only at the same numbers" in found["recall (k=5)"]["note"]
    assert (found["recall (k=5)"]["n"], found["recall (k=5)"]["n_real"]) == (40, 547)
    # fewer samples than pixels
    assert "40 rows for 64 features" in found["Frechet distance"]["interval_method"]
    assert found["Frechet distance"]["interval"] is None


def fault(capsys, *arguments: str) -> str:
    """The one line it fails with, exit 2."""
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert error.count("\n") == 1
    return error
