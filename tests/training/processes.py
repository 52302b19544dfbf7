"""What each process of a test of two runs: python processes.py RANK PROCESSES FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from small_models import MODELS, ring
from torch import Tensor, distributed

from simulacra.core.checkpoint import load_tensors
from simulacra.training.engine import Engine, is_sharded, replicate, shard
from simulacra.training.loop import train
from simulacra.training.posthoc import snapshots
from simulacra.training.session import Session
from simulacra.training.settings import PostHoc, Training
from simulacra.training.state import weights, whole

WAYS = {"replicate": replicate, "shard": shard}
SETTINGS = Training(
    steps=50, batch=32, precision="float64", log_every=10, clip=5.0, save_seconds=None, posthoc=PostHoc(snapshots=2)
)


def gradients(name: str, way: str) -> dict[str, Tensor]:
    """The first gradient of every turn in float32, each as one vector, nothing stepped."""
    engine = Engine(device="cpu", distribute=WAYS[way])
    session = Session(MODELS[name](), ring(), Training(steps=1, batch=64), engine=engine)
    found = {}
    for move in session.moves:
        for optimiser in move.seat.optimisers:
            optimiser.step = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
        move.take(0, list(session.feed.parts(0)))
        parameters = [p for p in move.seat.parameters if p.grad is not None]
        assert not engine.sharded or all(is_sharded(p) for p in parameters)
        found[move.turn.name] = torch.cat([whole(p.grad).flatten() for p in parameters if p.grad is not None])
    return found


def outcome(name: str, way: str, folder: Path) -> dict[str, Any]:
    """Where 50 steps in float64 end, and the first gradients in float32; or how it is refused."""
    home = folder / f"{name}-{way}"
    try:
        trained = train(MODELS[name](), ring(), SETTINGS, device="cpu", distribute=WAYS[way], folder=home)
    except ValueError as error:
        return {"refused": str(error)}
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trained.log]
    return {
        "model": weights(trained.model),
        "averaged": weights(trained.averaged),
        "stored": {step: load_tensors(path) for step, path in snapshots(home).items()},
        "gradients": gradients(name, way),
        "log": rows,
    }


def main() -> None:
    rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    ends = {(name, way): outcome(name, way, folder) for name in MODELS for way in WAYS}
    if rank == 0:
        torch.save(ends, folder / "ends.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
