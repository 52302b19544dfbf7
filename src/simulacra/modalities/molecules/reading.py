"""Molecules from files: .smi (a SMILES a line, a name after it or not), .csv with a column of SMILES; gzip or not.

What cannot be read as a molecule is skipped, named and counted; what may surprise (salts, isotopes, the same molecule
twice) is kept or merged, and said. Every molecule comes out as RDKit's canonical SMILES.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulacra.modalities.molecules.chemistry import canonical, fault, rdkit
from simulacra.modalities.reading import named

SUFFIXES = (".smi", ".smiles", ".ism", ".smi.gz", ".smiles.gz", ".ism.gz")
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
MOST_BYTES = 1 << 28  # of a file, unpacked, that are read
LONGEST = 1_000  # characters of a SMILES: a longer line is no small molecule
COLUMN = re.compile(r"(canonical[ _]?|isomeric[ _]?)?smiles", re.IGNORECASE)
ISOTOPE = re.compile(r"\[\d")
FAULTS = {
    "empty": "nothing where a SMILES is expected",
    "syntax": "no SMILES",
    "valence": "an atom with more bonds than it can have",
    "aromaticity": "aromatic atoms that cannot be",
}


@dataclass(frozen=True, kw_only=True)
class Molecules:
    """Canonical SMILES that were read, each molecule once, and what there is to say of it."""

    smiles: list[str]
    notes: tuple[str, ...] = ()


def is_molecules(path: Path) -> bool:
    """Whether a file is one of molecules: by its suffix, or a .csv or .tsv with a column called SMILES."""
    name = path.name.lower()
    if not path.is_file():
        return False
    if name.endswith(SUFFIXES):
        return True
    if not name.endswith(TABLES):
        return False
    try:
        head = _content(path, 1 << 16)
    except ValueError:
        return False  # whoever reads tables tells what is wrong with it
    first = next(iter(head.splitlines()), "")
    return any(COLUMN.fullmatch(cell.strip().strip('"')) for cell in re.split(r"[,;\t|]", first))


def read_molecules(path: Path, *, skip: float = 0.05) -> Molecules:
    """The molecules of a file.

    skip  largest share of lines that are no molecule which is skipped rather than refused.
    Raises ValueError, in one line, for a file that cannot be read, holds no molecule, or too much that is none.
    """
    rdkit()
    found, faults, seen, again = list[str](), list[str](), set[str](), 0
    total = 0
    for number, text in _lines(path):
        total += 1
        written = None if len(text) > LONGEST else canonical(text)
        if written is None:
            why = f"more than {LONGEST:,} characters" if len(text) > LONGEST else FAULTS[fault(text) or "syntax"]
            faults.append(f"line {number}, {text[:40]!r} ({why})")
        elif written in seen:
            again += 1
        else:
            seen.add(written)
            found.append(written)
    if not total:
        raise ValueError(f"{path}: there is no molecule in it; expected a SMILES a line")
    if len(faults) > skip * total:
        raise ValueError(
            f"{path}: {len(faults):,} of {total:,} lines are no molecules, the first {faults[0]}; at most {skip:.0%}"
            " are skipped: mend or remove them, allow more with skip=, or read it as --modality text"
        )
    return Molecules(smiles=found, notes=tuple(_said(found, faults, again, total)))


def read_drawn(path: Path) -> list[str]:
    """What somebody drew and wrote as .smi, .txt or .csv, as it stands: what is no molecule, or nothing, counts too."""
    return [text for _, text in _lines(path, blank=True)]


def _said(found: Sequence[str], faults: Sequence[str], again: int, total: int) -> Iterator[str]:
    if faults:
        yield f"skipped {len(faults):,} of {total:,} lines that are no molecules: {named(list(faults))}"
    if again:
        yield f"{again:,} lines repeat a molecule; each is learnt once"
    salts = sum("." in s for s in found)
    if salts:
        yield f"{salts:,} of several parts, such as salts, are kept whole"
    isotopes = sum(ISOTOPE.search(s) is not None for s in found)
    if isotopes:
        yield f"{isotopes:,} with isotopes, kept as they are"


def _lines(path: Path, *, blank: bool = False) -> Iterator[tuple[int, str]]:
    """Each SMILES of a file with the number of its line; blank: empty lines count too."""
    text = _content(path, MOST_BYTES)
    if not text.strip() and not blank:
        raise ValueError(f"{path}: there is nothing in it; expected a SMILES a line")
    if path.name.lower().endswith(TABLES):
        yield from _cells(path, text)
        return
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, 1):
        words = line.split()
        if number == 1 and words and COLUMN.fullmatch(words[0]):
            continue  # a header
        if words or blank:
            yield number, words[0] if words else ""


def _cells(path: Path, text: str) -> Iterator[tuple[int, str]]:
    try:
        dialect = csv.Sniffer().sniff(text[: 1 << 14], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel  # one column has no delimiter
    rows = csv.reader(io.StringIO(text, newline=""), dialect)
    head = next(rows, [])
    at = [i for i, cell in enumerate(head) if COLUMN.fullmatch(cell.strip())]
    if not at:
        shown = ", ".join(map(repr, head[:8]))
        raise ValueError(f"{path}: no column is called SMILES, but {shown}; rename the one that holds them")
    for row in rows:
        if row:
            yield rows.line_num, row[at[0]].strip() if at[0] < len(row) else ""


def _content(path: Path, most: int) -> str:
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(content) > most and most == MOST_BYTES:
        raise ValueError(f"{path}: more than {most >> 20} MiB of molecules; split the file")
    try:
        return content.decode("utf-8-sig", "strict" if most == MOST_BYTES else "replace").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not text, byte 0x{content[error.start]:02x} at place {error.start:,}; expected SMILES in ASCII"
        ) from error


def counted(smiles: Sequence[str]) -> Counter[str]:
    """Why texts are no molecules, counted; "" counts those that are one."""
    return Counter(fault(s) or "" for s in smiles)
