"""One process against two: the number of processes does not change the run.

``python -m bench.training RANK PROCESSES FOLDER`` is one of the processes; ``run`` starts them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
STEPS, BATCH = 50, 32


def run() -> list[Any]:
    """Weights after 50 steps in float64, and the first step's gradient in float32, against one process."""
    import torch

    from bench.harness import Row

    with tempfile.TemporaryDirectory() as folder:
        source = os.pathsep.join((str(HERE.parents[1] / "src"), str(HERE.parents[1])))
        environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "bench.training"]
        running = [subprocess.Popen([*command, str(rank), "2", folder], env=environment) for rank in range(2)]
        ended = [process.wait(timeout=600) for process in running]
        if any(ended):
            raise RuntimeError("a process failed; its words stand above")
        two = torch.load(Path(folder) / "ends.pt", weights_only=True)
    rows = []
    for name in _models():
        one = _outcome(name, "replicate")
        for way, words in (("replicate", "DDP-2"), ("shard", "fully_shard-2")):
            other = two[name, way]
            if "refused" in other:
                rows.append(Row(what=f"{name}, {words}", unit="", ours="refused by name", note=other["refused"]))
                continue
            weights = max(float((one["weights"][k] - other["weights"][k]).abs().max()) for k in one["weights"])
            gradients = max(
                float((one["gradients"][t] - other["gradients"][t]).norm() / one["gradients"][t].norm())
                for t in one["gradients"]
            )
            rows.append(
                Row(
                    what=f"{name}, {words} against 1: largest difference of weights after {STEPS} steps, float64",
                    unit="",
                    ours=weights,
                    target="<= 1e-10",
                    met=weights <= 1e-10,
                )
            )
            rows.append(
                Row(
                    what=f"{name}, {words} against 1: relative difference of a step's gradient, float32",
                    unit="",
                    ours=gradients,
                    target="<= 1e-5",
                    met=gradients <= 1e-5,
                )
            )
    rows.append(_resume())
    return rows


def _models() -> dict[str, Any]:
    """The three players of the comparison, small: name -> a function that makes one."""
    from simulacra.families.dcgan import DCGAN, DCGANConfig
    from simulacra.families.gan import GAN, GANConfig
    from simulacra.families.vae import VAE, VAEConfig
    from simulacra.mathematics.adversarial import NonSaturating, r1
    from simulacra.nets.adversarial import Regulariser
    from simulacra.nets.backbones import Convolutional

    space = _data().space
    lazily = (Regulariser(penalty=r1, weight=1.0, every=4),)
    return {
        "VAE": lambda: VAE(VAEConfig(latent=4, networks=Convolutional(width=8, hidden=32)), space),
        "DCGAN with batch norm": lambda: DCGAN(DCGANConfig(latent=8, width=8), space),
        "GAN with lazy R1": lambda: GAN(
            GANConfig(latent=4, generator=(32,), critic=(32,), game=NonSaturating(), regularisers=lazily), space
        ),
    }


def _data() -> Any:
    from simulacra.modalities.sources import open_data

    return open_data("digits").train


def _outcome(name: str, way: str) -> dict[str, Any]:
    """Where the steps end, and the first gradients; or how it is refused."""
    import torch

    from simulacra.training.engine import Engine, replicate, shard
    from simulacra.training.loop import train
    from simulacra.training.session import Session
    from simulacra.training.settings import Training
    from simulacra.training.state import weights, whole

    distribute = {"replicate": replicate, "shard": shard}[way]
    settings = Training(steps=STEPS, batch=BATCH, precision="float64", log_every=10)
    try:
        trained = train(_models()[name](), _data(), settings, device="cpu", distribute=distribute)
    except ValueError as error:
        return {"refused": str(error)}
    engine = Engine(device="cpu", distribute=distribute)
    session = Session(_models()[name](), _data(), Training(steps=1, batch=BATCH), engine=engine)
    gradients = {}
    for move in session.moves:
        for optimiser in move.seat.optimisers:
            optimiser.step = lambda: None
        move.take(0, list(session.feed.parts(0)))
        found = [whole(p.grad).flatten() for p in move.seat.parameters if p.grad is not None]
        gradients[move.turn.name] = torch.cat(found)
    return {"weights": weights(trained.model), "gradients": gradients}


def _resume() -> Any:
    """Twenty steps at once against ten, a stop, and ten more."""
    import dataclasses

    from bench.harness import Row
    from simulacra.training.loop import train
    from simulacra.training.settings import Training
    from simulacra.training.state import weights

    settings = Training(steps=20, batch=BATCH, log_every=5)
    make = _models()["DCGAN with batch norm"]
    straight = weights(train(make(), _data(), settings).averaged)
    with tempfile.TemporaryDirectory() as folder:
        train(make(), _data(), dataclasses.replace(settings, steps=10), folder=folder)
        resumed = weights(train(make(), _data(), settings, folder=folder, resume=True).averaged)
    worst = max(float((straight[k].double() - resumed[k].double()).abs().max()) for k in straight)
    return Row(
        what="DCGAN, 20 steps against 10, a stop and 10 more: largest difference of weights, float32",
        unit="",
        ours=worst,
        target="0 exactly",
        met=worst == 0,
    )


def main() -> None:
    """One of the processes."""
    import torch
    from torch import distributed

    rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    ends = {(name, way): _outcome(name, way) for name in _models() for way in ("replicate", "shard")}
    if rank == 0:
        torch.save(ends, folder / "ends.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
