"""The verbs on molecules: fitted, drawn as SMILES, a table and a grid, gone on from, judged, reported."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("rdkit")

from simulacra.cli.main import main
from simulacra.runs import load

SMALL = ["--network.depth", "1", "--network.aspect", "16", "--network.head", "8", "--batch", "16", "--steps", "4"]
ENDS = ("O", "N", "Cl", "F", "C#N", "c1ccccc1", "C(=O)O")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("molecules")
    (folder / "some.smi").write_text("".join(f"{'C' * n}{e}\n" for n in range(1, 20) for e in ENDS))
    main(["fit", "transformer", f"{folder}/some.smi", *SMALL, "--out", f"{folder}/smiles"])
    more = ["--spelling", "random", "--no-report"]
    main(["fit", "transformer", f"{folder}/some.smi", *SMALL, *more, "--out", f"{folder}/random"])
    return folder


def test_molecules_are_written_one_a_line_and_judged_from_the_file(capsys, runs, tmp_path):
    main(["sample", f"{runs}/smiles", "-n", "30", "--out", f"{tmp_path}/a.smi"])
    assert "30 lines" in capsys.readouterr().out
    main(["evaluate", f"{runs}/smiles", "--real", f"{runs}/some.smi", "-n", "30", "--json"])
    of_run = json.loads(capsys.readouterr().out)
    main(["evaluate", f"{tmp_path}/a.smi", "--real", f"{runs}/some.smi", "-n", "30", "--json"])
    of_file = json.loads(capsys.readouterr().out)
    assert {f["name"]: f["value"] for f in of_run} == {f["name"]: f["value"] for f in of_file}
    assert of_run[0]["name"] == "valid molecules"
    assert of_run[0]["n"] == 30


def test_what_molecules_are_good_for_is_what_they_teach(capsys, runs, tmp_path):
    names = ["next token, real on real", "next token, samples on real", "next token, both on real"]
    smiles = (runs / "some.smi").read_text().splitlines()
    (tmp_path / "good.smi").write_text("\n".join(smiles))
    (tmp_path / "poor.smi").write_text("\n".join(["CC(C)C", *["OOOOOOOO"] * 120, "Cx"]))
    values = {}
    for file in ("good", "poor"):
        main(["evaluate", f"{tmp_path}/{file}.smi", "--real", f"{runs}/some.smi", "--tasks", "--json"])
        told = capsys.readouterr()
        values[file] = {f["name"]: f["value"] for f in json.loads(told.out)}
    assert "1 of 122 samples cannot be written in the data's tokens of SMILES" in told.err
    assert values["good"][names[1]] < values["poor"][names[1]]
    assert values["poor"][names[0]] < values["poor"][names[1]]
    main(["evaluate", f"{runs}/smiles", "-n", "20", "--tasks", "--json"])
    of_run = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert set(names) < set(of_run)
    assert of_run[names[0]]["value"] < of_run[names[1]]["value"]  # four steps teach little


def test_a_table_and_a_grid(runs, tmp_path):
    main(["sample", f"{runs}/smiles", "-n", "12", "--out", f"{tmp_path}/a.csv"])
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert all((row["fault"] == "") == (row["QED"] != "") for row in rows)
    for suffix, begins in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        main(["sample", f"{runs}/smiles", "-n", "12", "--out", f"{tmp_path}/a.{suffix}"])
        assert (tmp_path / f"a.{suffix}").read_bytes().startswith(begins)


def test_a_molecule_is_gone_on_from(capsys, runs):
    main(["sample", f"{runs}/smiles", "--prompt", "CCC", "-n", "3", "--tokens", "5"])
    assert all(line.startswith("CCC") for line in capsys.readouterr().out.splitlines())


def test_a_run_is_judged_and_its_page_shows_structures(capsys, runs):
    main(["evaluate", f"{runs}/smiles", "-n", "20", "--json"])
    names = [f["name"] for f in json.loads(capsys.readouterr().out)]
    assert "bits per byte" in names
    assert "valid molecules" in names
    assert "self-BLEU of characters" not in names
    page = (runs / "smiles" / "report.html").read_text()
    assert page.count("data:image/png") >= 2
    assert "molecules, as bytes" in page
    assert "As written" in page


def test_random_spellings_are_in_the_recipe(runs):
    run = load(runs / "random")
    assert run.recipe.data["options"]["spelling"] == "random"
    assert run.data().train.change is not None


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["sample", "{}/smiles", "--out", "a.pdf"], "molecules are written as .smi, .csv, .svg or .png"),
        (["sample", "{}/smiles", "--prompt", "CX"], "'X' at place 1 begins no atom"),
        (["evaluate", "{}/missing.smi", "--real", "{}/some.smi"], "does not exist"),
        (["evaluate", "math:sqrt", "--real", "{}/some.smi"], "molecules are read from files"),
        (["fit", "transformer", "{}/some.smi", "--tokens", "words", "--out", "{}/no"], "no tokens 'words'"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, runs, arguments, part):
    with pytest.raises(SystemExit) as caught:
        main([a.format(runs) for a in arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert part in error
    assert error.count("\n") == 1


def test_a_run_learns_towards_a_score(capsys, runs, tmp_path):
    out = tmp_path / "towards"
    few = ["--steps", "3", "--batch", "8", "-n", "60", "--out", f"{out}"]
    main(["optimise", f"{runs}/smiles", "--for", "similarity", "--to", "CCCCO", *few])
    said = capsys.readouterr().out
    assert "optimised for similarity to CCCCO, sigma 30" in said
    for name in ("score: similarity to CCCCO", "distance from before", "valid molecules"):
        assert name in said
    made = load(out)
    assert made.recipe.family == "transformer"
    learned, first = (run.model.network.out.weight for run in (made, load(runs / "smiles")))
    assert not learned.equal(first)
    assert any("optimised for" in note for note in made.recipe.data["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--for", "qed", "--to", "CCO"], "--to SMILES goes with --for similarity"),
        (["--for", "similarity"], "--to SMILES goes with --for similarity"),
        (["--for", "similarity", "--to", "C("], "'C(' is no molecule"),
        (["--sigma", "-1"], "sigma must be positive"),
    ],
)
def test_what_cannot_be_wanted_is_one_line(capsys, runs, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(["optimise", f"{runs}/smiles", *arguments, "--out", f"{runs}/none"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (runs / "none").exists()
