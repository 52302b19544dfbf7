"""What several verbs share: how data is named, what is said, how results are written."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loading:
    """How the data is read.

    Attributes:
        size: side of the pictures, or HEIGHTxWIDTH; others are cropped to its shape and resized. None: their own.
        binarise: black and white pictures: "threshold" at half, "dynamic" drawn anew each time from the grey level.
        channels: 1 grey, 3 RGB, 4 RGBA; what most pictures have unless given, transparency laid on white.
        given: what each picture comes with, to learn the way from it: caption, low_resolution, grey, sketch or noisy,
            with its number where it has one (low_resolution:2).
        held_out: share held out by content hash, where the data has no official test split.
        skip: largest share of unreadable pictures, or texts, that is skipped rather than refused.
        labels: a file of labels, where none is recognised; "none" leaves labels aside, so that p(x) is learnt.
        modality: what the data is, where that is not recognised: pictures, points, text, pairs (of sentences),
            molecules, music, frames (of keys) or tables.
        tokens: what text is cut into: bytes, characters, bpe or bpe:SIZE; characters where there are few unless given;
            of molecules smiles, nested (which tells what is open) or selfies; of pairs bpe, bpe:SIZE or bytes; of
            frames keys, one after another, or roll, all 88 at once.
        block: tokens of a block of running text; of texts of their own, molecules and pieces of music, the most of one.
        cut: what a text is: a line, a document, or a block of running text; what it looks like unless given.
        spelling: of molecules: learnt in canonical SMILES, in a random one every time, or in Kekule form, rings as
            single and double bonds in turn.
        transpose: of frames of keys: semitones up and down that each tune is moved by, at most, afresh every time.
        languages: of pairs of sentences: from which to which, such as de-en, where there are more than two.
        target_column: of a table: the column that is to be the class; all columns are learnt as one joint unless given.
        missing: of a table: whether what is missing is a value like others, or unobserved, to be summed out.
        encode: of a table: how numbers become fields: quantile, bins, mixture, or bins:32; the family's unless given.
        schema: of a table: a JSON file that says what its columns are (simulacra data TABLE --schema-out FILE).
    """

    size: str | None = None
    binarise: Literal["threshold", "dynamic"] | None = None
    channels: Literal[1, 3, 4] | None = None
    given: str | None = None
    held_out: float | None = None
    skip: float | None = None
    labels: str | None = None
    modality: str | None = None
    tokens: str | None = None
    block: int | None = None
    cut: Literal["lines", "documents", "blocks"] | None = None
    spelling: Literal["canonical", "random", "kekule"] | None = None
    transpose: int | None = None
    languages: str | None = None
    target_column: str | None = None
    missing: Literal["value", "unobserved"] | None = None
    encode: str | None = None
    schema: str | None = None

    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``open_data``; those not given are left out."""
        given: dict[str, Any] = {
            "size": None if self.size is None else extent(self.size),
            "binarise": self.binarise,
            "channels": self.channels,
            "given": self.given,
            "held_out": self.held_out,
            "skip": self.skip,
            "labels": self.labels,
            "modality": self.modality,
            "tokens": self.tokens,
            "block": self.block,
            "cut": self.cut,
            "spelling": self.spelling,
            "transpose": self.transpose,
            "languages": self.languages,
            "target": self.target_column,
            "missing": self.missing,
            "encode": self.encode,
            "schema": self.schema,
        }
        return {name: value for name, value in given.items() if value is not None}


def extent(text: str) -> tuple[int, int]:
    """ "32" or "24x32" as (height, width); ValueError for anything else."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise ValueError(f"a size is a number of pixels or HEIGHTxWIDTH; got {text!r}")
    return int(parts[0]), int(parts[-1])


def say(line: str) -> None:
    """A line to the person, at once."""
    print(line, flush=True)


def warn(line: str) -> None:
    """A line beside the output proper, so that pipes stay clean."""
    print(line, file=sys.stderr, flush=True)
