"""Weights by name, out of a model and back; the log's files."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from small_models import Mean, SmallGAN, SmallVAE, ring

from simulacra.core.checkpoint import load_tensors, save_tensors
from simulacra.nets.norm import BatchNorm
from simulacra.training.log import LogFile, read_log
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.training.state import restore, weights, weights_and_averages


class Loose:
    """A learner that is no module: its players hold everything."""

    def __init__(self, seed=0):
        self.inner = SmallGAN(seed, norm=BatchNorm)

    def players(self):
        return self.inner.players()

    def turns(self):
        return self.inner.turns()


@pytest.mark.parametrize("make", [Mean, lambda: SmallGAN(norm=BatchNorm), Loose], ids=["mean", "gan", "loose"])
def test_weights_and_averages_come_back_through_a_file(tmp_path, make):
    trained = train(make(), ring(), Training(steps=20, batch=16), device="cpu")
    path = tmp_path / "model.safetensors"
    save_tensors(path, weights_and_averages(trained.model, trained.averaged))
    kept = load_tensors(path)
    for averaged, truth in ((True, trained.averaged), (False, trained.model)):
        model = make()
        restore(model, kept, averaged=averaged)
        assert weights(model).keys() == weights(truth).keys()
        assert all(torch.equal(value, weights(truth)[name]) for name, value in weights(model).items())


def test_only_what_is_averaged_is_kept_twice():
    trained = train(SmallGAN(norm=BatchNorm), ring(), Training(steps=20, batch=16), device="cpu")
    kept = weights_and_averages(trained.model, trained.averaged)
    twice = {name.removeprefix("averaged/") for name in kept if name.startswith("averaged/")}
    assert twice == {name for name, _ in trained.model.named_parameters() if name.startswith("generator")}


def test_another_models_weights_are_refused_by_name():
    kept = weights_and_averages(SmallVAE(), SmallVAE())
    with pytest.raises(ValueError, match=r"weights of another model: .*'critic.0.bias'"):
        restore(SmallGAN(), kept)
    kept["model/encoder.0.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"'encoder.0.bias' has shape \(3,\) in the file, \(16,\) in the model"):
        restore(SmallVAE(), kept)


def test_a_new_column_makes_the_table_whole(tmp_path):
    rows = [{"step": 1, "a": 0.5}]
    file = LogFile(tmp_path, rows)
    for row in ({"step": 2, "a": 0.25}, {"step": 3, "a": 0.125, "b": 1.0}, {"step": 4, "b": 2.0}):
        rows.append(row)
        file.add(row, rows)
    file.sync()
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == rows
    with open(tmp_path / "metrics.csv", newline="") as table:
        found = list(csv.DictReader(table))
    assert [(r["step"], r["a"], r["b"]) for r in found] == [
        ("1", "0.5", ""),
        ("2", "0.25", ""),
        ("3", "0.125", "1.0"),
        ("4", "", "2.0"),
    ]


def test_a_log_is_read_up_to_a_step_and_a_line_cut_short_is_left_out(tmp_path):
    rows = [{"step": step, "a": step / 2} for step in range(1, 5)]
    LogFile(tmp_path, rows)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 5, "a"')
    assert read_log(tmp_path, 3) == rows[:3]
    assert read_log(tmp_path, 9) == rows
    assert read_log(tmp_path / "none", 9) == []
