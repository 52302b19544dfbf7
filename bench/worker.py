"""The measured side of ``bench.harness``: one process that sets a worker up and times a round whenever it is told to.

Runs as a script in a peer's environment as well, so it imports the standard library alone.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round took.

    cpu_s     CPU-seconds of all threads and finished children, user and system.
    wall_s    seconds by the clock.
    peak_rss  most bytes resident during the round, what the set-up left behind included.
    """

    cpu_s: float
    wall_s: float
    peak_rss: int
    work: float = 1.0
    value: Any = None

    def per_work(self, quantity: str) -> float:
        """A time divided by the work done in it; memory as it is."""
        amount = float(getattr(self, quantity))
        return amount if quantity == "peak_rss" else amount / self.work


def serve(file: str, function: str, settings: str) -> None:
    """The worker's side of the conversation: set up, then one JSON line for every line read."""
    # what libraries print must not reach the conversation, so it goes on over a private copy of stdout
    speak = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    del sys.path[0]  # this script's own folder: its "vae" and "gan" must not stand before a peer's
    spec = importlib.util.spec_from_file_location("worker", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["worker"] = module
    spec.loader.exec_module(module)
    one_round = getattr(module, function)(**json.loads(settings))
    print(json.dumps(versions()), file=speak)
    for _ in sys.stdin:
        print(json.dumps(asdict(_timed(one_round))), file=speak)


def versions() -> dict[str, str]:
    """The packages this process has imported, and Python, with their versions."""
    owners = importlib.metadata.packages_distributions()
    names = {d for module in {m.partition(".")[0] for m in sys.modules} for d in owners.get(module, ())}
    return {"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in sorted(names)}}


def _timed(one_round: Callable[[], Mapping[str, Any] | None]) -> Round:
    _reset_peak()
    cpu, wall = _cpu(), time.perf_counter()
    said = one_round() or {}
    cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    return Round(cpu_s=cpu, wall_s=wall, peak_rss=_peak(), **said)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew (man 5 proc)
    except OSError:
        return  # elsewhere the peak is that of the whole process


def _peak() -> int:
    for line in lines("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def lines(path: str) -> list[str]:
    """The lines of a file of the system's, none where it has no such file."""
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


if __name__ == "__main__":
    serve(*sys.argv[1:])
