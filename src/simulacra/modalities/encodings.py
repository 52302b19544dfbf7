"""Every encoding there is, read back from what it wrote: of text, of molecules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simulacra.modalities import tokens
from simulacra.modalities.molecules.tokens import Nested, Selfies, Smiles
from simulacra.modalities.tokens import Encoding

READERS: dict[str, Callable[[Mapping[str, Any]], Encoding]] = {
    "smiles": lambda value: Smiles(tuple(value["alphabet"])),
    "nested": lambda value: Nested(tuple(value["alphabet"])),
    "selfies": lambda value: Selfies(tuple(value["alphabet"])),
}


def encoding_from_json(value: Mapping[str, Any]) -> Encoding:
    """The encoding that ``to_json`` wrote; ValueError for anything else."""
    read = READERS.get(str(value.get("kind")))
    return tokens.encoding_from_json(value) if read is None else read(value)
