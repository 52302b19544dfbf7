"""Rows written where a person asks for them."""

from __future__ import annotations

from pathlib import Path

from simulacra.core.checkpoint import told
from simulacra.modalities.tables.reading import Frame

ENDINGS = (".csv", ".tsv", ".parquet")


def check_ending(path: Path) -> None:
    """ValueError for a file that no rows are written to."""
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path}: rows of a table are written as {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")


def write_rows(frame: Frame, path: Path) -> str:
    """Write rows to .csv, .tsv or .parquet; a line that says so."""
    check_ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with told(f"write {path}"):
        if path.suffix.lower() == ".parquet":
            # a column of numbers and words has no type of its own there
            mixed = [n for n in frame.columns if frame[n].dtype == object and frame[n].dropna().map(type).nunique() > 1]
            frame.astype(dict.fromkeys(mixed, "str")).to_parquet(path, index=False)
        else:
            frame.to_csv(path, index=False, sep="\t" if path.suffix.lower() == ".tsv" else ",")
    return f"{path}: {len(frame):,} rows of {frame.shape[1]} columns"
