"""Runs killed at random moments and resumed: python kills.py FOLDER COUNT SEED. Prints what went wrong; exits 0 or 1.

Forks, so that torch is imported once; hence a program of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from small_models import SmallGAN, ring

from simulacra.nets.norm import BatchNorm
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.training.state import weights_and_averages

# a checkpoint after every step: most of a run's time is spent in writing them
STEPS = 16
SETTINGS = Training(steps=STEPS, batch=16, save_seconds=0.0, log_every=4)


def end(folder: Path) -> dict[str, Any]:
    """Train to the end, resuming what is there."""
    trained = train(SmallGAN(norm=BatchNorm, gamma=1.0), ring(), SETTINGS, device="cpu", folder=folder, resume=True)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trained.log]
    return {"weights": weights_and_averages(trained.model, trained.averaged), "rows": rows}


def child(folder: Path) -> int:
    """A process that trains in this folder and leaves its end beside it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            torch.save(end(folder), folder.with_suffix(".pt"))
            code = 0
        finally:
            os._exit(code)
    return pid


def wait_for(folder: Path, step: int, pid: int) -> None:
    """Until a run has written the checkpoint of a step, or of a later one, or has ended; not at all for step 0."""
    while step and not any(
        int(p.name.split("-")[1]) >= step for p in folder.glob("resume/step-*") if p.name[5:].isdigit()
    ):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)


def main() -> int:
    home, count, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    torch.set_num_threads(1)
    end(home / "rehearsal")  # loads what is loaded lazily, so that the children need not
    start = time.perf_counter()
    assert os.waitpid(child(home / "undisturbed"), 0)[1] == 0
    takes = time.perf_counter() - start
    truth = torch.load(home / "undisturbed.pt", weights_only=True)
    early = late = 0
    for number in range(count):
        folder = home / f"killed-{number}"
        pid = child(folder)
        # so many steps and a part of one: a busy machine makes all of a run slower, not the part that is interrupted
        wait_for(folder, chance.randint(0, STEPS - 1), pid)
        time.sleep(chance.uniform(0, takes / STEPS))
        os.kill(pid, signal.SIGKILL)
        late += os.WIFEXITED(os.waitpid(pid, 0)[1])
        early += not (folder / "resume").exists()
        if os.waitpid(child(folder), 0)[1] != 0:
            print(f"run {number} could not be resumed")
            return 1
        found = torch.load(folder.with_suffix(".pt"), weights_only=True)
        if found["rows"] != truth["rows"]:
            print(f"run {number} wrote another log")
            return 1
        if any(not torch.equal(found["weights"][name], value) for name, value in truth["weights"].items()):
            print(f"run {number} ended elsewhere")
            return 1
        shutil.rmtree(folder)
    print(f"{count} killed, {early} before the first checkpoint, {late} after their end; a run took {takes:.2f} s")
    # most must have been killed while they were at work
    return int(early + late > count / 2)


if __name__ == "__main__":
    sys.exit(main())
