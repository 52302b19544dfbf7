"""``sign``, ``inspect`` and ``sample --sign``: what a file says of itself, and every mistake in one line."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simulacra.cli.main import main
from simulacra.cli.provenance import standing, written

pytest.importorskip("c2pa")


def told(capsys, *arguments) -> str:
    main([str(a) for a in arguments])
    return capsys.readouterr().out


def fault(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert error.count("\n") == 1
    return error


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("signing")
    main(["sign", "--make-test-chain", f"{made}/chain"])
    x = np.random.default_rng(0).integers(60, 200, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(x).resize((96, 64), Image.Resampling.BICUBIC).save(made / "plain.png")
    return made


def test_a_picture_is_marked_and_signed_and_both_are_found(capsys, folder, tmp_path):
    told(capsys, "mark", "--new-key", tmp_path / "key.json")
    told(capsys, "mark", folder / "plain.png", "--key", tmp_path / "key.json", "--out", tmp_path / "m.png")
    told(capsys, "sign", tmp_path / "m.png", "--cert", folder / "chain/signer.pem")
    said = told(capsys, "verify", tmp_path / "m.png", "--key", tmp_path / "key.json")
    assert "marked with this key" in said
    assert "message" not in said  # none was given
    said = told(capsys, "inspect", tmp_path / "m.png", "--trust", folder / "chain/root.pem")
    assert "Trusted, signed by test signer" in said
    assert "trainedAlgorithmicMedia" in said
    assert "Valid" in told(capsys, "inspect", tmp_path / "m.png")


def test_samples_name_the_run_that_made_them(capsys, folder, tmp_path):
    main(["fit", "gaussian_mixture", "digits", "--out", f"{tmp_path}/run", "--no-report"])
    told(capsys, "sample", tmp_path / "run", "-n", 2, "--sign", folder / "chain/signer.pem", "--out", tmp_path / "out")
    files = sorted((tmp_path / "out").rglob("*.png"))
    assert len(files) == 2
    recipe = hashlib.sha256((tmp_path / "run/recipe.json").read_bytes()).hexdigest()
    for file in files:
        seen = json.loads(told(capsys, "inspect", file, "--trust", folder / "chain/root.pem", "--json"))
        assert seen["state"] == "Trusted"
        assert seen["origin"] == {"run": "run", "recipe": recipe}
    secret = (folder / "chain/signer.key").read_bytes().splitlines()[1]
    written = [p for place in ("run", "out") for p in (tmp_path / place).rglob("*") if p.is_file()]
    assert not [p for p in written if secret in p.read_bytes()]
    ask = "sample", tmp_path / "run", "--sign", folder / "chain/signer.pem", "--out"
    assert "unsigned: no manifest goes into .npy" in told(capsys, *ask, tmp_path / "x.npy")
    assert "proves nothing" in told(capsys, "inspect", tmp_path / "x.npy")


def test_what_stood_there_before_is_not_said_to_be_the_runs(tmp_path):
    out, mine, again = tmp_path / "t[1].mid", tmp_path / "t[1]-mine.mid", tmp_path / "t[1]-1.mid"
    mine.write_bytes(b"mine")
    again.write_bytes(b"of an earlier call")
    os.utime(again, ns=(1, 1))
    before = standing(out)
    assert set(before) == {mine, again}
    for file in (again, tmp_path / "t[1]-2.mid"):
        file.write_bytes(b"drawn")
    assert written(out, before) == [again, tmp_path / "t[1]-2.mid"]
    assert written(out, standing(out)) == []


def test_mistakes_are_told(capsys, folder, tmp_path):
    cert = "--cert", folder / "chain/signer.pem"
    assert "--make-test-chain" in fault(capsys, "sign", folder / "plain.png")
    assert "no file" in fault(capsys, "sign", tmp_path / "none.png", *cert)
    assert "is no run" in fault(capsys, "sign", folder / "plain.png", *cert, "--run", tmp_path)
    assert "changes no format" in fault(capsys, "sign", folder / "plain.png", *cert, "--out", tmp_path / "x.jpg")
    (tmp_path / "x.mid").write_bytes(b"MThd")
    assert "no manifest goes into" in told(capsys, "inspect", tmp_path / "x.mid")
    assert "Absent" in told(capsys, "inspect", folder / "plain.png")
