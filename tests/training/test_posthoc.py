"""Averages stored as a run goes on: what is made of them afterwards is what averaging its weights gives."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch
from small_models import Mean, SmallGAN, ring
from torch import Tensor

from simulacra.core.checkpoint import load_tensors
from simulacra.mathematics.power_average import exponent, keep
from simulacra.training.loop import train
from simulacra.training.posthoc import snapshots, synthesise
from simulacra.training.settings import PostHoc, Training
from simulacra.training.state import named

SETTINGS = Training(steps=240, batch=16, save_seconds=None, precision="float64", posthoc=PostHoc(snapshots=24))


class Watch:
    """A hook that remembers the weights after every step, and may interrupt the run."""

    every = 1

    def __init__(self, stop: int = -1) -> None:
        self.seen: list[dict[str, Tensor]] = []
        self.stop = stop

    def __call__(self, moment) -> None:
        self.seen.append({name: t.detach().clone() for name, t in named(moment.model).items()})
        if moment.step == self.stop:
            os.kill(os.getpid(), signal.SIGINT)


def by_hand(seen: list[dict[str, Tensor]], width: float, name: str, steps: int) -> Tensor:
    made, g = torch.zeros_like(seen[0][name]), exponent(width)
    for t in range(1, steps + 1):
        made = keep(g, t) * made + (1 - keep(g, t)) * seen[t - 1][name]
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, list[dict[str, Tensor]]]:
    """A run of a mean that is learnt, and its weights after every step."""
    folder, watch = tmp_path_factory.mktemp("posthoc"), Watch()
    train(Mean(lr=0.02), ring(), SETTINGS, device="cpu", folder=folder, hooks=[watch])
    return folder, watch.seen


def test_snapshots_lie_evenly_along_the_budget_and_hold_what_averaging_by_hand_gives(run):
    folder, seen = run
    files = snapshots(folder)
    assert list(files) == list(range(10, 241, 10))
    for step in (10, 130, 240):
        stored = load_tensors(files[step])
        assert set(stored) == {"0.05/net.weight", "0.1/net.weight"}  # not the counter, which nobody averages
        for width in (0.05, 0.1):
            torch.testing.assert_close(stored[f"{width:g}/net.weight"], by_hand(seen, width, "net.weight", step))


@pytest.mark.parametrize("width", [0.05, 0.1])
def test_asked_for_its_own_width_it_is_the_stored_snapshot(run, width):
    made, missed = synthesise(run[0], width, digests={})
    stored = load_tensors(snapshots(run[0])[240])[f"{width:g}/net.weight"]
    torch.testing.assert_close(made["net.weight"], stored, rtol=0, atol=1e-8)
    assert missed < 1e-6


@pytest.mark.parametrize("width", [0.03, 0.075, 0.15, 0.25])
def test_of_any_width_it_is_the_average_of_all_the_weights(run, width):
    folder, seen = run
    made, missed = synthesise(folder, width, digests={})
    truth = by_hand(seen, width, "net.weight", 240)
    # Cauchy and Schwarz: the profiles' difference times the weights' own spread around where they end
    spread = torch.stack([s["net.weight"] - truth for s in seen]).square().mean(0).sqrt()
    g = exponent(width)
    density = (g + 1) / (2 * g + 1) ** 0.5  # root mean square of the profile over the run
    assert missed < 0.1
    assert bool(((made["net.weight"] - truth).abs() <= 1.1 * missed * density * spread + 1e-8).all())
    assert float(spread.max()) > 1e-3, "weights that do not move would be averaged by anything"


def test_an_interrupted_run_stores_the_same(tmp_path, run):
    train(Mean(lr=0.02), ring(), SETTINGS, device="cpu", folder=tmp_path, hooks=[Watch(stop=57)])
    (tmp_path / "averages" / "step-000000060.safetensors").write_bytes(b"written after the state that is gone on from")
    train(Mean(lr=0.02), ring(), SETTINGS, device="cpu", folder=tmp_path, resume=True)
    ours, theirs = snapshots(tmp_path), snapshots(run[0])
    assert list(ours) == list(theirs)
    assert all(ours[step].read_bytes() == theirs[step].read_bytes() for step in theirs)


def test_only_averaged_players_are_kept_and_nothing_without_a_folder(tmp_path):
    settings = dataclasses.replace(SETTINGS, steps=4, posthoc=PostHoc(widths=(0.1,), snapshots=2))
    train(SmallGAN(), ring(), settings, device="cpu", folder=tmp_path)
    names = load_tensors(snapshots(tmp_path)[4])
    assert all(name.startswith("0.1/generator.") for name in names)
    assert len(names) == 6
    train(SmallGAN(), ring(), settings, device="cpu")


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="has stored no averages; fit it with posthoc"):
        synthesise(tmp_path, 0.1, digests={})
    with pytest.raises(ValueError, match=r"in \(0, 0.288\); got 0.3"):
        PostHoc(widths=(0.3,))
    with pytest.raises(ValueError, match="different widths"):
        PostHoc(widths=(0.1, 0.1))
    with pytest.raises(ValueError, match="at least 1 snapshot; got 0"):
        PostHoc(snapshots=0)
