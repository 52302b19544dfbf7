"""Files are the old ones or the new ones; damage is told in one line."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest
import torch

from simulacra.core import checkpoint


def tensors():
    big = torch.arange(12.0).reshape(3, 4)
    return {"a": big.T, "b": big[1], "c": torch.tensor(3), "d": torch.ones(2, dtype=torch.bfloat16), "e": big.double()}


def test_tensors_come_back_bit_for_bit_with_their_digest(tmp_path):
    path = tmp_path / "model.safetensors"
    digest = checkpoint.save_tensors(path, tensors(), {"made by": "a test"})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest() == checkpoint.digest(path)
    back = checkpoint.load_tensors(path, digest)
    assert back.keys() == tensors().keys()
    assert all(torch.equal(back[n], t) and back[n].dtype == t.dtype for n, t in tensors().items())
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * 64, lambda b: b[:-1]]
)
def test_damaged_tensors_are_told_in_one_line(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    digest = checkpoint.save_tensors(path, tensors())
    path.write_bytes(damage(path.read_bytes()))
    for known in (None, digest):
        with pytest.raises(ValueError, match="model.safetensors is (damaged|not the file)") as told:
            checkpoint.load_tensors(path, known)
        assert "\n" not in str(told.value)


def test_one_flipped_bit_is_noticed_by_the_digest(tmp_path):
    path = tmp_path / "model.safetensors"
    digest = checkpoint.save_tensors(path, tensors())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    checkpoint.load_tensors(path)
    with pytest.raises(ValueError, match="is not the file that was written"):
        checkpoint.load_tensors(path, digest)


def test_json_comes_back_and_damage_is_told(tmp_path):
    path = tmp_path / "recipe.json"
    checkpoint.write_json(path, {"a": [1, 0.1, None]})
    assert checkpoint.read_json(path) == {"a": [1, 0.1, None]}
    path.write_text('{"a": [1, ')
    with pytest.raises(ValueError, match=r"recipe.json is damaged"):
        checkpoint.read_json(path)
    with pytest.raises(ValueError, match=r"cannot read .*none.json: No such file"):
        checkpoint.read_json(tmp_path / "none.json")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_will_not_leaves_the_old_file(tmp_path, monkeypatch, call, code):
    path = tmp_path / "recipe.json"
    checkpoint.write_json(path, "old")

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(ValueError, match=f"cannot write .*recipe.json: {os.strerror(code)}; ") as told:
        checkpoint.write_json(path, "new")
    assert "\n" not in str(told.value)
    assert checkpoint.read_json(path) == "old"
    assert os.listdir(tmp_path) == ["recipe.json"]
