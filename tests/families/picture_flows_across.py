"""What each process of a test of two runs: python picture_flows_across.py RANK PROCESSES FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.glow import Glow, GlowConfig
from simulacra.families.tarflow import TarFlow, TarFlowConfig
from simulacra.laws.examples import drawn
from simulacra.nets.spreading import Variational
from simulacra.training.engine import replicate, shard
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.training.state import weights

SPACE = Space(
    fields={"picture": Continuous(low=-1, high=1, levels=8, shape=(1, 4, 4))},
    y=Classes(names=("a", "b")),
    measure="pixels",
)
MODELS: dict[str, Any] = {
    "glow": lambda: Glow(
        GlowConfig(levels=2, steps=1, width=8, dequantise=Variational(steps=2, width=4)), SPACE, rng=1
    ),
    "tarflow": lambda: TarFlow(TarFlowConfig(patch=2, blocks=2, depth=1, width=16), SPACE, rng=1),
}
WAYS = {"replicate": replicate, "shard": shard}
SETTINGS = Training(steps=5, batch=16, precision="float64", save_seconds=None)


def outcome(name: str, way: str) -> dict[str, Any]:
    """The weights that five steps in float64 end with, and what is drawn with their average."""
    trained = train(MODELS[name](), drawn(SPACE, 64, Rng(0)), SETTINGS, device="cpu", distribute=WAYS[way])
    found = weights(trained.model)
    return {"weights": found, "drawn": trained.averaged.sample(4, rng=3).x}


def main() -> None:
    rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    ends = {f"{name}, {way}": outcome(name, way) for name in MODELS for way in WAYS}
    if rank == 0:
        torch.save(ends, folder / "ends.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
