"""The run's log: numbers gathered lazily, a line of JSON and a row of a spreadsheet every few steps."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from simulacra.core.checkpoint import told, write
from simulacra.training.hooks import Moment
from simulacra.training.move import Taken

Row = Mapping[str, int | float]


class Ledger:
    """What the turns came to since the last row of the log. Tensors stay where they are until somebody asks."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str, Taken]] = []
        self.sums: dict[str, tuple[float, float]] = {}  # name -> (sum of the values, sum of the weights)

    def add(self, step: int, turn: str, taken: Taken) -> None:
        """Note a turn taken at this step."""
        self._waiting.append((step, turn, taken))

    def gather(self) -> tuple[int, str] | None:
        """Read the numbers that wait, in one transfer; the first (step, turn) whose total is not finite, or None."""
        if not self._waiting:
            return None
        tensors: list[Tensor] = []
        for _, _, taken in self._waiting:
            tensors += [*taken.values] if isinstance(taken.values, Tensor) else taken.values
            if isinstance(taken.weight, Tensor):
                tensors.append(taken.weight)
        device = tensors[0].device
        numbers = iter(torch.stack([t.detach().to(device, torch.float64) for t in tensors]).tolist())
        broken = None
        for step, turn, taken in self._waiting:
            values = [next(numbers) for _ in taken.names]
            weight = next(numbers) if isinstance(taken.weight, Tensor) else taken.weight
            if broken is None and not math.isfinite(values[0]):
                broken = (step, turn)
            for name, value in zip(taken.names, values, strict=True):
                key = f"{turn}/{name}" if name else turn
                before = self.sums.get(key, (0.0, 0.0))
                self.sums[key] = (before[0] + value, before[1] + weight)
        self._waiting.clear()
        return broken

    def row(self) -> dict[str, float]:
        """Means since the last row: "turn" for its total, "turn/term" for its terms; starts the next row.

        What weighed nothing is left out.
        """
        row = {name: value / weight for name, (value, weight) in self.sums.items() if weight}
        self.sums.clear()
        return row


class LogFile:
    """``log.jsonl`` and ``metrics.csv`` of a run directory."""

    def __init__(self, folder: Path, rows: Sequence[Row] = ()) -> None:
        """Start both files with these rows: those up to the step a run goes on from."""
        self.json, self.csv = folder / "log.jsonl", folder / "metrics.csv"
        self._begin(rows)

    def _begin(self, rows: Sequence[Row]) -> None:
        self.columns = list(dict.fromkeys(name for row in rows for name in row))
        write(self.json, "".join(json.dumps(row) + "\n" for row in rows).encode())
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, self.columns)
        if self.columns:
            writer.writeheader()
        writer.writerows(rows)
        write(self.csv, table.getvalue().encode())

    def add(self, row: Row, rows: Sequence[Row]) -> None:
        """Append a row; all rows are given too, for the day a new column appears."""
        if set(row) - set(self.columns):
            self._begin(rows)
            return
        with told(f"write {self.json}"), open(self.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        with told(f"write {self.csv}"), open(self.csv, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def sync(self) -> None:
        """Have the disk hold what was written: a checkpoint must not know more than the log."""
        for path in (self.json, self.csv):
            with told(f"write {path}"), open(path, "rb") as file:
                os.fsync(file.fileno())


def read_log(folder: Path, step: int) -> list[dict[str, int | float]]:
    """The rows of a run's log up to a step; a line cut short by the end of its process is left out."""
    path, rows = folder / "log.jsonl", []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and row.get("step", step + 1) <= step:
                rows.append(row)
    return rows


class TensorBoard:
    """A hook that writes every row of the log for TensorBoard (extra ``tensorboard``)."""

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("TensorBoard is not installed; pip install 'simulacra[tensorboard]'") from error
        self.every, self._seen = 1, 0
        self._open, self._writer = lambda: SummaryWriter(str(folder)), None

    def __call__(self, moment: Moment) -> None:
        """Write the last row of the log where it is new."""
        step = int(moment.log.get("step", 0))
        if moment.main and step > self._seen:
            self._seen = step
            self._writer = self._writer or self._open()
            for name, value in moment.log.items():
                if name not in ("step", "examples"):
                    self._writer.add_scalar(name, value, step)
        if moment.done and self._writer is not None:
            self._writer.flush()
