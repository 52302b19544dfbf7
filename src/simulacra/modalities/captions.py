"""Captions: what is written of pictures, found in the files beside them, and text as the bytes that models are told.

A caption is UTF-8 bytes up to a length; 0, which no text holds, stands beyond its end. Text is put in one form first:
composed characters (NFC), lower case, single spaces.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from simulacra.core.space import Categorical, Classes, Space
from simulacra.modalities import emoji
from simulacra.modalities.labelling import listed
from simulacra.modalities.reading import Item, named

MEASURE = "UTF-8 bytes"
FILES = ("captions.txt", "captions.csv", "captions.jsonl", "metadata.jsonl")
FILE_KEYS, TEXT_KEYS = ("file", "file_name"), ("caption", "text")  # file_name and text: the hub's folders of pictures


def caption_space(longest: int) -> Space:
    """The space of captions of up to so many bytes."""
    return Space(fields={"caption": Categorical(k=256, shape=(longest,), varying=True)}, measure=MEASURE)


def is_captions(space: Classes | Space | None) -> bool:
    """Whether a condition is captions."""
    return isinstance(space, Space) and space.measure == MEASURE and space.layout == "sequence"


def plain(text: str) -> str:
    """A text in the form that models are told it in."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def cut(text: str, longest: int) -> str:
    """A plain text up to so many bytes, cut between characters."""
    return plain(text).encode()[:longest].decode(errors="ignore").rstrip()


def encode(texts: Sequence[str], longest: int) -> tuple[Tensor, Tensor]:
    """Texts as bytes int64 (n, longest) and their lengths int64 (n,); ValueError for one that is empty or too long."""
    rows = [plain(text).encode() for text in texts]
    for text, row in zip(texts, rows, strict=True):
        if not row:
            raise ValueError(f"a caption is at least one letter; got {text!r}")
        if len(row) > longest:
            raise ValueError(
                f"a caption has at most {longest} bytes; got {len(row)}, beginning {text[:20]!r}: shorten it"
            )
        if 0 in row:
            raise ValueError(f"a caption holds no zero bytes; got {text[:20]!r}")
    padded = [list(row.ljust(longest, b"\0")) for row in rows]
    return torch.tensor(padded, dtype=torch.int64).reshape(-1, longest), torch.tensor([len(row) for row in rows])


def decode(rows: Tensor) -> list[str]:
    """The texts that rows of bytes (n, longest) hold, each up to its first 0."""
    return [bytes(row).split(b"\0")[0].decode(errors="replace") for row in rows.tolist()]


def captions_of(paths: Sequence[str], everything: Sequence[str], items: Sequence[Item], name: str) -> list[str | None]:
    """What is written of the pictures at these paths: None for one of which nothing is, emoji without a name alone.

    everything  paths of all pictures, those that cannot be read among them: a captions.txt has a line for each.
    items       all files: one of ``FILES`` among them holds the captions, else emoji are known by their files' names.

    Raises ValueError where there are no captions, pictures without one, and empty ones.
    """
    beside = {item.path: item for item in items}
    found = next((beside[file] for file in FILES if file in beside), None)
    if found is None:
        if all(emoji.is_emoji(path) for path in paths):
            return [emoji.caption_of(path) for path in paths]
        raise ValueError(f"{name}: no captions; expected {', '.join(FILES[:-1])} beside the pictures")
    known = _objects(found, name) if found.path.endswith(".jsonl") else listed(found, everything, name, "captions")
    if missing := [path for path in paths if path not in known]:
        raise ValueError(f"{name}: {found.path} has no line for {len(missing)} pictures: {named(missing)}")
    if empty := [path for path in paths if not plain(known[path])]:
        raise ValueError(f"{name}: {len(empty)} captions are empty: {named(empty)}; write them, or remove the pictures")
    return [known[path] for path in paths]


def _objects(item: Item, name: str) -> Mapping[str, str]:
    """File -> caption from lines that are JSON objects."""
    known: dict[str, str] = {}
    for number, line in enumerate(item.read().decode("utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            file = next(value[key] for key in FILE_KEYS if key in value)
            known[str(file)] = str(next(value[key] for key in TEXT_KEYS if key in value))
        except (ValueError, TypeError, StopIteration) as error:
            raise ValueError(
                f"{name}: line {number} of {item.path} is not an object with a file and a caption"
            ) from error
    return known
