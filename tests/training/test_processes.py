"""The number of processes does not change the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import outcome
from small_models import MODELS

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The outcomes of two processes, by (model, way)."""
    folder = tmp_path_factory.mktemp("two")
    source = str(HERE.parents[1] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, HERE / "processes.py", str(rank), "2", folder], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=110) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    return torch.load(folder / "ends.pt", weights_only=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The outcomes of one process."""
    folder = tmp_path_factory.mktemp("one")
    return {name: outcome(name, "replicate", folder) for name in MODELS}


CASES = [(name, way) for name in MODELS for way in ("replicate", "shard") if (name, way) != ("r1", "shard")]


@pytest.mark.parametrize(("name", "way"), CASES)
def test_weights_after_50_steps_in_float64_agree_to_1e_10(one, two, name, way):
    for kind in ("model", "averaged"):
        for key, value in one[name][kind].items():
            assert (value - two[name, way][kind][key]).abs().max() <= 1e-10, key


@pytest.mark.parametrize(("name", "way"), CASES)
def test_stored_averages_agree_to_1e_10(one, two, name, way):
    assert list(one[name]["stored"]) == list(two[name, way]["stored"]) == [25, 50]
    for step, stored in one[name]["stored"].items():
        assert stored.keys() == two[name, way]["stored"][step].keys()
        for key, value in stored.items():
            assert (value - two[name, way]["stored"][step][key]).abs().max() <= 1e-10, key


@pytest.mark.parametrize(("name", "way"), CASES)
def test_one_steps_gradient_in_float32_agrees_to_1e_5(one, two, name, way):
    for turn, gradient in one[name]["gradients"].items():
        assert (gradient - two[name, way]["gradients"][turn]).norm() <= 1e-5 * gradient.norm(), turn


@pytest.mark.parametrize(("name", "way"), CASES)
def test_the_log_is_the_same(one, two, name, way):
    for ours, theirs in zip(one[name]["log"], two[name, way]["log"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_sharding_refuses_second_order_turns_by_name(two):
    assert two["r1", "shard"]["refused"].startswith("turn 'r1' differentiates a gradient")


def test_resume_under_torchrun_is_bit_identical_and_ctrl_c_in_one_process_ends_all(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, str(HERE / "resumes.py"), str(tmp_path)], env=environment, check=True, timeout=240)
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {"gan-replicate", "gan-shard", "muon-replicate", "muon-shard"}
    for name, run in found.items():
        assert run["interrupted"], name
        assert 21 <= run["steps"][0] < run["steps"][1] == 160
        assert run["difference"] == 0.0, name
        assert run["same names"], name
        assert run["same log"], name
        assert run["states"] == ["step-160"]
    # Muon orthogonalises in bfloat16, so that its steps agree to that only
    assert found["gan-shard"]["from replicated"] < 1e-5
    assert found["muon-shard"]["from replicated"] < 1e-2
