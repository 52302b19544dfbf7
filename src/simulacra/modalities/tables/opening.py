"""A table opened to learn from: read, understood, split, encoded and described."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.modalities.split import enough
from simulacra.modalities.tables.constraints import found_rules
from simulacra.modalities.tables.encoding import Missing, TableEncoding, cells_of, fit
from simulacra.modalities.tables.inference import infer
from simulacra.modalities.tables.reading import Frame, Table, pandas_, read_table
from simulacra.modalities.tables.schema import Schema, read_schema
from simulacra.modalities.tables.settings import setting

LEAST_ROWS = 10
# UCI Adult (Kohavi 1996), the names of adult.names
ADULT = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A table ready to learn from; options are what opens it likewise again."""

    train: Stored
    held_out: Stored
    encoding: TableEncoding
    notes: tuple[str, ...]
    options: dict[str, Any]


def read_known(name: str, folder: Path, files: Sequence[str]) -> list[Table]:
    """The parts of a table known by name: to learn from, and the official test split where there is one."""
    tables = [read_table(folder / file, names=ADULT if name == "adult" else None) for file in files]
    if name == "adult":
        for table in tables:
            # the labels of the test file end in a full stop
            table.frame["income"] = table.frame["income"].str.rstrip(".")
    return tables


def open_table(
    tables: Sequence[Table],
    name: str,
    *,
    target: str | None = None,
    missing: Missing | None = None,
    encode: str | None = None,
    schema: Schema | str | Path | None = None,
    share: float | None = None,
) -> Opened:
    """A table, or two where the second is an official test split.

    target   the column that is y; None: all columns are one joint.
    missing  "value" (unless given) or "unobserved" (``TableEncoding``).
    encode   how numbers become fields: "quantile" (unless given), "bins", "mixture", or with their number "bins:32".
    schema   a schema, or a JSON file of one; what it says is taken as it is.
    share    held out by the hash of a row's contents where there is no test split.
    """
    frames = [table.frame for table in tables]
    notes = [note for table in tables[:1] for note in table.notes]
    whole = frames[0] if len(frames) == 1 else pandas_().concat(frames, ignore_index=True)
    stated = read_schema(schema) if isinstance(schema, str | Path) else schema
    found = with_rules(infer(Table(whole), stated), whole) if stated is None else infer(Table(whole), stated)
    options: dict[str, Any] = {}
    if len(frames) == 2:
        train, held = frames
        kept = "the official test split"
    else:
        share = enough(len(whole)) if share is None else share
        options = {"held_out": share}
        train, held = _split(whole, share, name)
        kept = "by the hash of their contents"
    encoding = fit(
        train, found, numbers=setting(encode or "quantile"), missing=missing or "value", target=target, whole=whole
    )
    broken = [rule.told() for rule in found.rules if rule not in encoding.arrangement.kept]
    aside = [c.name for c in found.columns if not c.learnt]
    first = (
        f"{len(whole):,} rows of {len(found.columns)} columns, {len(encoding.parts)} learnt"
        f"{'' if target is None else f' given {target}'}; {len(held):,} held out, {kept}"
    )
    said = [f"set aside: {', '.join(aside[:8])}{f' and {len(aside) - 8} more' if len(aside) > 8 else ''}"] * bool(aside)
    said += [f"not kept by construction, so counted: {'; '.join(broken)}"] * bool(broken)
    return Opened(
        train=stored(train, encoding, name),
        held_out=stored(held, encoding, f"{name} (held out)", fixed=True),
        encoding=encoding,
        notes=(first, *notes, *found.lines(), *said),
        options={**options, "encode": encode or "quantile"},
    )


def with_rules(schema: Schema, frame: Frame) -> Schema:
    """A schema with the rules that its table keeps (``constraints``)."""
    cells = cells_of(frame, schema, [c.name for c in schema.learnt])
    return replace(schema, rules=found_rules(schema, cells))


def stored(frame: Frame, encoding: TableEncoding, name: str, *, fixed: bool = False) -> Stored:
    """Rows as data: numbers are dequantised afresh in every batch, or once where they are to judge by (fixed)."""
    batch = encoding.encode(frame)
    if fixed:
        batch = encoding.jitter(batch, Rng(0)("held out"))

    def change(drawn: Batch, rng: Rng) -> Batch:
        return encoding.jitter(drawn, rng)

    return Stored(
        space=encoding.space, x=batch.x, y=batch.y, known=batch.known, name=name, change=None if fixed else change,
        fingerprint=identity(frame),
    )  # fmt: skip


def identity(frame: Frame) -> str:
    """SHA-256 of a table's rows and names, hexadecimal: the same whatever fields its columns become."""
    digest = hashlib.sha256("\x1f".join(map(str, frame.columns)).encode("utf-8", "replace"))
    digest.update(_fractions(frame).tobytes())
    return digest.hexdigest()


def _split(frame: Any, share: float, name: str) -> tuple[Frame, Frame]:
    if len(frame) < LEAST_ROWS:
        raise ValueError(f"{name}: a table of {len(frame)} rows is too small to learn from; expected {LEAST_ROWS}")
    if not 0 < share < 1:
        raise ValueError(f"the held-out share must lie between 0 and 1; got {share}")
    hashed = _fractions(frame)
    if len(np.unique(hashed)) < 2:
        raise ValueError(f"{name}: {len(frame)} equal rows cannot be split into a part to learn and one to judge")
    # where either side would be empty the rows nearest to crossing cross
    edge = min(max(share, np.nextafter(hashed.min(), 2)), hashed.max())
    held = hashed < edge
    return frame[~held].reset_index(drop=True), frame[held].reset_index(drop=True)


def _fractions(frame: Frame) -> np.ndarray:
    """A number in [0, 1) for each row, by BLAKE2b of its cells' words: equal rows fall on the same side."""
    columns = [frame[name].astype(str).tolist() for name in frame.columns]
    words = [
        int.from_bytes(hashlib.blake2b("\x1f".join(row).encode("utf-8", "replace"), digest_size=8).digest(), "little")
        for row in zip(*columns, strict=True)
    ]
    return (np.array(words, np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53
