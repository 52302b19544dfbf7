"""What verbs do with runs of tables: rows in, rows out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from simulacra.cli.words import say
from simulacra.modalities.tables.conditions import said
from simulacra.modalities.tables.encoding import TableEncoding
from simulacra.modalities.tables.filling import filled
from simulacra.modalities.tables.reading import pandas_, read_table
from simulacra.modalities.tables.writing import check_ending, write_rows
from simulacra.runs import Run
from simulacra.uses.rows import fill, sample_given


def draw(run: Run, n: int, out: Path, *, given: tuple[str, ...], y: str | None, seed: int, own: dict[str, Any]) -> None:
    """Draw rows, some columns given, and write them."""
    encoding = _table(run)
    check_ending(out)
    began, how = time.perf_counter(), ""
    if given:
        target = () if y is None or encoding.target is None else (f"{encoding.target}={y}",)
        done = sample_given(run.model, encoding, said((*given, *target), encoding.schema), n, rng=seed)
        batch, how = done.batch, f"; the draws are {done.kind} ({done.method})"
    else:
        batch = run.sample(n, y=y, seed=seed, **own)
    seconds = time.perf_counter() - began
    say(f"{write_rows(encoding.decode(batch), out)}, {n / max(seconds, 1e-9):,.0f} a second{how}")


def impute(run: Run, source: Path, out: Path, *, draws: int, seed: int) -> None:
    """Fill in the holes of a table, once or several times over."""
    encoding = _table(run)
    check_ending(out)
    frame = read_table(source).frame
    found, count = fill(run.model, encoding, frame, draws=draws, rng=seed)
    say(f"{count:,} cells of {len(frame):,} rows filled in; draws are {found[0].kind} ({found[0].method})")
    rows = [filled(encoding, frame, drawn.batch) for drawn in found]
    if draws > 1:
        for number, each in enumerate(rows, 1):
            each.insert(0, "draw", number)
    say(write_rows(pandas_().concat(rows, ignore_index=True), out))


def _table(run: Run) -> TableEncoding:
    table = run.table
    if table is None:
        raise ValueError(f"{run.path} is a run of {run.recipe.space.measure}, which is no table")
    return table
