"""``mark``, ``verify`` and ``sample --mark``: keys, pictures and texts, and every mistake in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.cli.main import main
from simulacra.core.batch import Batch
from simulacra.modalities import images
from simulacra.responsibility.keys import read_key
from simulacra.responsibility.marking import marked
from simulacra.responsibility.pixels import PixelMark


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
def keys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("a", "b"):
        main(["mark", "--new-key", f"{folder}/{name}.json"])
    x = np.random.default_rng(0).integers(60, 200, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(x).resize((96, 64), Image.Resampling.BICUBIC).save(folder / "plain.png")
    return folder


def test_a_picture_is_marked_and_its_mark_found(capsys, keys, tmp_path):
    said = told(capsys, "mark", keys / "plain.png", "--key", keys / "a.json", "--message", "1011", "--out",
                tmp_path / "m.png")  # fmt: skip
    assert read_key(keys / "a.json").secret.hex()[:8] not in said
    said = told(capsys, "verify", tmp_path / "m.png", "--key", keys / "a.json")
    assert "marked with this key" in said
    assert "message 1011000000000000" in said
    assert "does not show that a person" in told(capsys, "verify", tmp_path / "m.png", "--key", keys / "b.json")
    (record,) = json.loads(told(capsys, "verify", keys / "plain.png", "--key", keys / "a.json", "--json"))
    assert record["found"] is False
    assert record["message"] is None


def test_texts_are_marked_as_they_are_drawn(capsys, keys, tmp_path):
    (tmp_path / "prose.txt").write_text("\n\n".join(f"Line {i} of what goes on & on <and> on." for i in range(80)))
    small = ["--network.depth", "1", "--network.aspect", "16", "--network.head", "8", "--batch", "16"]
    main(["fit", "transformer", f"{tmp_path}/prose.txt", *small, "--block", "16", "--steps", "4", "--out",
          f"{tmp_path}/run", "--no-report"])  # fmt: skip
    for kind in ("tournament", "green"):
        told(capsys, "sample", tmp_path / "run", "-n", 40, "--mark", keys / "a.json", "--mark-tokens", kind, "--out",
             tmp_path / "drawn.txt")  # fmt: skip
        ask = ["verify", tmp_path / "drawn.txt", "--run", tmp_path / "run", "--json", "--key"]
        found = {r["name"].split(", ")[1]: r["found"] for r in json.loads(told(capsys, *ask, keys / "a.json"))}
        assert found == {"tournament": kind == "tournament", "green list": kind == "green"}
        assert not any(r["found"] for r in json.loads(told(capsys, *ask, keys / "b.json")))
    secret = read_key(keys / "a.json").secret.hex()
    assert not [p for p in (tmp_path / "run").rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    assert "give --run RUN" in fault(capsys, "verify", tmp_path / "drawn.txt", "--key", keys / "a.json")


def test_a_batch_of_pictures_is_marked_one_by_one(keys):
    key, space = read_key(keys / "a.json"), images.space(3, 40, 32)
    x = space.only.value(torch.randint(90, 160, (3, 3, 40, 32), generator=torch.Generator().manual_seed(0)).float())
    after = marked(Batch(x=x), space, key)
    assert all(PixelMark(key=key).look(p).p < 1e-9 for p in images.to_uint8(after.x, space))
    with pytest.raises(ValueError, match="not to a grid"):
        marked(Batch(x=x), space, key, grid=True)


def test_what_cannot_be_marked_is_refused(capsys, runs, keys, tmp_path):
    error = fault(capsys, "sample", runs / "vae", "-n", 2, "--mark", keys / "a.json", "--out", tmp_path / "f")
    assert "needs pictures of 256 levels" in error
    assert not (tmp_path / "f").exists()
    small = Image.new("RGB", (20, 40))
    small.save(tmp_path / "small.png")
    assert "too small" in fault(capsys, "mark", tmp_path / "small.png", "--key", keys / "a.json")
    assert "too small" in fault(capsys, "verify", tmp_path / "small.png", "--key", keys / "a.json")


def test_mistakes_are_told_in_one_line(capsys, keys, tmp_path):
    (tmp_path / "cut.json").write_text((keys / "a.json").read_text()[:50])
    assert "not a whole one" in fault(capsys, "verify", keys / "plain.png", "--key", tmp_path / "cut.json")
    assert "no key at" in fault(capsys, "verify", keys / "plain.png", "--key", tmp_path / "none.json")
    assert "never overwritten" in fault(capsys, "mark", "--new-key", keys / "a.json")
    assert "--new-key FILE" in fault(capsys, "mark", keys / "plain.png")
    assert "expected .png" in fault(capsys, "mark", keys / "plain.png", "--key", keys / "a.json", "--out", "a.jpg")
    assert "lies between 0 and 1" in fault(capsys, "verify", keys / "plain.png", "--key", keys / "a.json", "--rate", 2)
    assert "no picture" in fault(capsys, "verify", keys / "a.json", "--key", keys / "a.json")


@pytest.mark.slow
def test_a_latent_is_marked_and_found_with_the_run_alone(capsys, keys, tmp_path):
    x = np.random.default_rng(0).integers(90, 160, (64, 12, 12, 1)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    main(["fit", "flow_matching", f"{tmp_path}/x.npy", "--steps", "2", "--batch", "16", "--out", f"{tmp_path}/run",
          "--no-report"])  # fmt: skip
    out, ask = tmp_path / "drawn", ["sample", tmp_path / "run", "-n", 3, "--mark", keys / "a.json"]
    told(capsys, *ask, "--mark-in", "latent", "--out", out)
    for name in ("a", "b"):
        said = told(capsys, "verify", out, "--run", tmp_path / "run", "--json", "--key", keys / f"{name}.json")
        assert [r["found"] for r in json.loads(said) if "latent of run" in r["name"]] == [name == "a"] * 3
    assert "write to a folder" in fault(capsys, *ask, "--mark-in", "latent", "--out", tmp_path / "grid.png")
    assert "give --mark KEY" in fault(capsys, "sample", tmp_path / "run", "--mark-in", "latent")
    assert "a message is bits" in fault(capsys, *ask, "--mark-message", "102")
