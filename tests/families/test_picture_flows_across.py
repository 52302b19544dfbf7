"""The number of processes changes neither what Glow and TarFlow learn, act-norm included, nor what they draw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from picture_flows_across import MODELS, WAYS, outcome

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    script = str(HERE / "picture_flows_across.py")
    running = [
        subprocess.Popen([sys.executable, script, str(rank), "2", str(folder)], env=environment) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=110) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    return torch.load(folder / "ends.pt", weights_only=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_come_to_what_one_does(two, name, way):
    one, both = outcome(name, "replicate"), two[f"{name}, {way}"]
    assert set(one["weights"]) == set(both["weights"])
    for key, value in one["weights"].items():
        assert (value - both["weights"][key]).abs().max() <= 1e-10, key
    assert torch.equal(one["drawn"], both["drawn"])
