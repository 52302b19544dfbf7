"""Molecules that a verb draws, as a file's name asks: SMILES, a table of their properties, a grid of structures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from simulacra.core.checkpoint import write
from simulacra.modalities.molecules.chemistry import canonical, fault, properties, scaffold
from simulacra.modalities.molecules.pictures import PICTURES, write_grid
from simulacra.modalities.text import write_texts


def write_molecules(smiles: Sequence[str], path: Path) -> str:
    """Write what was drawn as .smi (a line each, molecule or not), .csv, .png or .svg; returns what was written."""
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return write_grid(smiles, path)
    if suffix == ".csv":
        return _write_table(smiles, path)
    if suffix not in (".smi", ".txt", ".jsonl"):
        raise ValueError(f"{path}: molecules are written as .smi, .csv, .svg or .png")
    return write_texts(smiles, path).replace("texts", "lines") + f", {_count(smiles):,} of them molecules"


def _write_table(smiles: Sequence[str], path: Path) -> str:
    """A row each: as drawn, why it is no molecule, canonical, scaffold, properties; empty cells where it is none."""
    found = [s for s in smiles if fault(s) is None]
    values = properties(found)
    rows = iter(range(len(found)))
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["smiles", "fault", "canonical", "scaffold", *values])
    for text in smiles:
        if (why := fault(text)) is not None:
            table.writerow([text, why, "", "", *("" for _ in values)])
            continue
        at = next(rows)
        table.writerow([text, "", canonical(text), scaffold(text), *(f"{v[at]:.4g}" for v in values.values())])
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, out.getvalue().encode())
    return f"{path}: {len(smiles):,} rows, {len(found):,} of them molecules"


def _count(smiles: Sequence[str]) -> int:
    return sum(fault(s) is None for s in smiles)
