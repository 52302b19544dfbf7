"""The run's log: numbers gathered lazily, a line of JSON and a row of a spreadsheet every few steps."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulacra.training.move import Taken


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
        numbers = iter(torch.stack([t.detach().to(torch.float64) for t in tensors]).tolist())
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
        """Means since the last row: "turn" for its total, "turn/term" for its terms; starts the next row."""
        row = {name: value / weight if weight else math.nan for name, (value, weight) in self.sums.items()}
        self.sums.clear()
        return row


class LogFile:
    """``log.jsonl`` and ``metrics.csv`` of a run directory."""

    def __init__(self, folder: Path, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        """Start the files anew with these rows: those up to the step a run goes on from."""
        self.json, self.csv = folder / "log.jsonl", folder / "metrics.csv"
        self._rewrite(rows)

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.columns = list(dict.fromkeys(name for row in rows for name in row))
        with open(self.json, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        with open(self.csv, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            if self.columns:
                writer.writeheader()
            writer.writerows(rows)

    def add(self, row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Append a row; all rows are given too, for the day a new column appears."""
        if set(row) - set(self.columns):
            self._rewrite(rows)
            return
        with open(self.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        with open(self.csv, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def sync(self) -> None:
        """Have the disk hold what was written: a checkpoint must not know more than the log."""
        for path in (self.json, self.csv):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
