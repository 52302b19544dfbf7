"""Interleaved A/B measurements: two long-lived workers take turns, and every figure is a ratio with its spread.

A worker is a function ``setup(**settings) -> one_round`` in a plain Python file. What ``setup`` does is not measured.
``one_round()`` is: it returns a mapping with ``work``, the amount done (steps, pictures; 1 where left out), and
``value``, any JSON value to be checked (a Frechet distance, a loss). Each worker is a process of its own, in the
interpreter of its ``Side``, so a peer needs only what its own environment holds:

    here = Path(__file__)
    peer = environment("prdc", ["numpy", "scikit-learn", "prdc==0.2"])
    both = compare(
        Side(file=here, function="our_prdc", settings={"n": 10_000}),
        Side(file=here, function="their_prdc", settings={"n": 10_000}, python=peer),
        rounds=5,
    )
    row = faster("PRDC, 10k x 10k", both, at_least=2.5)

A file whose workers run in a peer's environment imports simulacra, and this module, inside functions only.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import platform
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.worker import Round, lines

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two opponents: a worker function and the interpreter it runs in.

    python    None is this interpreter with ``src`` on its path; otherwise what ``environment`` returned.
    threads   how many the numerical libraries may use.
    settings  keyword arguments of the function; JSON values.
    """

    file: Path
    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    python: Path | None = None
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Peer over ours: how many times less ours needs. ``low`` and ``high``: extremes of the rounds' own ratios."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The measured rounds of both sides, in order; round i of one ran next to round i of the other."""

    ours: tuple[Round, ...]
    peer: tuple[Round, ...]
    versions: Mapping[str, Mapping[str, str]]

    def ratio(self, quantity: str = "cpu_s") -> Ratio:
        """Ratio of the medians of "cpu_s", "wall_s" (both per unit of work) or "peak_rss"."""
        ours, peer = self.each(quantity)
        paired = [b / a for a, b in zip(ours, peer, strict=True)]
        return Ratio(value=statistics.median(peer) / statistics.median(ours), low=min(paired), high=max(paired))

    def each(self, quantity: str) -> tuple[list[float], list[float]]:
        """Every round's quantity, per unit of work; ours, then the peer's."""
        return [r.per_work(quantity) for r in self.ours], [r.per_work(quantity) for r in self.peer]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a group's table.

    ratio   how many times better ours is, with its spread; None where the figures are not divided (nats, modes).
    target  what was asked, in words; met: whether it was reached, None where nothing was asked.
    rounds  the raw figures behind it, for the JSON.
    """

    what: str
    unit: str
    ours: float | str
    peer: float | str | None = None
    ratio: Ratio | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""
    rounds: Any = None


def environment(name: str, requirements: Sequence[str], *, bare: Sequence[str] = ()) -> Path:
    """The interpreter of a peer's own environment, ``bench/.env-NAME``, made when its requirements change.

    requirements  as for pip, resolved under this project's ``constraints.txt``.
    bare          installed after them without their dependencies, for peers that ask for what disturbs them.
    Raises RuntimeError with pip's last words where something cannot be installed.
    """
    folder = HERE / f".env-{name}"
    python = folder / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    stamp = folder / "made-of.json"
    wanted = json.dumps([platform.python_version(), constraints.read_text(), list(requirements), list(bare)])
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making the environment {folder.relative_to(ROOT)}", file=sys.stderr)
    _quietly([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(constraints)]
    if requirements:
        _quietly([*pip, *requirements])
    if bare:
        _quietly([*pip, "--no-deps", *bare])
    stamp.write_text(wanted)  # last: a half-made environment is made again
    return python


def kept(group: str, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``work`` returns, with its CPU-seconds unless it says them; of an earlier run of the group where there was
    one, from ``bench/.state``: hours of work that was stopped goes on. Delete the folder to measure anew.
    """
    path = HERE / ".state" / group / f"{name.replace(' ', '-')}.json"
    if path.is_file():
        return json.loads(path.read_text())
    began = time.process_time()
    found = work()
    found.setdefault("cpu_s", time.process_time() - began)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    print(f"{name}: {found}", flush=True)
    return found


def compare(ours: Side, peer: Side, *, rounds: int = 5, warm_up: int = 1, timeout: float = 600) -> Comparison:
    """Both sides' rounds, alternating; which goes first alternates too, so that drift of the machine hits both.

    The first ``warm_up`` rounds of each are dropped. Raises RuntimeError with a worker's last words if it fails
    or says nothing for ``timeout`` seconds.
    """
    if rounds < 1:
        raise ValueError(f"a comparison needs at least one round; got rounds={rounds}")
    with Worker(ours, timeout) as a, Worker(peer, timeout) as b:
        taken: dict[Worker, list[Round]] = {a: [], b: []}
        for number in range(warm_up + rounds):
            for worker in (a, b) if number % 2 == 0 else (b, a):
                taken[worker].append(worker.go())
        return Comparison(
            ours=tuple(taken[a][warm_up:]),
            peer=tuple(taken[b][warm_up:]),
            versions={"ours": a.versions, "peer": b.versions},
        )


def measure(side: Side, *, rounds: int = 5, warm_up: int = 1, timeout: float = 600) -> tuple[Round, ...]:
    """One side alone, for figures that have no opponent."""
    with Worker(side, timeout) as worker:
        return tuple(worker.go() for _ in range(warm_up + rounds))[warm_up:]


def faster(
    what: str, both: Comparison, *, at_least: float | None = None, quantity: str = "cpu_s", unit: str = ""
) -> Row:
    """The row that says how many times less of a quantity ours needs, by the ratio of medians."""
    ours, peer = both.each(quantity)
    scale, plain = (2**20, "MiB") if quantity == "peak_rss" else (1, quantity.replace("_s", "-s"))
    ratio = both.ratio(quantity)
    return Row(
        what=what,
        unit=unit or plain,
        ours=statistics.median(ours) / scale,
        peer=statistics.median(peer) / scale,
        ratio=ratio,
        target="" if at_least is None else f">= {at_least:g}x",
        met=None if at_least is None else ratio.value >= at_least,
        rounds={"quantity": quantity, **asdict(both)},
    )


class Worker:
    """A side's process: started and set up on entry, one measured round a ``go``, ended on exit."""

    def __init__(self, side: Side, timeout: float = 600) -> None:
        self.side, self.timeout, self.versions = side, timeout, {}

    def __enter__(self) -> Worker:
        side = self.side
        threads = {f"{n}_NUM_THREADS": str(side.threads) for n in ("OMP", "MKL", "OPENBLAS")}
        env = {**os.environ, **threads, "OMP_WAIT_POLICY": "PASSIVE"}
        # ours runs from this very tree; a peer sees only its own environment
        env["PYTHONPATH"] = "" if side.python else f"{ROOT / 'src'}{os.pathsep}{ROOT}"
        python = str(side.python or sys.executable)
        self._words = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [python, str(HERE / "worker.py"), str(side.file), side.function, json.dumps(dict(side.settings))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, text=True, env=env,
        )  # fmt: skip
        try:
            self.versions = self._line()
        except BaseException:
            self.__exit__()
            raise
        return self

    def go(self) -> Round:
        """One round."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has died; reading from it says how
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        return Round(**self._line())

    def __exit__(self, *_: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream:
                    stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout
        there, _, _ = select.select([self._process.stdout], [], [], self.timeout)
        line = self._process.stdout.readline() if there else ""
        if not line:
            if not there:
                self._process.kill()
            self._process.wait()
            self._words.seek(0)
            last = self._words.read()[-2000:]
            said = "failed" if there else f"said nothing for {self.timeout:g} s"
            raise RuntimeError(f"worker {self.side.file.name}:{self.side.function} {said}:\n{last}")
        return json.loads(line)


def machine() -> dict[str, Any]:
    """Where and when this process measures."""
    models = [line.split(":", 1)[1].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def save(group: str, rows: Sequence[Row], *, folder: Path = RESULTS, command: str = "") -> Path:
    """Write a group's rows, with machine, command and date, to ``bench/results/GROUP.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{group}.json"
    record = {"command": command or f"python -m bench {group}", **machine(), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(_plain(record), indent=1, allow_nan=False) + "\n")
    return path


def show(group: str, rows: Sequence[Row]) -> None:
    """Print a group's rows as one table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=group, title_justify="left", title_style="bold")
    table.add_column("what")
    for name in ("ours", "peer", "ratio", "spread", "target"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    for row in rows:
        spread = f"{row.ratio.low:.2f} .. {row.ratio.high:.2f}" if row.ratio else ""
        colour = {True: "green", False: "red", None: "default"}[row.met]
        table.add_row(
            row.what + (f"\n[dim]{row.note}[/]" if row.note else ""), _number(row.ours), _number(row.peer),
            f"{row.ratio.value:.2f}x" if row.ratio else "", spread, f"[{colour}]{row.target}[/]" if row.target else "",
            row.unit,
        )  # fmt: skip
    console = Console()
    console.print(table)
    missed = [row.what for row in rows if row.met is False]
    console.print(f"{len(rows) - len(missed)} of {len(rows)} reach their target" if missed else "every target reached")


def _number(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:,.4g}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value


def _quietly(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} ... failed:\n{done.stdout[-2000:]}")
