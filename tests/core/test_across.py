"""Looking across processes: values and gradients are those of one process that holds the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from across_processes import opinion, whole
from torch import nn

from simulacra.core import across
from simulacra.nets.norm import BatchNorm

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes saw: rows concatenated, the rest as process 0 has it (checked to be the same)."""
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, HERE / "across_processes.py", str(rank), folder], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=60) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    a, b = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))
    for same in ("gathered", "mean", "running_mean", "running_var"):
        assert torch.equal(a[same], b[same])
    rows = ("slope", "second", "of_mean", "out", "norm_slope", "norm_second")
    return {name: torch.cat([a[name], b[name]]) if name in rows else a[name] for name in a}


def test_one_process_sees_what_it_has():
    x = whole()
    assert across.processes() == 1
    assert across.rank() == 0
    for function in (across.gather, across.mean, across.total):
        assert function(x) is x


def test_gather_sends_every_gradient_back_to_its_row(two):
    x = whole().requires_grad_(True)
    (slope,) = torch.autograd.grad(opinion(0, x) + opinion(1, x), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), x)
    assert torch.equal(two["gathered"], whole())
    assert torch.allclose(two["slope"], slope.detach(), rtol=1e-12)
    assert torch.allclose(two["second"], second, rtol=1e-12)


def test_mean_and_its_gradient(two):
    x = whole().requires_grad_(True)
    mean = (x[:3].square() + x[3:].square()) / 2
    (slope,) = torch.autograd.grad((3 * mean.sin()).sum(), x)
    assert torch.allclose(two["mean"], mean.detach(), rtol=1e-14)
    assert torch.allclose(two["of_mean"], slope, rtol=1e-10)


def test_batch_norm_is_that_of_the_whole_batch_to_second_order(two):
    x, norm = whole().requires_grad_(True), nn.BatchNorm1d(3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    out = norm(x)
    (slope,) = torch.autograd.grad((out.sin() * out.detach()).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), x)
    for name, value in (("out", out), ("norm_slope", slope), ("norm_second", second)):
        assert (two[name] - value.detach()).abs().max() <= 1e-10 * value.detach().abs().max(), name
    assert torch.allclose(two["running_mean"], norm.running_mean, rtol=1e-12)  # pyright: ignore
    assert torch.allclose(two["running_var"], norm.running_var, rtol=1e-12)  # pyright: ignore


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (8, 3, 4, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_one_process_is_torchs(shape, training):
    x = torch.arange(float(torch.Size(shape).numel())).sin().reshape(shape)
    ours = BatchNorm(3).train(training)
    theirs = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](3).train(training)
    for _ in range(2):
        assert torch.equal(ours(x), theirs(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))
