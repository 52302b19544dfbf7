"""A table from what a person says: a known name, a path, a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulacra.modalities import recognise
from simulacra.modalities.loaded import Loaded
from simulacra.modalities.names import KNOWN
from simulacra.modalities.tables.inference import infer
from simulacra.modalities.tables.opening import Opened, open_table, read_known, with_rules
from simulacra.modalities.tables.reading import Table, is_table, pandas_, read_table
from simulacra.modalities.tables.schema import Schema, read_schema


def table_path(name: str, modality: str | None) -> Path | None:
    """Where a table lies that a name means, known or by its path; None for anything else."""
    known = KNOWN.get(name)
    if known is not None:
        return recognise.find(name, known) if known.modality == "tables" and modality in (None, "tables") else None
    found = recognise.find(name, None)
    if modality == "tables" and (found is None or not found.is_file()):
        raise ValueError(f"{name}: tables are read from a file; expected the path of a .csv or .parquet")
    return found if found is not None and (modality == "tables" or (modality is None and is_table(found))) else None


def table(name: str, path: Path, choices: Mapping[str, Any], held_out: float | None) -> Loaded:
    """A table in a file, or known by its name."""
    label = name if name in KNOWN else path.name
    return _opened(open_table(_tables(name, path), label, share=held_out, **choices))


def schema_of(name: str, stated: Path | None = None) -> tuple[Schema, tuple[str, ...]]:
    """The schema of a table by its name or path, and what was said in reading it; ValueError for what is no table."""
    path = table_path(name, "tables")
    if path is None:
        raise ValueError(f"{name} is no table; expected a .csv, a .parquet or one of the known tables")
    tables = _tables(name, path)
    frames = [t.frame for t in tables]
    whole = frames[0] if len(frames) == 1 else pandas_().concat(frames, ignore_index=True)
    if stated is not None:
        return infer(Table(whole), read_schema(stated)), tables[0].notes
    return with_rules(infer(Table(whole)), whole), tables[0].notes


def _tables(name: str, path: Path) -> list[Table]:
    known = KNOWN.get(name)
    if known is None:
        return [read_table(path)]
    if missing := [file for file in known.files if not (path / file).is_file()]:
        raise ValueError(f"{name}: {missing[0]} is not in {path}; {known.by_hand}")
    return read_known(name, path, known.files)


def from_frame(frame: Any, choices: Mapping[str, Any], held_out: float | None) -> Loaded:
    """A pandas DataFrame: what is fitted to it cannot open it again, and is told the data where that is needed."""
    if not hasattr(frame, "columns"):
        raise ValueError(f"data is a path, a known name or a DataFrame; got a {type(frame).__name__}")
    return _opened(open_table([read_table(frame)], "table", share=held_out, **choices))


def _opened(found: Opened) -> Loaded:
    return Loaded(
        train=found.train,
        held_out=found.held_out,
        modality="tables",
        notes=found.notes,
        options=found.options,
        table=found.encoding,
    )
