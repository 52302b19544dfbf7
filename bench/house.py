"""The house itself: what a user waits for before anything is learned, and the main job."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
HELP_ROUNDS = 9


def run() -> list[Any]:
    """The rows of the house."""
    return [*start(), quickstart()]


def start() -> list[Any]:
    """CPU-seconds of the answers that need no torch, and of the import."""
    from bench.harness import Row

    rows = []
    for arguments in (["--help"], ["families"], ["data"]):
        code = f"from simulacra.cli.main import main; main({arguments!r}); import sys; sys.exit('torch' in sys.modules)"
        spent = sorted(_cpu_seconds([sys.executable, "-c", code]) for _ in range(HELP_ROUNDS))
        rows.append(
            Row(
                what=f"simulacra {' '.join(arguments)}, no torch imported",
                unit="CPU-s",
                ours=spent[HELP_ROUNDS // 2],
                target="<= 0.3",
                met=spent[HELP_ROUNDS // 2] <= 0.3,
                note=f"median of {HELP_ROUNDS} cold processes, {spent[0]:.3f} .. {spent[-1]:.3f}",
                rounds=spent,
            )
        )
    return rows


def quickstart() -> Any:
    """The main job, as a user runs it, its caches empty."""
    from bench.harness import Row

    with tempfile.TemporaryDirectory() as folder:
        environment = {"SIMULACRA_CACHE": f"{folder}/cache"}
        began = time.perf_counter()
        cpu = _cpu_seconds([sys.executable, "-m", "simulacra", "quickstart", "--out", f"{folder}/runs"], environment)
        wall = time.perf_counter() - began
        families = sorted(path.name for path in Path(folder, "runs").iterdir() if path.is_dir())
    return Row(
        what=f"simulacra quickstart: {', '.join(families)} fitted, judged and reported",
        unit="wall-s",
        ours=wall,
        target="<= 240",
        met=wall <= 240,
        note=f"{cpu:.0f} CPU-s; one run, caches empty",
    )


def _cpu_seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    """User and system seconds of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = {"PYTHONPATH": str(HERE.parents[1] / "src")}
    done = subprocess.run(
        command, env={**os.environ, **path, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ... failed:\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
