"""The verbs on tables: the schema shown and edited; rows drawn, given columns, filled in, judged; faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simulacra.cli.main import main
from simulacra.runs import load


def people(n: int = 400) -> pd.DataFrame:
    r = np.random.default_rng(0)
    sex = r.choice(["Female", "Male"], n)
    city = r.integers(0, 6, n)
    return pd.DataFrame({
        "id": np.arange(1, n + 1), "age": r.integers(18, 80, n), "sex": sex,
        "pay": np.where(r.random(n) < 0.5, 0, np.round(r.lognormal(7, 1, n))).astype(int),
        "job": np.where(r.random(n) < 0.1, "", np.where(sex == "Male", "guard", "smith")),
        "city": [f"c{i}" for i in city], "land": [f"l{i // 3}" for i in city], "year": 2020,
    })  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A table, a copula of it as one joint, a VAE that has a target."""
    folder = tmp_path_factory.mktemp("tables")
    people().to_csv(folder / "people.csv", index=False)
    main(["fit", "copula", f"{folder}/people.csv", "--out", f"{folder}/joint"])
    small = ["--latent", "2", "--networks", "Dense(hidden=(8,))", "--steps", "4", "--batch", "16", "--no-report"]
    main(["fit", "vae", f"{folder}/people.csv", "--target-column", "sex", "--out", f"{folder}/classed", *small])
    return folder


def fails(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_the_schema_is_told_written_and_followed(capsys, folder, tmp_path):
    main(["data", f"{folder}/people.csv", "--schema-out", f"{tmp_path}/s.json"])
    said = capsys.readouterr().out
    assert "land follows from city" in said
    assert "year" in said
    assert "always 2020" in said
    value = json.loads((tmp_path / "s.json").read_text())
    value["columns"][1] = {"name": "age", "kind": "ordinal"}
    value["rules"] = []
    (tmp_path / "s.json").write_text(json.dumps(value))
    main(["data", f"{folder}/people.csv", "--schema", f"{tmp_path}/s.json"])
    said = capsys.readouterr().out
    assert "land follows" not in said
    assert any(line.split()[:2] == ["age", "ordinal"] for line in said.splitlines())


def test_fit_says_what_it_understood(capsys, folder, tmp_path):
    main(["fit", "naive_bayes", f"{folder}/people.csv", "--no-report", "--out", f"{tmp_path}/r"])
    said = capsys.readouterr().out
    assert "400 rows of 8 columns, 5 learnt" in said
    assert "set aside: id, year" in said
    assert (tmp_path / "r" / "space" / "table.json").exists()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_are_drawn(capsys, folder, tmp_path, ending):
    out = tmp_path / f"x.{ending}"
    main(["sample", f"{folder}/joint", "-n", "100", "--out", str(out)])
    assert "100 rows of 8 columns" in capsys.readouterr().out
    rows = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    assert list(rows.columns) == list(people().columns)
    assert rows["id"].tolist() == list(range(1, 101))
    assert set(rows["year"]) == {2020}
    assert rows["age"].between(18, 80).all()
    lands = {f"c{i}": f"l{i // 3}" for i in range(6)}
    assert rows["land"].tolist() == [lands[city] for city in rows["city"]]


def test_fewer_rows_are_the_first_of_more(folder):
    run = load(folder / "joint")
    pd.testing.assert_frame_equal(run.rows(run.sample(5, seed=3)), run.rows(run.sample(9, seed=3)).head(5))


def test_given_columns_hold(capsys, folder, tmp_path):
    out = tmp_path / "g.csv"
    main(["sample", f"{folder}/joint", "-n", "50", "--given", "age=40", "sex=Female", "--out", str(out)])
    said = capsys.readouterr().out
    assert "the draws are exact" in said or "the draws are approximate" in said
    rows = pd.read_csv(out)
    assert set(rows["age"]) == {40}
    assert set(rows["sex"]) == {"Female"}
    assert len(set(rows["city"])) > 1


def test_what_cannot_be_given_is_one_line(capsys, folder, runs):
    run = f"{folder}/joint"
    assert "none of its 2 values" in fails(capsys, "sample", run, "--given", "sex=x")
    assert "lies outside 18 .. 79" in fails(capsys, "sample", run, "--given", "age=200")
    assert "set aside" in fails(capsys, "sample", run, "--given", "id=3")
    assert "fitted with the target sex" in fails(capsys, "sample", f"{folder}/classed", "--given", "age=40")
    assert "columns are given to runs of tables" in fails(capsys, "sample", f"{runs}/vae", "--given", "age=4")
    assert "written as .csv" in fails(capsys, "sample", run, "--out", "x.png")


def test_a_class_is_given_as_a_column_or_as_y(folder, tmp_path):
    for more in (["--y", "Male"], ["--given", "sex=Male"], ["--given", "sex=Male", "age=30"]):
        main(["sample", f"{folder}/classed", "-n", "8", *more, "--out", f"{tmp_path}/c.csv"])
        assert set(pd.read_csv(tmp_path / "c.csv")["sex"]) == {"Male"}


def test_holes_are_filled(capsys, folder, tmp_path):
    table = people(30)
    table["age"] = table["age"].astype("Int64")
    table.loc[3:8, "age"] = pd.NA
    table.loc[2, "land"] = None
    table.to_csv(tmp_path / "holes.csv", index=False)
    main(["impute", f"{folder}/joint", f"{tmp_path}/holes.csv", "-n", "2", "--out", f"{tmp_path}/filled.csv"])
    assert "cells of 30 rows filled in; draws are" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "filled.csv")
    assert len(rows) == 60
    assert rows["draw"].tolist() == [1] * 30 + [2] * 30
    assert not rows.isna().any().any()
    first = rows.head(30)
    there = table["age"].notna()
    assert (first.loc[there, "age"] == table.loc[there, "age"].astype(int)).all()
    assert first.loc[2, "land"] == people(30).loc[2, "land"]
    assert "nothing is missing" in fails(capsys, "impute", f"{folder}/joint", f"{tmp_path}/filled.csv")


def test_a_run_is_judged_in_its_columns_own_units(folder):
    figures = {f["name"]: f for f in json.loads((folder / "joint" / "figures.json").read_text())}
    assert "negative log-likelihood of columns in their own units" in figures
    assert {"column shapes", "pair trends", "detection", "linkability risk"} <= set(figures)
    assert figures["rows that break land follows from city"]["value"] == 0
    page = (folder / "joint" / "report.html").read_text()
    assert "held out from training" in page
    assert "city" in page


def test_rows_of_a_file_are_judged_against_a_table(capsys, folder, tmp_path):
    people().head(200).to_csv(tmp_path / "x.csv", index=False)
    main(["evaluate", f"{tmp_path}/x.csv", "--real", f"{folder}/people.csv", "--target-column", "sex", "--json"])
    figures = {f["name"]: f["value"] for f in json.loads(capsys.readouterr().out)}
    assert figures["rows that stand in training"] > 0.5
    assert "area, samples on real (forest)" in figures
    assert "expected a .csv" in fails(capsys, "evaluate", str(tmp_path), "--real", f"{folder}/people.csv")


def test_choices_of_tables_mean_nothing_elsewhere(capsys, folder):
    said = fails(capsys, "fit", "vae", "digits", "--target-column", "x")
    assert "target means nothing for this data" in said
    assert "size means nothing" in fails(capsys, "fit", "vae", f"{folder}/people.csv", "--size", "8")
    assert "no way to encode" in fails(capsys, "fit", "vae", f"{folder}/people.csv", "--encode", "magic")


def test_a_table_that_changed_is_noticed(capsys, folder, tmp_path):
    people(120).to_csv(tmp_path / "t.csv", index=False)
    main(["fit", "naive_bayes", f"{tmp_path}/t.csv", "--out", f"{tmp_path}/run", "--no-report"])
    people(130).to_csv(tmp_path / "t.csv", index=False)
    capsys.readouterr()
    assert "has changed" in fails(capsys, "evaluate", f"{tmp_path}/run")
