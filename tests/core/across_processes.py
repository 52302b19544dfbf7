"""What each process of a test of two runs: python across_processes.py RANK FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, distributed

from simulacra.core import across
from simulacra.nets.norm import BatchNorm


def whole(rank: int | None = None) -> Tensor:
    """Six rows of three numbers far from zero; or the half that a process holds."""
    x = torch.arange(18, dtype=torch.float64).reshape(6, 3).sin() + 100
    return x if rank is None else x[3 * rank : 3 * rank + 3]


def opinion(rank: int, gathered: Tensor) -> Tensor:
    """A loss of the whole batch in which every process sees something else."""
    return ((rank + 1) * gathered.sin() * gathered.roll(1, 0)).sum()


def main() -> None:
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    x = whole(rank).requires_grad_(True)
    gathered = across.gather(x)
    (slope,) = torch.autograd.grad(opinion(rank, gathered), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), x)
    mean = across.mean(x.square())
    (of_mean,) = torch.autograd.grad(((rank + 1) * mean.sin()).sum(), x)

    norm = BatchNorm(3).double()
    with torch.no_grad():
        assert norm.weight is not None
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    out = norm(x)
    (norm_slope,) = torch.autograd.grad((out.sin() * out.detach()).sum(), x, create_graph=True)
    (norm_second,) = torch.autograd.grad(norm_slope.square().sum(), x)
    torch.save(
        {
            "gathered": gathered.detach(), "slope": slope.detach(), "second": second, "mean": mean.detach(),
            "of_mean": of_mean, "out": out.detach(), "norm_slope": norm_slope.detach(), "norm_second": norm_second,
            "running_mean": norm.running_mean, "running_var": norm.running_var,
        },
        folder / f"{rank}.pt",
    )  # fmt: skip
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
