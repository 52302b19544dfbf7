"""``simulacra reproduce`` of an experiment: its quick form, gone on with, and what it refuses."""

from __future__ import annotations

import json

import pytest

from simulacra.cli.main import main

NAME = "generative-vs-discriminative"


@pytest.mark.slow
def test_the_quick_form_runs_is_kept_and_says_that_it_shows_nothing(tmp_path, capsys):
    main(["reproduce", NAME, "--quick", "--out", str(tmp_path)])
    first = capsys.readouterr().out
    assert "This is the quick form" in first
    assert "published" in first
    page = (tmp_path / "index.html").read_text()
    assert "This is the quick form" in page
    assert "https://" not in page
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {"pictures", "texts", "tables", "worlds", "curves"} == {
        path.name.partition("-")[0] for path in (tmp_path / "parts").iterdir()
    }
    assert all(f["interval"][0] <= f["value"] <= f["interval"][1] for f in figures if f["interval"])
    # what is kept is not run again, and comes to the same
    main(["reproduce", NAME, "--quick", "--out", str(tmp_path)])
    again = capsys.readouterr().out
    assert again.count(", kept") == 6
    assert [line for line in again.splitlines() if "  here" in line] == [
        line for line in first.splitlines() if "  here" in line
    ]
    assert json.loads((tmp_path / "figures.json").read_text()) == figures


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([NAME, "--steps", "3"], "--quick is its small form"),
        (["vae-mnist", "--quick"], "give it fewer --steps"),
        (["nonesuch"], NAME),
    ],
)
def test_what_means_nothing_is_refused(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_experiments_stand_beside_the_figures(capsys):
    main(["reproduce"])
    assert NAME in capsys.readouterr().out
