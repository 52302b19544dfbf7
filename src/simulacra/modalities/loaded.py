"""Data that was opened, whatever it is: what to learn from, what to judge by, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulacra.core.batch import Data, Stored
from simulacra.modalities.music.events import Events
from simulacra.modalities.tables.encoding import TableEncoding
from simulacra.modalities.tokens import Encoding


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Data ready to learn from.

    train, held_out  the part to learn from and the part to judge by; their spaces are equal.
    modality         "pictures" | "points" | "text" | "pairs" | "molecules" | "music" | "frames" | "tables".
    encoding         of text, pairs and molecules: what cut it into tokens, and puts them together again.
    table            of tables: what made fields of its columns, and makes rows of them again.
    music            of music: the vocabulary of events, which puts tunes together again.
    notes            what was recognised, chosen, ignored and skipped: plain lines for a person.
    source, options  what opens the same data again: ``open_data(source, **options)``; options are JSON values.
    licence          of the data, as its source states it; consent: of the people in it, where it is known.
    """

    train: Data
    held_out: Stored
    modality: str
    notes: tuple[str, ...] = ()
    source: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "not stated"
    consent: str = "not stated"
    encoding: Encoding | None = None
    table: TableEncoding | None = None
    music: Events | None = None
