"""Samples that the critic has kept, through the command line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_verbs import FIT, fault, told

from simulacra.cli.main import main
from simulacra.runs import load


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """A run of a GAN of the ring, and one of a model without a critic."""
    folder = tmp_path_factory.mktemp("reject")
    main(["fit", "gan", "ring", "--generator", "8", "--critic", "8", "--out", f"{folder}/gan", *FIT])
    main(["fit", "gaussian_mixture", "ring", "--out", f"{folder}/mixture", "--no-report"])
    return folder


def test_kept_samples_are_more_real_to_the_critic(capsys, ring, tmp_path):
    run = ring / "gan"
    for name, more in (("plain", ()), ("kept", ("--reject", "--percentile", "95"))):
        told(capsys, "sample", run, "-n", 200, "--out", tmp_path / f"{name}.npy", *more)
    critic = load(run).model.criticise
    plain, kept = (
        float(critic(torch.from_numpy(np.load(tmp_path / f"{name}.npy"))).mean()) for name in ("plain", "kept")
    )
    assert kept > plain


def test_who_has_no_critic_is_told_so(capsys, ring):
    assert "Critic" in fault(capsys, "sample", ring / "mixture", "--reject")
    assert "a percentile lies in 0 .. 100; got 101" in fault(
        capsys, "sample", ring / "gan", "--reject", "--percentile", "101"
    )
