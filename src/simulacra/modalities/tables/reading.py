"""From a file or a DataFrame to columns with names of their own: nothing is understood yet, and nothing is lost."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Frame = Any  # a pandas DataFrame, whose package is imported where it is used
SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".csv.gz", ".tsv.gz")
DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 200  # lines from which the dialect is told
MOST_BYTES = 2 << 30  # of a file, unpacked
# what stands for nothing, whatever its case; "none" is not among them: it is an answer in many questionnaires
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "#n/a", "<na>", "nat"})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True)
class Table:
    """Rows of named columns.

    frame  the cells: text, stripped, of a .csv; typed values of a .parquet or a DataFrame.
    notes  what was recognised and changed, in plain lines.
    """

    frame: Frame
    notes: tuple[str, ...] = ()


def is_table(path: Path) -> bool:
    """Whether a file's name is that of a table."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def read_table(source: Path | str | Any, *, names: Sequence[str] | None = None) -> Table:
    """The table of a .csv (or .tsv, packed by gzip or not), a .parquet, or a DataFrame.

    names  of the columns, where the file has none.
    Raises ValueError, in one line, for a file that cannot be read, has no rows or rows of different lengths.
    """
    pandas = pandas_()
    if isinstance(source, pandas.DataFrame):
        given: Any = source
        return _named(given.reset_index(drop=True), list(given.columns), [])
    path = Path(source)
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            frame = pandas.read_parquet(path)
        except Exception as error:  # pyarrow has an exception of its own for each way a file can be damaged
            raise ValueError(f"{path}: no parquet that can be read ({_short(error)})") from error
        return _named(frame.reset_index(drop=True), list(frame.columns), [])
    return _read_csv(path, names)


def _read_csv(path: Path, names: Sequence[str] | None) -> Table:
    text, notes = _text(path)
    lines = [line for line in text[: 1 << 22].split("\n")[: LOOKED_AT + 1] if line.strip()][:LOOKED_AT]
    if not lines:
        raise ValueError(f"{path}: there is nothing in it; expected rows of a table")
    delimiter = "\t" if ".tsv" in path.name.lower() else sniff(lines)
    rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    headed = names is None and has_header(rows)
    try:
        frame = pandas_().read_csv(
            io.StringIO(text), sep=delimiter, header=None, dtype=str, keep_default_na=False, na_filter=False,
            skipinitialspace=True, skip_blank_lines=True, low_memory=False,
        )  # fmt: skip
    except Exception as error:
        fault = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        said = f"line {fault[2]} has {fault[3]} cells, expected {fault[1]}" if fault else _short(error)
        raise ValueError(f"{path}: {said}; mend that line, or save the table again") from error
    frame = frame.apply(lambda column: column.fillna("").str.strip().astype(object))
    if headed:
        names, frame = list(frame.iloc[0]), frame.iloc[1:].reset_index(drop=True)
    if not len(frame):
        raise ValueError(f"{path}: a header and no rows; expected some")
    if names is not None and len(names) != frame.shape[1]:
        raise ValueError(f"{path}: rows of {frame.shape[1]} cells; expected {len(names)}: {', '.join(names[:8])} ...")
    if delimiter == ";":
        frame = frame.apply(_points)
    said = {"\t": "tabs"}.get(delimiter, repr(delimiter))
    notes.append(f"cells parted by {said}" + ("" if headed or names else ", without a header: columns are numbered"))
    return _named(frame, list(names) if names is not None else [""] * frame.shape[1], notes)


def sniff(lines: Sequence[str]) -> str:
    """The delimiter that cuts lines into the same number of cells, of several the one that makes the most cells."""
    best = (0.0, 1, ",")
    for delimiter in DELIMITERS:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True) if row)
        if counts:
            width, often = counts.most_common(1)[0]
            if width > 1:
                best = max(best, (round(often / sum(counts.values()), 1), width, delimiter), key=lambda b: b[:2])
    return best[2]


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: words, where a column below is of numbers, or words found nowhere below.

    Half of its cells may be empty; a cell that is a number makes it a row like the others.
    """
    first, *rest = rows
    named = [cell.strip() for cell in first]
    if any(NUMBER.fullmatch(cell) for cell in named) or 2 * named.count("") > len(named):
        return False
    below = list(zip(*[row for row in rest if len(row) == len(first)], strict=True))
    if not below:
        return True
    of_numbers = [
        all(NUMBER.fullmatch(c.strip()) for c in column if c.strip().lower() not in MISSING)
        and any(c.strip().lower() not in MISSING for c in column)
        for column in below
    ]
    return any(of_numbers) or not any(
        cell and cell in {c.strip() for c in column} for cell, column in zip(named, below, strict=True)
    )


def unique(names: Sequence[Any]) -> list[str]:
    """Names that are all different and none empty: a second "x" is "x_2", an empty third column "column_3"."""
    wanted = [" ".join(str(name).split()) or f"column_{i}" for i, name in enumerate(names, 1)]
    found: list[str] = []
    taken = set(wanted)
    for name in wanted:
        number, free = 2, name
        while free in found or (free != name and free in taken):
            free, number = f"{name}_{number}", number + 1
        found.append(free)
    return found


def missing_cells(column: Any) -> np.ndarray:
    """Which cells hold nothing, bool (n,): None, NaN, NaT, and the words of ``MISSING``."""
    gone = column.isna().to_numpy(dtype=bool, copy=True)
    if column.dtype == object or str(column.dtype) in ("string", "str"):
        # by distinct value: a table has far fewer of them than cells
        codes, values = pandas_().factorize(column, use_na_sentinel=True)
        words = np.array([isinstance(v, str) and v.strip().lower() in MISSING for v in values] + [True], dtype=bool)
        gone |= words[codes]
    return gone


def pandas_() -> Any:
    """The package pandas; ImportError that says how to get it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("tables need the packages pandas and pyarrow: pip install 'simulacra[tables]'") from error
    return pandas


def _named(frame: Any, names: list[Any], notes: list[str]) -> Table:
    if not frame.shape[1] or not len(frame):
        raise ValueError(f"a table of {len(frame)} rows and {frame.shape[1]} columns; expected some of both")
    found = unique(names)
    changed = [f"{old!r} is {new!r}" for old, new in zip(names, found, strict=True) if str(old) != new]
    if changed and any(str(name).strip() for name in names):
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        notes = [*notes, f"columns renamed so that each has a name of its own: {', '.join(changed[:5])}{more}"]
    frame = frame.copy(deep=False)
    frame.columns = found
    return Table(frame, tuple(notes))


def _text(path: Path) -> tuple[str, list[str]]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: more than {MOST_BYTES >> 30} GiB; save it as .parquet, or give a part of it")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace").replace("\r\n", "\n"), ["read as UTF-16"]
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n"), []
    except UnicodeDecodeError:
        # windows-1252 with its five holes filled as Latin-1 has them: every byte is a character
        text = content.decode("cp1252", "replace")
        return text.replace("\r\n", "\n").replace("\r", "\n"), ["not UTF-8: read as Windows-1252"]


def _points(column: Any) -> Any:
    """Decimal commas as points, in a column where every number is written so or whole."""
    held = column[~missing_cells(column)]
    commas = held.str.fullmatch(COMMA_NUMBER.pattern)
    if len(held) and commas.any() and (commas | held.str.fullmatch(r"[+-]?\d+")).all():
        return column.str.replace(",", ".", regex=False)
    return column


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
