"""What the verbs say of a style-based generator of a few steps, and films of walks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simulacra.cli.main import main

NETWORK = ["--latent", "4", "--style", "6", "--mapping", "1", "--base", "32", "--widest", "6"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("styles") / "run"
    main(["fit", "stylegan", "digits", *NETWORK, "--steps", "2", "--batch", "8", "--no-report", "--out", str(path)])
    return str(path)


def fault(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_grids_of_styles(run: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    out = str(tmp_path / "s.png")
    main(["styles", run, "-n", "3", "--cut", "2", "--out", out])
    assert "down: the first 2 of 4 layers" in capsys.readouterr().out
    width, height = Image.open(out).size
    assert width == height
    main(["styles", run, "-n", "2", "--show", "truncation", "--psi", "1", "0.5", "0", "--y", "3", "--out", out])
    assert "psi 1, 0.5, 0 across" in capsys.readouterr().out
    assert "between layers, 1 to 3; got 9" in fault(capsys, "styles", run, "--cut", "9", "--out", out)


@pytest.mark.parametrize("directions", ["sefa", "pca"])
def test_walks_along_styles(run: str, directions: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    out = str(tmp_path / "t.png")
    main(["traverse", run, "--directions", directions, "--rows", "2", "--steps", "3", "--out", out])
    assert "t.png: w0: " in capsys.readouterr().out
    assert "leave --example out" in fault(capsys, "traverse", run, "--directions", directions, "--example", "1")


def test_a_picture_is_projected_and_one_of_another_size_refused(
    run: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    out = str(tmp_path / "p.png")
    main(["project", run, "held-out", "-n", "2", "--steps", "3", "--out", out])
    assert "2 pairs, the picture and what was found" in capsys.readouterr().out
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "other.png")
    assert "expected (1, 8, 8), as the model's own: crop or resize" in fault(
        capsys, "project", run, str(tmp_path / "other.png"), "--y", "3", "--out", out
    )


def test_walks_become_films(run: str, runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    main(["interpolate", run, "-n", "2", "--steps", "3", "--out", str(tmp_path / "w.gif")])
    assert "4 frames" in capsys.readouterr().out
    assert Image.open(tmp_path / "w.gif").n_frames == 4
    for verb in (("styles",), ("project", "held-out"), ("traverse", "--directions", "pca")):
        name, *rest = verb
        assert "needs a Styled" in fault(capsys, name, str(runs / "gan"), *rest, "--out", str(tmp_path / "x.png"))
