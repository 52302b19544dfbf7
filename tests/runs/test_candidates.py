"""Whatever can be judged: functions, arrays, folders and runs give the same figures for the same samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.modalities import images
from simulacra.runs.candidates import candidate, is_function, open_array, reference

GREY = images.space(1, 4, 4, classes=("a", "b"))
POINTS = Space(fields={"point": Continuous(low=-9, high=9, shape=(2,))})
MODULE = """
import numpy as np, torch
from simulacra.core.batch import Batch
def bytes_(n):
    return np.arange(n * 16, dtype=np.uint8).reshape(n, 4, 4)
def floats(n, rng):
    return 2 * rng("x").uniform((n, 1, 4, 4)) - 1
def labelled(n, seed):
    return np.full((n, 4, 4, 1), seed, np.uint8), np.arange(n) % 2
def wrong_size(n): return np.zeros((n, 5, 5), np.uint8)
def wrong_range(n): return np.full((n, 1, 4, 4), 200.0)
def diverged(n): return np.full((n, 1, 4, 4), np.nan)
def nothing(n): pass
def pairs(n): return np.random.default_rng(0).normal(size=(n, 2))
class Model:
    def sample(self, n, *, y=None, rng):
        return Batch(x=2 * rng("x").uniform((n, 1, 4, 4)) - 1)
def not_a_model(): return 3
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    (tmp_path / "makers.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "makers", raising=False)
    return tmp_path


def whole(found) -> Batch:
    return found.part(0, found.n)


def test_a_function_is_told_from_a_path(made):
    assert is_function("makers:floats")
    assert not is_function("folder/makers:floats")
    assert not is_function("makers")
    (made / "odd:name").mkdir()
    assert not is_function("odd:name")


def test_functions_may_return_bytes_floats_labels_or_a_model(made):
    seen = whole(candidate("makers:bytes_", GREY, n=6))
    torch.testing.assert_close(seen.x, torch.arange(96.0).reshape(6, 1, 4, 4) / 127.5 - 1)
    floats = whole(candidate("makers:floats", GREY, n=6, seed=3)).x
    torch.testing.assert_close(floats, 2 * Rng(3)("x").uniform((6, 1, 4, 4)) - 1, rtol=0, atol=1 / 255)
    labelled = whole(candidate("makers:labelled", GREY, n=6, seed=9))
    assert labelled.y.tolist() == [0, 1] * 3
    assert float(labelled.x.mean()) == pytest.approx(9 / 127.5 - 1)
    model = candidate("makers:Model", GREY, n=6, seed=3)
    assert torch.equal(torch.cat([model.part(0, 2).x, model.part(2, 6).x]), whole(model).x)
    assert whole(candidate("makers:pairs", POINTS, n=5)).x.shape == (5, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong_size", r"pictures of shape \(1, 5, 5\); expected \(1, 4, 4\)"),
        ("wrong_range", r"numbers in 200 .. 200; expected -1 .. 1, the space's own, or bytes"),
        ("diverged", "NaN or infinity in 6 of 6 pictures; look for a diverged model"),
        ("nothing", r"makers:nothing\(6\) returned nothing"),
        ("not_a_model", r"returned int; expected a model with sample"),
        ("absent", "makers has no function 'absent'"),
    ],
)
def test_what_a_function_may_not_return(made, name, message):
    with pytest.raises(ValueError, match=message):
        candidate(f"makers:{name}", GREY, n=6)


def test_arrays_on_disk_are_the_same_samples(made):
    x, y = np.arange(96, dtype=np.uint8).reshape(6, 1, 4, 4), np.array([0, 1, 0, 1, 0, 1])
    np.savez(made / "samples.npz", x=x, y=y)
    found = candidate(str(made / "samples.npz"), GREY)
    assert (found.n, found.there) == (6, 6)
    assert torch.equal(whole(found).x, whole(candidate("makers:bytes_", GREY, n=6)).x)
    assert whole(found).y.tolist() == y.tolist()
    few = candidate(str(made / "samples.npz"), GREY, n=4)
    assert (few.n, few.there) == (4, 6)
    np.savez(made / "wrong.npz", x=x, y=y + 5)
    with pytest.raises(ValueError, match="label"):
        candidate(str(made / "wrong.npz"), GREY)
    np.save(made / "colour.npy", np.zeros((6, 9, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r"pictures of shape \(3, 9, 9\); expected \(1, 4, 4\)"):
        candidate(str(made / "colour.npy"), GREY)
    with pytest.raises(ValueError, match="does not exist; expected a run, a folder of pictures"):
        candidate("absent", GREY)


def test_real_data_may_be_made_by_a_function_or_be_a_run_s(made):
    loaded = reference("makers:pairs")
    assert loaded.modality == "points"
    assert len(loaded.train) + len(loaded.held_out) == 10_000
    assert loaded.notes[0] == "made by makers:pairs"
    grey = np.random.default_rng(0).integers(256, size=(50, 8, 8), dtype=np.uint8)
    pictures = open_array((grey, np.arange(50) % 2), "f")
    assert pictures.train.space.only.shape == (1, 8, 8)
    assert len(pictures.train.space.classes) == 2
