"""Runs that are given something, as a user calls them: captions, low resolutions, and pictures drawn again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_verbs import fault, told

from simulacra.cli.main import main
from simulacra.runs import load
from simulacra.runs.pages import write_report

SMALL = ["--backbone", "Convolutional(width=8, blocks=1, multiples=(1, 2))", "--steps", "1", "--batch", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Runs of digits given their low resolution, and of captioned pictures; files to give them."""
    folder: Path = tmp_path_factory.mktemp("given")
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(pictures / f"{i:02}.png")
    (pictures / "captions.txt").write_text("\n".join(f"a heart {i}" for i in range(16)))
    main(["fit", "diffusion", "digits", "--given", "low_resolution:2", "--out", f"{folder}/super", *SMALL,
          "--no-report"])  # fmt: skip
    main(["fit", "flow_matching", str(pictures), "--given", "caption:24", "--out", f"{folder}/words", *SMALL,
          "--text", "Convolved(width=16, depth=1, heads=2)", "--no-report"])  # fmt: skip
    main(["fit", "diffusion", "digits", "--out", f"{folder}/plain", *SMALL, "--no-report"])
    Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(folder / "small.png")
    return folder


@pytest.mark.slow
def test_a_report_shows_what_was_given_and_what_was_drawn_for_it(folder):
    page = write_report(load(folder / "super")).read_text()
    assert "each given its low resolution" in page
    assert "--given low_resolution:2" in page
    assert "Frechet distance" in page
    run = load(folder / "super")
    assert run.recipe.data["options"]["given"] == "low_resolution:2"


def test_pictures_are_drawn_for_what_is_given(capsys, folder, tmp_path):
    out = tmp_path / "t.png"
    said = told(capsys, "translate", folder / "super", "held-out", "-n", 3, "--examples", 2, "--steps", 2, "--out", out)
    assert "2 rows: what is given, the picture it was made of, 3 draws" in said
    wide, high = Image.open(out).size
    assert wide == pytest.approx(5 / 2 * high, rel=0.05)
    said = told(capsys, "translate", folder / "super", folder / "small.png", "--steps", 2, "--out", tmp_path / "t.npy")
    assert np.load(tmp_path / "t.npy").shape == (4, 8, 8, 1)
    np.save(tmp_path / "whole.npy", np.zeros((2, 8, 8, 1), np.uint8))
    said = told(capsys, "translate", folder / "super", tmp_path / "whole.npy", "--whole", "--steps", 2, "--out", out)
    assert "2 rows: what is given, the picture it was made of, 4 draws" in said
    for arguments, wrong in (
        ((folder / "plain", "held-out"), "translate needs a ConditionalSampler"),
        ((folder / "words", "held-out"), "given no pictures"),
        ((folder / "super", tmp_path / "none.png"), "nothing at"),
        ((folder / "super", tmp_path / "whole.npy"), "expected (1, 4, 4)"),
    ):
        assert wrong in fault(capsys, "translate", *arguments, "--out", out)


def test_captions_are_drawn_from(capsys, folder, tmp_path):
    out = tmp_path / "s.npy"
    for name in ("--y", "--caption"):
        told(capsys, "sample", folder / "words", "-n", 3, name, "A Heart 3", "--steps", 2, "--out", out)
        assert np.load(out).shape == (3, 8, 8, 3)
    first = np.load(out)
    told(capsys, "sample", folder / "words", "-n", 3, "--y", "a heart 3", "--steps", 2, "--out", out)
    assert (np.load(out) == first).all(), "capitals say nothing"
    told(
        capsys,
        "sample",
        folder / "words",
        "-n",
        5,
        "--y",
        "held-out",
        "--integrator",
        "velocity.euler",
        "--out",
        tmp_path / "f",
    )
    assert len(list((tmp_path / "f").iterdir())) == 5
    sample = ("sample", folder / "words", "--out", out)
    assert "y, a caption, is needed" in fault(capsys, *sample)
    assert "at least one letter; got ''" in fault(capsys, *sample, "--y", "")
    assert "at most 24 bytes; got 40" in fault(capsys, *sample, "--y", 40 * "a")
    assert "given no words but low resolution" in fault(capsys, "sample", folder / "super", "--y", "3", "--out", out)


def test_pictures_are_drawn_again(capsys, folder, tmp_path):
    out = tmp_path / "r.png"
    redraw = ("redraw", folder / "plain", "held-out", "--examples", 2, "-n", 3, "--steps", 4)
    assert "2 rows: the picture, 3 draws" in told(capsys, *redraw, "--y", "3", "--strength", 0.6, "--out", out)
    assert "nothing is forgotten" in told(capsys, *redraw, "--strength", 0, "--out", tmp_path / "r.npy")
    same = np.load(tmp_path / "r.npy")
    assert (same[:2] == same[2:4]).all()
    assert "strength lies in 0 .. 1; got 2" in fault(capsys, *redraw, "--strength", 2, "--out", out)
    assert "redraw needs a Denoiser" in fault(capsys, "redraw", folder / "words", "held-out", "--out", out)
    told(capsys, "redraw", folder / "super", "held-out", "--steps", 4, "--examples", 1, "--out", out)


@pytest.mark.slow
def test_what_lies_under_a_mask_is_drawn_given_what_the_run_is_given(capsys, folder, tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = ("inpaint", folder / "super", "held-out", "--mask", tmp_path / "mask.png", "-n", 1, "--examples", 2)
    assert "2 rows" in told(capsys, *arguments, "--out", tmp_path / "i.png")
    np.save(tmp_path / "whole.npy", np.zeros((2, 8, 8, 1), np.uint8))
    assert "needs that of the examples" in fault(
        capsys, "inpaint", folder / "super", tmp_path / "whole.npy", "--mask", tmp_path / "mask.png"
    )
