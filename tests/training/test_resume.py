"""A run that is interrupted, killed or refused by the disk goes on as if nothing had been."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_models import Mean, SmallGAN, SmallVAE, ring

from simulacra.core.optimisers import AdamW, Muon, Warmup
from simulacra.nets.norm import BatchNorm
from simulacra.training import resume
from simulacra.training.hooks import Verdict
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.training.state import weights_and_averages

HERE = Path(__file__).parent
SETTINGS = Training(steps=23, batch=32, log_every=5, save_seconds=None)


class At:
    """A hook that does something after a step, and remembers how often it was called."""

    every = 1

    def __init__(self, step, act):
        self.step, self.act, self.calls = step, act, 0

    def __call__(self, moment):
        self.calls += 1
        if moment.step == self.step:
            self.act()
        return (
            [Verdict(name="seen", level="ok", text="as it should be", step=moment.step)] if moment.step == 3 else None
        )

    def state(self):
        return {"calls": self.calls}

    def restore(self, value):
        self.calls = value["calls"]


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def rows(trained):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in trained.log]


def stepped_by(optimiser):
    model = SmallVAE()
    model.decoder[0].weight.muon = True
    player = model.players()["vae"]
    model.players = lambda: {"vae": type(player)(module=model, optimiser=optimiser)}
    return model


def marked_for_muon():
    return stepped_by(Muon(rest=AdamW(weight_decay=0.1)))


def on_a_schedule():
    return stepped_by(Muon(rest=AdamW(weight_decay=0.1), schedule=Warmup(steps=5, decay=0.8, final=0.01)))


@pytest.mark.parametrize(
    "make",
    [Mean, SmallVAE, lambda: SmallGAN(norm=BatchNorm, gamma=1.0), marked_for_muon, on_a_schedule],
    ids=["mean", "vae", "gan", "muon", "schedule"],
)
def test_ctrl_c_and_resume_change_nothing_at_all(tmp_path, make):
    plain_hook, first, second = At(0, interrupt), At(12, interrupt), At(0, interrupt)
    plain = train(make(), ring(), SETTINGS, device="cpu", hooks=[plain_hook])
    stopped = train(make(), ring(), SETTINGS, device="cpu", folder=tmp_path, hooks=[first])
    assert stopped.interrupted
    assert stopped.steps == 13  # the step in which the signal was seen is finished
    resumed = train(make(), ring(), SETTINGS, device="cpu", folder=tmp_path, resume=True, hooks=[second])
    assert (resumed.ended, resumed.steps) == ("budget", 23)
    truth, found = (weights_and_averages(t.model, t.averaged) for t in (plain, resumed))
    assert truth.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in truth.items())
    assert rows(resumed) == rows(plain)
    assert resumed.verdicts == plain.verdicts
    assert second.calls == plain_hook.calls == 23
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert written == resumed.log
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == len(written) + 1
    assert [p.name for p in (tmp_path / "resume").iterdir()] == ["step-23"]


def test_a_budget_may_grow_but_nothing_else_may_change(tmp_path):
    short = Training(**{**vars(SETTINGS), "steps": 10})
    train(SmallVAE(), ring(), short, device="cpu", folder=tmp_path)
    with pytest.raises(ValueError, match="already holds a run; resume it"):
        train(SmallVAE(), ring(), SETTINGS, device="cpu", folder=tmp_path)
    with pytest.raises(ValueError, match="trained with seed=0; a resumed run cannot change it to 1"):
        train(SmallVAE(), ring(), Training(**{**vars(SETTINGS), "seed": 1}), device="cpu", folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="other data"):
        train(SmallVAE(), ring(seed=1), SETTINGS, device="cpu", folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="another model"):
        train(SmallGAN(), ring(), SETTINGS, device="cpu", folder=tmp_path, resume=True)
    longer = train(SmallVAE(), ring(), SETTINGS, device="cpu", folder=tmp_path, resume=True)
    plain = train(SmallVAE(), ring(), SETTINGS, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(longer.model.parameters(), plain.model.parameters(), strict=True))


@pytest.mark.parametrize("victim", [".metadata", "__0_0.distcp", "notes.json"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * len(b)])
def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path, victim, damage):
    train(SmallVAE(), ring(), Training(**{**vars(SETTINGS), "steps": 3}), device="cpu", folder=tmp_path)
    path = tmp_path / "resume" / "step-3" / victim
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="is damaged") as told:
        train(SmallVAE(), ring(), SETTINGS, device="cpu", folder=tmp_path, resume=True)
    assert "\n" not in str(told.value)


def test_a_full_disk_is_told_in_one_line_and_the_last_good_checkpoint_survives(tmp_path):
    settings = Training(**{**vars(SETTINGS), "save_seconds": 0.0})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = At(12, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard)))
    try:
        with pytest.raises(ValueError, match=r"cannot save the run in .*: File too large") as told:
            train(SmallVAE(), ring(), settings, device="cpu", folder=tmp_path, hooks=[full])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(told.value)
    assert [p.name for p in (tmp_path / "resume").iterdir()] == ["step-11"]
    resumed = train(SmallVAE(), ring(), settings, device="cpu", folder=tmp_path, resume=True, hooks=[At(0, interrupt)])
    plain = train(SmallVAE(), ring(), settings, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), plain.model.parameters(), strict=True))
    assert rows(resumed) == rows(plain)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(tmp_path, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ValueError, match=f"cannot write .*: {os.strerror(code)}; ") as told:
        train(Mean(), ring(), SETTINGS, device="cpu", folder=tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told_in_one_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ValueError, match="choose a folder you may write to"):
            train(Mean(), ring(), SETTINGS, device="cpu", folder=tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_second_fit_into_a_live_run_is_refused(tmp_path):
    refused = []

    def second():
        with pytest.raises(ValueError, match=f"in use by a running fit .process {os.getpid()}.") as told:
            train(Mean(), ring(), SETTINGS, device="cpu", folder=tmp_path, resume=True)
        refused.append(str(told.value))

    train(Mean(), ring(), SETTINGS, device="cpu", folder=tmp_path, hooks=[At(5, second)])
    assert len(refused) == 1
    with resume.lock(tmp_path):  # free again
        pass


@pytest.mark.parametrize("count", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_at_random_moments_every_run_ends_in_the_same_weights(tmp_path, count):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "kills.py"), str(tmp_path), str(count), "7"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
