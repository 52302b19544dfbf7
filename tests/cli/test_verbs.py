"""The verbs as a user runs them, on a run of a few steps."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from simulacra.cli.main import main
from simulacra.laws import LAWS

FIT = ["--steps", "4", "--batch", "16", "--no-report"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SIMULACRA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def told(capsys, *arguments: str) -> str:
    """What a verb prints."""
    main([str(a) for a in arguments])
    return capsys.readouterr().out


def fault(capsys, *arguments: str) -> str:
    """The one line a verb fails with, exit 2."""
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert error.count("\n") == 1
    return error


def test_fit_says_what_it_is_about_to_do(capsys, tmp_path):
    said = told(capsys, "fit", "vae", "digits", "--networks", "Dense(hidden=(8,))", "--out", tmp_path / "run", *FIT)
    assert "vae on digits: pictures, picture 1x8x8, 10 classes" in said
    assert "held out by content hash" in said
    assert "parameters, about" in said
    assert "4 steps, 16 examples a step, seed 0; expected: about" in said


def test_samples_are_written_as_asked(capsys, runs, tmp_path):
    told(capsys, "sample", runs / "vae", "-n", 9, "--y", 7, "--out", tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size[0] > 100
    told(capsys, "sample", runs / "vae", "-n", 9, "--y", 7, "--out", tmp_path / "array.npz")
    with np.load(tmp_path / "array.npz") as kept:
        assert kept["x"].shape[0] == 9
        assert kept["y"].tolist() == [7] * 9
    told(capsys, "sample", runs / "gan", "-n", 5, "--out", tmp_path / "folder")
    assert len(list((tmp_path / "folder").rglob("*.png"))) == 5


def test_a_familys_own_options_come_from_its_signature(capsys, runs, tmp_path):
    cold = told(capsys, "sample", runs / "vae", "-n", 4, "--temperature", 0, "--out", tmp_path / "a.npy")
    assert "4 examples" in cold
    assert "--temperature" in fault(capsys, "sample", runs / "gan", "--temperature", "0", "--out", tmp_path / "b.npy")


def test_evaluate_judges_runs_folders_and_arrays(capsys, runs, tmp_path):
    figures = json.loads(told(capsys, "evaluate", runs / "vae", "-n", "200", "--json"))
    names = {figure["name"] for figure in figures}
    assert any(name.startswith("negative log-likelihood") for name in names)
    assert (runs / "vae" / "report.html").exists()
    told(capsys, "sample", runs / "gan", "-n", 60, "--out", tmp_path / "folder")
    told(capsys, "sample", runs / "gan", "-n", 60, "--out", tmp_path / "array.npy")
    by_folder = json.loads(told(capsys, "evaluate", tmp_path / "folder", "--real", "digits", "--json"))
    by_array = json.loads(told(capsys, "evaluate", tmp_path / "array.npy", "--real", "digits", "--json"))
    assert {f["name"] for f in by_folder} == {f["name"] for f in by_array} <= names | {"Frechet distance"}


def test_evaluate_bounds_likelihoods_more_tightly_where_asked(capsys, runs):
    ask = ["-n", "60", "--ais", "6", "--ais-n", "12", "--json"]
    figures = {f["name"]: f for f in json.loads(told(capsys, "evaluate", runs / "vae", "--k", "5", *ask))}
    (said,) = [f for name, f in figures.items() if name.startswith("negative") and "annealed" not in name]
    assert said["note"] == "IWAE, k = 5"
    (below,) = [f for name, f in figures.items() if name.startswith("negative") and "annealed" in name]
    assert (below["kind"], below["n"]) == ("bound", 12)
    # after four steps hardly anything is known of z, so that either side is near the truth
    assert abs(figures["annealing gap"]["value"]) < 1
    assert "needs a LatentVariable" in fault(capsys, "evaluate", runs / "gan", *ask)
    seen = {f["name"] for f in json.loads(told(capsys, "evaluate", runs / "gan", "--sigma", "0.3", *ask))}
    assert "negative log-likelihood of 17-level pixels, as a density, annealed" in seen


def test_compare_writes_one_page(capsys, runs, tmp_path):
    said = told(capsys, "compare", runs / "vae", runs / "gan", "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "wrote" in said
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_uses_write_pictures(capsys, runs, tmp_path):
    assert "mean squared error" in told(capsys, "reconstruct", runs / "vae", "held-out", "--out", tmp_path / "r.png")
    said = told(capsys, "denoise", runs / "vae", "held-out", "--add", "--n", "4", "--out", tmp_path / "d.png")
    assert "noisy" in said
    told(capsys, "interpolate", runs / "gan", "--n", 2, "--steps", 3, "--out", tmp_path / "i.png")
    told(capsys, "interpolate", runs / "vae", "--between", "held-out", "--n", 3, "--out", tmp_path / "j.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 200 for name in "rdij")


def test_traversals_are_pictures_or_pages(capsys, runs, tmp_path):
    assert "nats" in told(capsys, "traverse", runs / "vae", "--y", 3, "--out", tmp_path / "t.png")
    assert Image.open(tmp_path / "t.png").size[0] > 9 * 56
    told(capsys, "traverse", runs / "vae", "--example", 2, "--steps", 5, "--out", tmp_path / "t.html")
    assert (tmp_path / "t.html").read_text().count('type="range"') == 3
    assert "mean square change" in told(capsys, "traverse", runs / "gan", "-n", 2, "--out", tmp_path / "g.png")
    assert "no encoder" in fault(capsys, "traverse", runs / "gan", "--example", 2, "--out", tmp_path / "g.png")
    assert ".png or .html; got t.txt" in fault(capsys, "traverse", runs / "vae", "--out", tmp_path / "t.txt")
    assert "numbered 0 .." in fault(capsys, "traverse", runs / "vae", "--example", 9999, "--out", tmp_path / "t.png")


def test_what_a_model_cannot_do_is_refused_by_name(capsys, runs, tmp_path):
    error = fault(capsys, "reconstruct", runs / "gan", "held-out", "--out", tmp_path / "r.png")
    assert "reconstruct needs a Codec" in error
    assert "GAN is" in error


def test_laws_hold_for_a_run(capsys, runs):
    said = told(capsys, "laws", runs / "gan", "--json")
    results = json.loads(said)
    assert len(results) == len(LAWS)
    assert not [result for result in results if result["status"] == "failed"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["fit", "vae"], "fit needs FAMILY DATA; got vae"),
        (["fit", "bae", "digits"], "no family 'bae'; expected one of vae"),
        (["fit", "vae", "digts"], "did you mean digits?"),
        (["fit", "vae", "digits", "--steps", "0", "--out", "no"], "steps must be positive; got 0"),
        (["fit", "vae", "digits", "--latent", "0", "--out", "no"], "latent"),
        (["sample", "nowhere"], "is not a run"),
        (["evaluate", "nowhere"], "nowhere does not exist; expected a run"),
        (["compare", "one"], "compare needs at least two runs; got 1"),
        (["laws", "vae"], "fit one first"),
        (["laws", "json:nothing"], "json has no function 'nothing'"),
        (["reproduce", "everything"], "nothing published is known as 'everything'"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, tmp_path, monkeypatch, arguments, part):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIMULACRA_TRACEBACK", raising=False)
    assert part in fault(capsys, *arguments)
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_evaluate_takes_functions_and_runs_on_either_side(capsys, runs, tmp_path, monkeypatch):
    (tmp_path / "maker.py").write_text(
        "import numpy as np\ndef noise(n, seed):\n"
        "    return np.random.default_rng(seed).integers(256, size=(n, 8, 8), dtype=np.uint8)\n"
    )
    monkeypatch.chdir(tmp_path)
    by_function = json.loads(
        told(capsys, "evaluate", "maker:noise", "--real", runs / "vae", "--extractor", "pixels", "-n", 80, "--json")
    )
    by_run = json.loads(told(capsys, "evaluate", runs / "gan", "--real", "digits", "--extractor", "pixels", "--json"))
    assert {f["extractor"] for f in by_function + by_run} == {"pixels"}
    first, second = (next(f for f in figures if f["name"] == "Frechet distance") for figures in (by_function, by_run))
    assert first["n_real"] == second["n_real"]
    assert first["value"] > 0 < second["value"]
    assert "--k is of a run's likelihood" in fault(capsys, "evaluate", "maker:noise", "--real", "digits", "--k", "5")
    assert "expected one of pixels, classifier" in fault(
        capsys, "evaluate", runs / "gan", "--extractor", "eyes", "--real", "digits"
    )
    assert "inception is read from disk: inception=PATH" in fault(
        capsys, "evaluate", runs / "gan", "--extractor", "inception", "--real", "digits"
    )


def test_evaluate_says_everything_where_asked(capsys, runs):
    ask = ["-n", "300", "--extractor", "classifier", "--all", "--json"]
    names = {f["name"] for f in json.loads(told(capsys, "evaluate", runs / "vae", *ask))}
    assert {"Vendi score", "labels kept", "told from real data", "class imbalance", "authenticity"} <= names
    assert any(name.startswith("coverage (k=5), class ") for name in names)


@pytest.mark.slow
def test_two_processes_judge_as_one(capsys, runs, tmp_path):
    """Each draws and looks at every other batch of the same numbered samples."""
    ask = ["evaluate", str(runs / "gan"), "--extractor", "pixels", "-n", "1200", "--real", "digits", "--json"]
    one = json.loads(told(capsys, *ask))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        "-m",
        "simulacra",
    ]
    done = subprocess.run([*command, *ask], capture_output=True, text=True, check=True, timeout=100)
    two = json.loads(done.stdout)
    assert [f["name"] for f in two] == [f["name"] for f in one]
    for a, b in zip(one, two, strict=True):
        assert a["value"] == pytest.approx(b["value"], rel=1e-9), a["name"]


def test_a_gan_of_pictures_is_an_r3gan_unless_it_has_settings_of_its_own(capsys, runs, tmp_path):
    brief = ["--steps", "1", "--batch", "4", "--no-report"]
    said = told(capsys, "fit", "gan", "digits", "--out", tmp_path / "run", *brief)
    assert "gan of such data is r3gan; give gan a setting of its own to keep it" in said
    assert "r3gan on digits" in said
    assert "gan on digits" in told(capsys, "fit", "gan", "digits", "--latent", "3", "--out", tmp_path / "own", *brief)
    child = told(capsys, "fit", "gan", "digits", "--from", runs / "gan", "--out", tmp_path / "child", *brief)
    assert "such data" not in child
