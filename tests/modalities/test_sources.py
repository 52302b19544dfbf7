"""What a person may say, and what is answered."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_pictures import png

from simulacra.core.batch import Data, Stored
from simulacra.core.randomness import Rng
from simulacra.modalities.names import KNOWN
from simulacra.modalities.sources import TOYS, open_data
from simulacra.modalities.sprites import Sprites


def test_digits_are_built_in():
    loaded = open_data("digits")
    assert (len(loaded.train) + len(loaded.held_out), loaded.modality) == (1797, "pictures")
    field = loaded.train.space.only
    assert (field.shape, field.levels) == ((1, 8, 8), 17)
    x = loaded.train.batch(torch.arange(len(loaded.train)), Rng(0)).x
    assert torch.equal((x + 1) * 8, ((x + 1) * 8).round())
    assert float(x.max()) == 1


def test_resized_digits_are_eight_bit_pictures():
    loaded = open_data("digits", size=16)
    assert (loaded.train.space.only.shape, loaded.train.space.only.levels) == ((1, 16, 16), 256)
    assert int(loaded.train.x.max()) == 255


@pytest.mark.parametrize("name", [n for n, k in KNOWN.items() if k.folder is None])
def test_what_is_made_here_is_data_on_both_sides(name):
    loaded = open_data(name)
    assert isinstance(loaded.train, Data)
    assert isinstance(loaded.held_out, Stored)
    assert loaded.train.space == loaded.held_out.space
    assert loaded.modality == KNOWN[name].modality
    assert loaded.notes
    index = torch.tensor([0, 3])
    assert loaded.train.batch(index, Rng(0)).x.shape[1:] == loaded.held_out.batch(index, Rng(0)).x.shape[1:]
    assert open_data(name).held_out.fingerprint == loaded.held_out.fingerprint


def test_held_out_sprites_are_not_learnt_from():
    loaded = open_data("sprites", size=16)
    learnt = set(loaded.train.numbers.tolist())
    assert len(learnt) == len(loaded.train) == 663_552
    drawn = torch.randperm(737_280, generator=torch.Generator().manual_seed(0))
    outside = torch.tensor([n for n in drawn.tolist() if n not in learnt])
    assert len(outside) == 73_728
    world = Sprites(side=16)
    rows = lambda x: {row.numpy().tobytes() for row in x}  # noqa: E731
    assert rows(loaded.held_out.x) <= rows(world.draw(outside))


def test_every_toy_is_known():
    assert set(TOYS) | {"sprites", "digits"} == {n for n, k in KNOWN.items() if k.folder is None}


def test_the_source_and_options_open_the_same_data(tmp_path, monkeypatch):
    for i in range(30):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    (tmp_path / "words").write_text("\n".join("ab"[i % 2] for i in range(30)))
    monkeypatch.chdir(tmp_path.parent)
    first = open_data(tmp_path.name, size=(6, 4), channels=1, held_out=0.3, labels=f"{tmp_path.name}/words")
    options = json.loads(json.dumps(dict(first.options)))
    monkeypatch.chdir("/")
    again = open_data(first.source, **options)
    assert (again.train.fingerprint, again.held_out.fingerprint) == (
        first.train.fingerprint,
        first.held_out.fingerprint,
    )
    assert open_data("ring").options == {}


@pytest.mark.parametrize("how", ["dynamic", "threshold"])
def test_binarised_pictures(tmp_path, how):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (50, 4, 4), dtype=np.uint8))
    loaded = open_data(str(tmp_path / "a.npy"), binarise=how)
    assert loaded.train.space.measure == loaded.held_out.space.measure == "binary pixels"
    index = torch.arange(len(loaded.train))
    draws = [loaded.train.batch(index, Rng(seed)).x for seed in (1, 2)]
    assert torch.equal(*draws) == (how == "threshold")
    held = [loaded.held_out.batch(torch.arange(3), Rng(seed)).x for seed in (1, 2)]
    assert torch.equal(*held)


@pytest.mark.parametrize(
    ("text", "how", "said"),
    [
        ("mnits", {}, "no such file or folder, and no known name; did you mean mnist"),
        ("nothing-like-it.png", {}, "known names are digits, mnist"),
        ("/no/such/folder", {}, "no such file or folder"),
        ("x" * 5000, {}, "cannot be read"),
        ("digits", {"size": 0}, "size must lie in 1 .. 4096; got 0x0"),
        ("digits", {"size": (1, 2, 3)}, "a side or height and width"),
        ("digits", {"channels": 2}, "channels must be 1"),
        ("digits", {"skip": 1.5}, "may be skipped"),
        ("digits", {"held_out": 1.5}, "between 0 and 1"),
        ("digits", {"modality": "smells"}, "expected pictures, points, text, pairs, molecules, music, frames, tables"),
        ("digits", {"modality": "music"}, "digits is known as pictures, not as music"),
        ("digits", {"modality": "points"}, "these are pictures"),
        ("digits", {"binarise": "often"}, "expected dynamic or threshold"),
        ("digits", {"binarise": "dynamic"}, "needs 256 grey levels; got 17"),
        ("ring", {"size": 32}, "size means nothing for this data"),
        ("ring", {"binarise": "dynamic"}, "binarise means nothing"),
        ("sprites", {"size": (16, 32)}, "sprites are square"),
        ("sprites", {"size": 8}, "at least 16"),
    ],
)
def test_refusals(text, how, said):
    with pytest.raises(ValueError, match=said) as caught:
        open_data(text, **how)
    assert "\n" not in str(caught.value)


def test_an_unknown_file_is_not_guessed_at(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"?")
    with pytest.raises(ValueError, match="not recognised; expected a folder of pictures"):
        open_data(str(tmp_path / "a.xyz"))


def test_names_are_told_without_torch():
    code = "import sys; from simulacra.modalities.names import KNOWN; assert KNOWN; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_labels_left_aside_are_left_aside_when_the_data_is_opened_again():
    first = open_data("digits", labels="none")
    again = open_data(first.source, **first.options)
    assert first.options["labels"] == "none"
    assert again.train.space.y is None
    assert again.train.fingerprint == first.train.fingerprint
