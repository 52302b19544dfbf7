"""Audit and card as a user runs them."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from simulacra.cli.main import main


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SIMULACRA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.slow
def test_an_audit_says_what_was_measured_and_writes_page_and_cards(capsys, runs, tmp_path):
    run = tmp_path / "vae"
    shutil.copytree(runs / "vae", run)
    main(["card", str(run)])
    before = (run / "card.md").read_text()
    assert "Not measured: `simulacra evaluate RUN` does." in before
    assert "`simulacra audit RUN` measures them" in before
    main(["audit", str(run)])
    said = capsys.readouterr().out
    for name in ("copying, nearest neighbours", "copying, C_T", "membership by likelihood", "shares of groups"):
        assert re.search(rf"^(pass|attention) +{name}", said, re.M), (name, said)
    assert re.search(r"^not measured +differential privacy", said, re.M)
    page = (run / "audit.html").read_text()
    assert "http" not in re.sub(r'xmlns="http[^"]*"', "", page).replace("http-equiv", "")
    assert "not measured" in page.casefold()
    assert page.count("data:image/png") >= 24
    card, data = (run / "card.md").read_text(), (run / "data_card.md").read_text()
    assert card.startswith("---\nlibrary_name: simulacra\n")
    anchors = re.findall(r"audit\.html#([a-z0-9-]+)", card)
    assert "membership-by-likelihood" in anchors
    assert all(f'id="{a}"' in page for a in anchors)
    assert "- differential privacy: " in card
    assert str(tmp_path) not in card + data
    assert "training examples have another" in data
    main(["audit", str(run), "-n", "150", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {f["verdict"] for f in found} <= {"pass", "attention", "not measured"}


def test_an_audit_needs_a_run(capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["audit", str(tmp_path)])
    assert caught.value.code == 2
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.slow
def test_rows_of_a_table_are_audited_in_their_own_way(capsys, tmp_path):
    r = np.random.default_rng(0)
    age = r.integers(18, 80, 400)
    table = pd.DataFrame({"age": age, "pay": age * 100 + r.integers(0, 900, 400), "sex": r.choice(["f", "m"], 400)})
    table.to_csv(tmp_path / "people.csv", index=False)
    main(["fit", "copula", str(tmp_path / "people.csv"), "--out", str(tmp_path / "run")])
    main(["audit", str(tmp_path / "run"), "-n", "200"])
    said = capsys.readouterr().out
    for name in ("nearer to training rows than to held-out ones", "membership by distance", "singling out risk"):
        assert re.search(rf"^(pass|attention) +{name}", said, re.M), said
    assert not re.search(r"^\S.* copying ", said, re.M)
