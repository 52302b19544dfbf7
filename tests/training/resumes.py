"""What each of two processes under torchrun runs: resume, and what may go wrong. python resumes.py FOLDER."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from small_models import SmallGAN, SmallVAE, ring

from simulacra.core.optimisers import AdamW, Muon
from simulacra.core.turns import Player
from simulacra.nets.norm import BatchNorm
from simulacra.training.engine import join, replicate, shard
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.training.state import weights_and_averages

SETTINGS = Training(steps=160, batch=32, log_every=50, save_seconds=0.3)
WAYS = {"replicate": replicate, "shard": shard}


class MuonVAE(SmallVAE):
    """Its hidden matrices are stepped by Muon."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder[0].weight.muon = True  # pyright: ignore

    def players(self) -> dict[str, Player]:
        return {"vae": Player(module=self, optimiser=Muon(rest=AdamW(lr=1e-3, weight_decay=0.1)))}


MODELS = {"muon": MuonVAE, "gan": lambda: SmallGAN(norm=BatchNorm)}


class Interrupt:
    """Ctrl-C that reaches one process only."""

    every = 1

    def __call__(self, moment: Any) -> None:
        if moment.step == 21 and not moment.main:
            os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    home, found, whole = Path(sys.argv[1]), {}, {}
    torch.set_num_threads(1)
    join("cpu")
    for name, make in MODELS.items():
        for way, distribute in WAYS.items():
            folder = home / f"{name}-{way}"
            given: dict[str, Any] = {"device": "cpu", "distribute": distribute}
            plain = train(make(), ring(), SETTINGS, **given)
            first = train(make(), ring(), SETTINGS, folder=folder, hooks=[Interrupt()], **given)
            second = train(make(), ring(), SETTINGS, folder=folder, resume=True, **given)
            truth, ends = (weights_and_averages(t.model, t.averaged) for t in (plain, second))
            rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in t.log] for t in (plain, second)]
            whole[way] = truth
            found[f"{name}-{way}"] = {
                "from replicated": max(float((whole["replicate"][n] - t).abs().max()) for n, t in truth.items()),
                "interrupted": first.interrupted,
                "steps": [first.steps, second.steps],
                "difference": max(float((ends[n] - t).abs().max()) for n, t in truth.items()),
                "same names": list(ends) == list(truth),
                "same log": rows[0] == rows[1],
                "states": sorted(p.name for p in (folder / "resume").iterdir()),
            }
    if os.environ["RANK"] == "0":
        (home / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
