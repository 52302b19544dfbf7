"""Private runs and detectors as a user asks for them."""

from __future__ import annotations

import json

import pytest

from simulacra.cli.main import main
from simulacra.runs import load
from simulacra.training.settings import Privacy


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    assert caught.value.code == 2
    return capsys.readouterr().err


SMALL = ["--steps", "4", "--batch", "32", "--no-report", "--networks", "Dense(hidden=(8,))"]


@pytest.mark.slow
def test_a_private_run_says_what_it_promises_and_its_card_does(capsys, tmp_path):
    run = tmp_path / "run"
    main(["fit", "vae", "digits", "--epsilon", "4", "--delta", "1e-4", "--clip", "2", "--out", str(run), *SMALL])
    assert "private: epsilon = 4 at delta = 0.0001" in capsys.readouterr().out
    recipe = load(run).recipe
    assert recipe.training.private == Privacy(epsilon=4.0, delta=1e-4, clip=2.0)
    assert 3.9 < recipe.privacy["epsilon"] <= 4.0
    main(["card", str(run)])
    assert f"epsilon = {recipe.privacy['epsilon']:.4g} at delta = 0.0001" in (run / "card.md").read_text()
    longer = refused(capsys, "fit", "vae", "digits", "--resume", "--out", run, "--steps", 9)
    assert "was trained with steps=4" in longer


def test_half_a_promise_and_families_of_closed_form_are_refused(capsys, tmp_path):
    told = refused(capsys, "fit", "vae", "digits", "--delta", "1e-4", "--out", tmp_path / "a", *SMALL)
    assert "--delta belongs to a private run; give --epsilon with it" in told
    told = refused(capsys, "fit", "naive_bayes", "digits", "--epsilon", "1", "--out", tmp_path / "b")
    assert "learns in closed form, which is not private" in told
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_detectors_are_tried_on_each_run_that_was_left_out(capsys, runs):
    main(["detect", str(runs / "vae"), str(runs / "gan"), "-n", "120", "--no-jpeg"])
    said = capsys.readouterr().out
    assert said.count("left out: AUC") == 4  # two runs, two detectors
    assert "no verdict on a picture" in said
    main(["detect", str(runs / "vae"), str(runs / "gan"), "-n", "120", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [f["name"] for f in found if "AUC" in f["name"]] == [
        "AUC of a family left out, network and spectrum",
        "AUC of a family left out, spectrum alone",
    ]
    assert all(0 <= f["value"] <= 1 for f in found)


def test_a_detector_needs_two_runs(capsys, tmp_path):
    assert "detect needs RUN RUN ..., at least 2" in refused(capsys, "detect", tmp_path)
