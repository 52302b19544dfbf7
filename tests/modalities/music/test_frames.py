"""Frames of keys: there and back, a proper distribution over sets of keys, counted in frames."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.evaluation.likelihood import figures_of_likelihood, log_likelihood
from simulacra.families.frames import FramesConfig
from simulacra.families.frames import build as build_frames
from simulacra.families.transformer import TransformerConfig, build
from simulacra.mathematics.discrete import support_quantile
from simulacra.modalities.music.frames import (
    FRAME,
    KEYS,
    Transposed,
    Upwards,
    as_tune,
    decoded,
    encoded,
    frames,
    tunes_of,
)
from simulacra.modalities.music.rolls import TransposedRolls, rolled, unrolled
from simulacra.modalities.sources import open_data
from simulacra.nets.causal_rows import Attending
from simulacra.nets.decoder import Decoder

TUNE = [[60, 64, 67], [60, 65], [], [21, 108]]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.json"
    parts = {p: [[[40 + i, 50 + (i * j) % 20] for j in range(1, 5 + i % 3)] for i in range(n)]
             for p, n in (("train", 12), ("valid", 2), ("test", 5))}  # fmt: skip
    path.write_text(json.dumps(parts))
    return path


def test_frames_come_back_and_are_counted():
    written = encoded(TUNE)
    assert decoded(written.tolist()) == TUNE
    assert int((written == FRAME).sum()) == 4
    assert encoded([[67, 60, 60]]).tolist() == [39, 46, FRAME]


@pytest.mark.parametrize(
    ("tokens", "part"), [([5, 3, FRAME], "does not lie above"), ([5, 5, FRAME], "does not lie"), ([5], "end within")]
)
def test_what_are_no_frames_is_told(tokens, part):
    with pytest.raises(ValueError, match=part):
        decoded(tokens)
    with pytest.raises(ValueError, match="a piano's keys are MIDI numbers 21"):
        encoded([[20]])


@pytest.mark.parametrize("room", [1, 2, 7, 30])
def test_whatever_goes_upwards_are_frames(room):
    legal, seen = Upwards(room=room), torch.full((40, 0), -1)
    running = torch.ones(40, dtype=torch.bool)
    u = Rng(room)("u").uniform((40, room)).double()
    for t in range(room):
        may = legal(seen).double()
        assert bool(may.any(1).all())
        token = support_quantile((may / may.sum(1, keepdim=True)).log(), u[:, t])
        running = running & (token != KEYS + 1)
        seen = torch.cat([seen, torch.where(running, token, -1)[:, None]], 1)
    for row in seen.tolist():
        tokens = [token for token in row if token >= 0]
        assert encoded(decoded(tokens)).tolist() == tokens


def test_probabilities_of_all_sets_of_keys_sum_to_one():
    """Whatever a model's conditionals under the mask: all 2^4 sets of the four highest keys, after a high key."""
    legal, high = Upwards(room=50), KEYS - 4
    weight = Rng(1)("weight").uniform((KEYS + 2,)).double() + 0.1

    def nats(keys: tuple[int, ...]) -> float:
        row, total = [high - 1], 0.0
        for token in (*keys, FRAME):
            may = legal(torch.tensor([row]))[0].double() * weight
            total += math.log(float(may[token] / may.sum()))
            row.append(token)
        return total

    sets = itertools.chain.from_iterable(itertools.combinations(range(high, KEYS), r) for r in range(5))
    assert sum(math.exp(nats(keys)) for keys in sets) == pytest.approx(1.0, abs=1e-12)


def test_likelihoods_are_counted_in_frames(file):
    loaded = open_data(str(file))
    model = build(TransformerConfig(network=Decoder(depth=1, aspect=8, head=4)), loaded.train.space)
    found = log_likelihood(model, loaded.held_out, rng=0)
    figures = {f.name: f for f in figures_of_likelihood(found)}
    frames = sum(len(t) for t in json.loads(file.read_text())["test"])
    assert figures["negative log-likelihood a frame"].unit == "nats"
    assert figures["negative log-likelihood a frame"].value == pytest.approx(-float(found.nats.sum()) / frames)
    # a new network gives each of the 90 outputs the same: every token is paid for, and every tune's end but one
    # that nothing could follow
    decisions = float(found.choices.sum())
    assert -float(found.nats.sum()) == pytest.approx(decisions * math.log(90), rel=1e-5)


def test_tunes_move_as_a_whole_and_stay_on_the_keys(file):
    loaded, plain = open_data(str(file), transpose=6), open_data(str(file))
    index = torch.arange(12)
    before = [decoded(r[:m]) for r, m in zip(plain.train.x.tolist(), plain.train.length.tolist(), strict=True)]
    seen = set()
    for seed in range(6):
        batch = loaded.train.batch(index, Rng(seed))
        after = [decoded(r[:m]) for r, m in zip(batch.x.tolist(), batch.length.tolist(), strict=True)]
        for a, b in zip(before, after, strict=True):
            moved = {y - x for f, g in zip(a, b, strict=True) for x, y in zip(f, g, strict=True)}
            assert len(moved) == 1
            seen |= moved
    assert seen <= set(range(-6, 7))
    assert len(seen) > 8
    row = torch.zeros(1, loaded.train.space.only.shape[0], dtype=torch.int64)
    written = torch.from_numpy(encoded([[21, 108]]))
    row[0, : len(written)] = written
    held = Transposed(6)(type(loaded.train.batch(index, Rng(0)))(x=row, length=torch.tensor([3])), Rng(0))
    assert torch.equal(held.x, row)  # between the lowest and the highest key there is no room


def test_frames_as_notes_hold_what_goes_on():
    tune = as_tune([[60, 64], [60], [], [60]])
    assert [(n.pitch, n.start, n.duration) for n in tune.notes] == [(60, 0, 24), (64, 0, 12), (60, 36, 12)]
    assert as_tune([]).notes == ()


def test_a_file_is_recognised_and_its_faults_are_told(file, tmp_path):
    loaded = open_data(str(file))
    assert loaded.modality == "frames"
    assert "the part valid, 2 tunes, is left aside" in loaded.notes
    assert open_data(loaded.source, **loaded.options).train.fingerprint == loaded.train.fingerprint
    with pytest.raises(ValueError, match="held_out means nothing"):
        open_data(str(file), held_out=0.2)
    with pytest.raises(ValueError, match="transpose means nothing"):
        open_data("digits", transpose=3)
    (tmp_path / "bad.json").write_text('{"train": [[[60]], 3], "test": [[[60]]]}')
    with pytest.raises(ValueError, match="tune 1 of train is no list of frames"):
        open_data(str(tmp_path / "bad.json"), modality="frames")
    (tmp_path / "cut.json").write_text('{"train": [[[60')
    with pytest.raises(ValueError, match="no JSON that can be read"):
        open_data(str(tmp_path / "cut.json"))


def test_the_benchmark_is_whole(real_data):
    loaded = open_data("jsb")
    assert (len(loaded.train), len(loaded.held_out)) == (229, 77)
    assert "official test split of 4,725 frames" in loaded.notes[0]


def test_rolls_hold_what_keys_hold(file):
    """Both ways of writing have the same frames; a roll is from the highest key down; likelihoods count frames."""
    keys, roll = open_data(str(file)), open_data(str(file), tokens="roll")
    assert roll.train.space.only.shape == (6, 88)
    index = torch.arange(12)
    both = [tunes_of(part.train.batch(index, Rng(0))) for part in (keys, roll)]
    assert both[0] == both[1]
    assert rolled([[108, 21]]).nonzero()[1].tolist() == [0, 87]
    assert unrolled(torch.from_numpy(rolled(TUNE))) == TUNE
    model = build_frames(FramesConfig(network=Attending(width=8, depth=1, heads=2)), roll.train.space)
    held = roll.held_out
    figures = {f.name: f for f in figures_of_likelihood(log_likelihood(model, held, rng=0))}
    frames = sum(len(t) for t in json.loads(file.read_text())["test"])
    nats = -float(model.log_prob_of(held.x, length=held.length).sum())
    assert figures["negative log-likelihood a frame"].value == pytest.approx(nats / frames)
    assert open_data(roll.source, **roll.options).train.fingerprint == roll.train.fingerprint
    assert open_data(str(file), prefer="roll").train.space == roll.train.space
    with pytest.raises(ValueError, match="written as keys or roll; got tokens='sets'"):
        open_data(str(file), tokens="sets")
    with pytest.raises(ValueError, match=r"MIDI numbers 21 .. 108; got \[109\]"):
        rolled([[109]])


def test_rolls_move_as_a_whole_and_stay_on_the_keys(file):
    loaded, plain = open_data(str(file), transpose=6, tokens="roll"), open_data(str(file), tokens="roll")
    index = torch.arange(12)
    before = [unrolled(r) for r in plain.train.x]
    seen = set()
    for seed in range(6):
        after = [unrolled(r) for r in loaded.train.batch(index, Rng(seed)).x]
        for a, b in zip(before, after, strict=True):
            moved = {y - x for f, g in zip(a, b, strict=True) for x, y in zip(f, g, strict=True)}
            assert len(moved) == 1
            seen |= moved
    assert seen <= set(range(-6, 7))
    assert len(seen) > 8
    full = torch.from_numpy(rolled([[21, 108]]))[None]
    held = TransposedRolls(6)(Batch(x=full, length=torch.tensor([1])), Rng(0))
    assert torch.equal(held.x, full)


def test_the_part_to_choose_by_is_the_official_one(file):
    chosen = frames("small", file, judge="valid")
    assert [len(chosen.train), len(chosen.held_out)] == [12, 2]
    assert "official valid split" in chosen.notes[0]
    with pytest.raises(ValueError, match="no part called 'dev'"):
        frames("small", file, judge="dev")
