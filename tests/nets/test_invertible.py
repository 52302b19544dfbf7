"""Layers that can be undone: inverses, log-determinants against autograd, and where each of them starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.initialise import he_normal, initialise
from simulacra.nets.invertible import ActNorm, Coupling, Fringe, Mixing, Split, Squeeze

F64 = torch.float64
LAYERS = {
    "act-norm": (lambda: ActNorm(4), (2, 3, 4)),
    "mixing": (lambda: Mixing(5), (2, 3, 5)),
    "coupling": (lambda: Coupling(4, 8, 3), (3, 2, 4)),
    "squeeze": (Squeeze, (4, 2, 3)),
    "split": (lambda: Split(4, 3, 8), (2, 3, 4)),
    "fringe, both sides odd": (lambda: Fringe((3, 5), 2, 3, 8), (3, 5, 2)),
    "fringe, one side odd": (lambda: Fringe((4, 3), 2, 3, 8), (4, 3, 2)),
}


def built(name: str, *, size: float = 0.5) -> tuple[nn.Module, Tensor, Tensor]:
    """A layer with no weight at its start, pictures (3, h, w, c) and classes for them."""
    make, shape = LAYERS[name]
    layer = make().double()
    initialise(layer, Rng(1), linear=he_normal(0.0))
    with torch.no_grad():
        for key, p in layer.named_parameters():
            p.add_(size * Rng(2)(key).normal(p.shape, dtype=F64))
    return layer, Rng(3)("x").normal((3, *shape), dtype=F64), torch.eye(3, dtype=F64)


def apply(layer: nn.Module, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """All that comes out, (b, d), and the log-determinant."""
    *parts, log_det = layer(x, given)
    return torch.cat([part.flatten(1) for part in parts], 1), log_det


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_done_is_undone(name):
    layer, x, given = built(name)
    *parts, _ = layer(x, given)
    assert torch.allclose(layer.inverse(*parts, given), x, rtol=0, atol=1e-10)  # pyright: ignore


@pytest.mark.parametrize("name", LAYERS)
def test_the_log_determinant_is_autograds(name):
    layer, x, given = built(name)
    _, log_det = apply(layer, x, given)
    for row in range(3):
        one = given[row : row + 1]

        def flat(v: Tensor, one: Tensor = one) -> Tensor:
            return apply(layer, v[None], one)[0][0]

        jacobian = torch.autograd.functional.jacobian(flat, x[row])
        size = x[row].numel()
        slogdet = torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet
        assert torch.allclose(log_det[row], slogdet, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_start_where_they_keep_volume(name):
    layer, x, given = built(name, size=0.0)
    out, log_det = apply(layer, x, given)
    assert torch.allclose(log_det, torch.zeros(3, dtype=F64), atol=1e-10)
    assert torch.allclose(out.norm(), x.norm(), rtol=1e-10)  # a rotation, or no change at all


def test_a_squeeze_keeps_neighbours_together():
    x = torch.arange(16.0).reshape(1, 4, 4, 1)
    y, _ = Squeeze()(x, None)
    assert y[0, 0, 0].tolist() == [0, 1, 4, 5]
    assert y[0, 1, 1].tolist() == [10, 11, 14, 15]


def test_act_norm_starts_from_a_batch_with_mean_0_and_deviation_1():
    x = 5 + 3 * Rng(0)("x").normal((7, 2, 3, 4), dtype=F64)
    x[..., 3] = 2.0  # a channel that never varies
    norm = ActNorm(4).double()
    norm.standardise(x)
    y, log_det = norm(x, None)
    assert y.flatten(0, 2).mean(0).abs().max() < 1e-12
    assert torch.allclose(y.flatten(0, 2).std(0, correction=0)[:3], torch.ones(3, dtype=F64))
    assert log_det.isfinite().all()
    assert (y[..., 3] == 0).all()


def test_log_scales_stay_within_their_bound_however_large_the_network_gets():
    layer = Coupling(4, 8, 0)
    initialise(layer, Rng(1))
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(1e4)
    y, log_det = layer(1e6 * torch.ones(1, 2, 2, 4), None)
    assert log_det.abs().item() <= 2 * 8
    assert y.isfinite().all()


def test_mixing_is_whole_under_autocast():
    layer, x, _ = built("mixing")
    layer, x = layer.float(), x.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = layer(x, None)
        back = layer.inverse(y, None)  # pyright: ignore
    assert y.dtype == torch.float32
    assert (back - x).abs().max() < 1e-4


TWO = """
import sys, torch
from torch import distributed
from simulacra.nets.invertible import ActNorm
rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
norm = ActNorm(3).double()
norm.standardise(torch.arange(48, dtype=torch.float64).sin().reshape(4, 2, 2, 3)[2 * rank : 2 * rank + 2])
torch.save(norm.state_dict(), f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_start_act_norm_as_one_does(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-c", TWO, str(rank), str(tmp_path)], env=environment) for rank in range(2)
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    one = ActNorm(3).double()
    one.standardise(torch.arange(48, dtype=F64).sin().reshape(4, 2, 2, 3))
    for rank in range(2):
        for name, value in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            assert torch.allclose(value, one.state_dict()[name], rtol=1e-12), name
