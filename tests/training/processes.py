"""What each process of a test of several processes runs: python processes.py RANK PROCESSES FOLDER MODEL DISTRIBUTE."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from small_models import MODELS, ring
from torch import distributed

from simulacra.training.engine import replicate, shard
from simulacra.training.loop import train
from simulacra.training.session import Session
from simulacra.training.settings import Training
from simulacra.training.state import weights, whole
from simulacra.training.engine import Engine

WAYS = {"replicate": replicate, "shard": shard}


def gradients(name: str, distribute: str) -> dict[str, torch.Tensor]:
    """The first step's gradients of every player in float32, taken turn by turn without stepping."""
    session = Session(
        MODELS[name](), ring(), Training(steps=1, batch=64), engine=Engine(device="cpu", distribute=WAYS[distribute])
    )
    found = {}
    for move in session.moves:
        for optimiser in move.seat.optimisers:
            optimiser.step = lambda: None
        for module in session.modules:
            module.train()
        move.take(0, list(session.feed.parts(0)))
        for index, parameter in enumerate(move.seat.parameters):
            if parameter.grad is not None:
                found[f"{move.turn.name}/{index}"] = whole(parameter.grad)
    return found


def main() -> None:
    rank, processes, folder, name, distribute = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:6]
    torch.set_num_threads(1)
    if processes > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    try:
        settings = Training(steps=50, batch=32, precision="float64", log_every=10, clip=5.0)
        trained = train(MODELS[name](), ring(), settings, device="cpu", distribute=WAYS[distribute])
    except ValueError as error:
        if rank == 0:
            (folder / "refused").write_text(str(error))
    else:
        first = gradients(name, distribute)
        raw, slow = weights(trained.model), weights(trained.averaged)
        if rank == 0:
            torch.save((raw, slow, first, json.dumps(trained.log)), folder / "end.pt")
    if processes > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
