"""The uses as a user calls them: what they write, and every mistake in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_verbs import FIT, fault, told

from simulacra.cli.main import main


@pytest.fixture(scope="module")
def folder(runs) -> Path:
    """The runs, one more that knows no classes, examples and masks."""
    folder: Path = runs
    plain = ["--latent", "3", "--networks", "Dense(hidden=(8,))", "--labels", "none"]
    main(["fit", "vae", "digits", *plain, "--out", f"{folder}/plain", *FIT])
    x = np.rint(np.random.default_rng(0).integers(0, 17, (12, 8, 8, 1)) * (255 / 16)).astype(np.uint8)
    np.savez(folder / "x.npz", x=x, y=np.arange(12) % 10)
    for name, size, white in (("half", (8, 8), 4), ("all", (8, 8), 0), ("none", (8, 8), 8), ("wide", (9, 8), 4)):
        mask = np.zeros(size[::-1], np.uint8)
        mask[white:] = 255
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def test_compressed_examples_come_back_with_their_labels(capsys, folder, tmp_path):
    said = told(capsys, "compress", folder / "vae", folder / "x.npz", "--out", tmp_path / "c")
    assert "12 examples" in said
    assert "bits an element (bits-back" in said
    told(capsys, "decompress", folder / "vae", tmp_path / "c", "--out", tmp_path / "again.npz")
    with np.load(folder / "x.npz") as before, np.load(tmp_path / "again.npz") as after:
        assert (before["x"] == after["x"]).all()
        assert (before["y"] == after["y"]).all()
    told(capsys, "compress", folder / "plain", "held-out", "-n", 9, "--portable", "--out", tmp_path / "p")
    assert "9 examples" in told(capsys, "decompress", folder / "plain", tmp_path / "p", "--out", tmp_path / "p.npy")
    assert "another space" in fault(capsys, "decompress", folder / "plain", tmp_path / "c")
    (tmp_path / "short").write_bytes((tmp_path / "c").read_bytes()[:-3])
    assert "cut short" in fault(capsys, "decompress", folder / "vae", tmp_path / "short")
    assert "not a compressed file" in fault(capsys, "decompress", folder / "vae", folder / "x.npz")
    assert "compress needs a Codec" in fault(
        capsys, "compress", folder / "gan", folder / "x.npz", "--out", tmp_path / "g"
    )


@pytest.mark.slow  # two more fits
def test_ladders_compress_as_well_and_exact_models_by_another_coder_too(capsys, folder, tmp_path):
    small = {"hvae": ["--groups", "1", "1", "--width", "4"], "pixelcnn": []}
    for family, options in small.items():
        main(["fit", family, "digits", *options, "--labels", "none", "--out", f"{folder}/{family}", *FIT])
    pytest.importorskip("constriction")
    for run, coder, said in (
        ("hvae", "rans", "bits-back, the model's bound; native arithmetic, coder rans-64/32"),
        ("pixelcnn", "rans", "the model's own probabilities; native arithmetic, coder rans-64/32"),
        ("pixelcnn", "constriction", "the model's own probabilities; native arithmetic, coder constriction-range"),
    ):
        file, out = tmp_path / f"{run}-{coder}", tmp_path / f"{run}-{coder}.npz"
        assert said in told(capsys, "compress", folder / run, folder / "x.npz", "--backend", coder, "--out", file)
        told(capsys, "decompress", folder / run, file, "--out", out)
        with np.load(folder / "x.npz") as before, np.load(out) as after:
            assert (before["x"] == after["x"]).all()
    assert "needs a stack: take the backend rans" in fault(
        capsys, "compress", folder / "hvae", folder / "x.npz", "--backend", "constriction", "--out", tmp_path / "g"
    )


def test_inpainting_shows_what_is_kept_and_several_draws(capsys, folder, tmp_path):
    out = tmp_path / "grid.png"
    arguments = ("inpaint", folder / "vae", "held-out", "--mask", folder / "half.png")
    said = told(capsys, *arguments, "-n", 5, "--examples", 3, "--out", out)
    assert "draws are approximate (VAE.complete)" in said
    assert "3 rows: the picture, what is kept of it, 5 draws" in said
    wide, high = Image.open(out).size
    assert wide == pytest.approx(7 / 3 * high, rel=0.05)
    told(capsys, *arguments, "-n", 2, "--examples", 3, "--out", tmp_path / "draws.npy")
    assert np.load(tmp_path / "draws.npy").shape == (6, 8, 8, 1)
    for mask, said in (("all", "all of it is white"), ("none", "none of it is white"), ("wide", "expected 8x8")):
        assert said in fault(capsys, *arguments[:-1], folder / f"{mask}.png", "--out", out)
    assert "no picture that can be read" in fault(capsys, *arguments[:-1], folder / "x.npz", "--out", out)
    assert "impute needs a Completer" in fault(
        capsys, "inpaint", folder / "gan", "held-out", "--mask", folder / "half.png", "--out", out
    )
    assert "no class '12'" in fault(capsys, *arguments, "--y", "12", "--out", out)


def test_the_gaps_of_an_array_are_filled(capsys, folder, tmp_path):
    with np.load(folder / "x.npz") as kept:
        whole = kept["x"]
    holes = whole / 255.0
    holes[:, 3:] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    told(capsys, "impute", folder / "plain", tmp_path / "holes.npy", "-n", 2, "--out", tmp_path / "full.npy")
    full = np.load(tmp_path / "full.npy")
    assert full.shape == (24, 8, 8, 1)
    assert (full[:12, :3] == whole[:, :3]).all()
    assert (full[12:, :3] == whole[:, :3]).all()
    for values, said in (
        (np.full_like(holes, np.nan), "nothing is known"),
        (whole / 255.0, "nothing is missing"),
        (whole, "expected floats"),
        (holes[:, :6], "expected pictures (n, 8, 8, 1)"),
    ):  # fmt: skip
        np.save(tmp_path / "bad.npy", values)
        assert said in fault(capsys, "impute", folder / "plain", tmp_path / "bad.npy", "--out", tmp_path / "no.npy")
    assert "needs the class" in fault(
        capsys, "impute", folder / "vae", tmp_path / "holes.npy", "--out", tmp_path / "n.npy"
    )


def test_classes_and_their_probabilities_are_tabled(capsys, folder, tmp_path):
    out = tmp_path / "labels.csv"
    figures = json.loads(told(capsys, "classify", folder / "vae", folder / "x.npz", "--out", out, "--json"))
    assert [f["name"] for f in figures] == ["accuracy", "label negative log-likelihood", "expected calibration error"]
    with open(out) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        p = {name: float(value) for name, value in row.items() if name.startswith("p(")}
        assert sum(p.values()) == pytest.approx(1, abs=1e-4)
        assert p[f"p({row['label']})"] == max(p.values()) == float(row["probability"])
    said = told(capsys, "classify", folder / "vae", "held-out", "-n", 30, "--calibrate", 40, "--out", out)
    assert "30 examples" in said
    assert "fitted on 40 held-out examples that are not among these" in said
    assert "fitted without labels" in fault(capsys, "classify", folder / "plain", folder / "x.npz", "--out", out)
    assert "classify needs a Likelihood" in fault(capsys, "classify", folder / "gan", folder / "x.npz", "--out", out)


def test_novelty_says_how_each_score_fails(capsys, folder, tmp_path):
    arguments = (
        "novelty",
        folder / "plain",
        folder / "x.npz",
        "--background",
        folder / "vae",
        "--out",
        tmp_path / "n.csv",
    )
    figures = json.loads(told(capsys, *arguments, "--json"))
    names = [f["name"].split()[2] for f in figures]
    assert names == ["likelihood", "typicality", "ratio", "ratio", "ratio"]
    assert all("known failure" in f["note"] and 0 <= f["value"] <= 1 for f in figures)
    assert figures[0]["value"] > 0.9  # noise is not what digits look like
    with open(tmp_path / "n.csv") as file:
        assert len(list(csv.DictReader(file))) == 12
    assert "this model's are" in fault(capsys, "novelty", folder / "plain", "ring")
    assert "novelty needs a Likelihood" in fault(capsys, "novelty", folder / "gan", folder / "x.npz")


def test_examples_are_moved_towards_a_class(capsys, folder, tmp_path):
    said = told(capsys, "edit", folder / "plain", "held-out", "--towards", 3, "-n", 4, "--out", tmp_path / "strip.png")
    assert "strengths -1, -0.5, 0, 0.5, 1, 1.5 towards 3" in said
    wide, high = Image.open(tmp_path / "strip.png").size
    assert wide == pytest.approx(7 / 4 * high, rel=0.05)
    assert "the same code as 3" in told(
        capsys, "edit", folder / "vae", "held-out", "--towards", 3, "-n", 4, "--out", tmp_path / "s.png"
    )
    for run, towards in (("plain", "12"), ("vae", "elephant")):
        assert f"no class '{towards}'" in fault(capsys, "edit", folder / run, "held-out", "--towards", towards)
    assert "--towards LABEL" in fault(capsys, "edit", folder / "vae", "held-out")
    assert "edit needs a Codec" in fault(capsys, "edit", folder / "gan", "held-out", "--towards", 3)
