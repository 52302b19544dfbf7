"""What a diffusion run can be asked for beside samples: averages of any width, a guide, a faster pupil."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_verbs import FIT, fault, told

from simulacra.cli.main import main
from simulacra.runs import load

SMALL = ["--backbone", "Dense(width=8, depth=1)"]  # both families and backbones have one of that name


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """A folder with a diffusion run, with stored averages, and a flow matching run of the ring."""
    folder = tmp_path_factory.mktemp("few")
    main(["fit", "diffusion", "ring", *SMALL, "--snapshots", "2", "--out", f"{folder}/diffusion", *FIT])
    main(["fit", "flow_matching", "ring", *SMALL, "--out", f"{folder}/flow", *FIT])
    return folder


def drawn(capsys, run: Path, out: Path, *arguments: str) -> np.ndarray:
    told(capsys, "sample", run, "-n", 4, "--steps", 2, "--out", out, *arguments)
    return np.load(out)


def test_averages_are_made_as_widely_as_asked(capsys, few, tmp_path):
    run = few / "diffusion"
    assert len(drawn(capsys, run, tmp_path / "a.npy", "--average", "0.08")) == 4
    wide, narrow = (load(run).averaged(width).model.state_dict() for width in (0.1, 0.06))
    assert any(not torch.equal(wide[name], narrow[name]) for name in wide)
    assert "has stored no averages; fit" in fault(capsys, "sample", few / "flow", "--average", "0.1")


def test_another_run_guides(capsys, few, tmp_path):
    run, out = few / "diffusion", tmp_path / "a.npy"
    plain = drawn(capsys, run, out)
    # guided by itself nothing changes
    assert np.abs(drawn(capsys, run, out, "--guide", run, "--guidance", "3") - plain).max() < 1e-5
    assert "changes nothing at guidance 1" in fault(capsys, "sample", run, "--guide", run)
    error = fault(capsys, "sample", run, "--guide", few / "flow", "--guidance", "2")
    assert "guided by another diffusion model; got a FlowMatching" in error


def test_a_run_teaches_one_that_draws_in_few_steps(capsys, few, tmp_path):
    said = told(capsys, "distil", few / "diffusion", "--steps", "2", "--out", tmp_path / "fast", "--no-report")
    assert "consistency on ring" in said
    assert "taught by" in said
    fast = load(tmp_path / "fast")
    teacher = load(few / "diffusion")
    assert fast.model.teacher is not None
    mine, theirs = fast.model.teacher.network.state_dict(), teacher.model.network.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert drawn(capsys, tmp_path / "fast", tmp_path / "a.npy").shape[0] == 4
    said = told(capsys, "distil", few / "flow", "--steps", "2", "--out", tmp_path / "straight", "--no-report")
    assert "flow_matching on ring" in said
    assert load(tmp_path / "straight").model.teacher is not None
    assert "teaches no faster model; distil a run of" in fault(capsys, "distil", tmp_path / "fast")
    told(capsys, "fit", "consistency", "ring", "--resume", "--steps", "3", "--out", tmp_path / "fast", "--no-report")
    assert load(tmp_path / "fast").recipe.cost["steps"] == 3
