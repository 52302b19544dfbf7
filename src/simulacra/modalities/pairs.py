"""Line-aligned pairs of sentences: one file a language, the same line a translation of the same line.

The target is what is learnt, given the source as its condition. Both are cut by one encoding, fitted to both sides of
the training part. In a source tokens are numbered from 1: 0, which no sentence holds, stands beyond its end.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.space import Categorical, Classes, Space
from simulacra.modalities import recognise
from simulacra.modalities.loaded import Loaded
from simulacra.modalities.names import KNOWN
from simulacra.modalities.reading import named
from simulacra.modalities.split import enough
from simulacra.modalities.text import MOST_BYTES, split_texts, texts_of
from simulacra.modalities.tokens import Encoding, fitted

SOURCE = "source tokens"  # the measure of the space of sources, by which one is known
BLOCK = 128  # tokens of a sentence that is learnt from, at most, unless somebody says
FILE = re.compile(r"(?P<part>.+?)\.(?P<language>[a-z]{2,3})(\.gz)?")  # train.de, test_2016_flickr.en.gz
# endings of two or three letters that tell no language
NOT_LANGUAGES = {
    "txt",
    "csv",
    "tsv",
    "npy",
    "npz",
    "png",
    "jpg",
    "gif",
    "bmp",
    "mid",
    "wav",
    "smi",
    "zip",
    "tar",
    "bin",
}
TRAIN, TEST = ("train",), ("test",)


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


# -- which files ------------------------------------------------------------------------------------------------------


def parts_of(folder: Path) -> dict[str, dict[str, Path]]:
    """Part -> language -> file, of the parts of a folder that are there in two languages or more."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = FILE.fullmatch(path.name)
        if match and match["language"] not in NOT_LANGUAGES and path.is_file():
            found.setdefault(match["part"], {})[match["language"]] = path
    return {part: files for part, files in found.items() if len(files) > 1}


def pairs_path(text: str, modality: str | None, languages: str | None) -> Path | None:
    """Where pairs lie that a name means; None for anything else.

    A folder with train.XX and train.YY is known by that; a single file where the modality or the languages are said.
    """
    known = KNOWN.get(text)
    if known is not None:
        return recognise.find(text, known) if known.modality == "pairs" else None
    path = Path(text).expanduser()
    # os.path says no where a name is too long for a path; whoever reads it next tells so
    if os.path.isdir(path) and (
        modality == "pairs" or (modality is None and any(_is(p, TRAIN) for p in parts_of(path)))
    ):
        return path
    if (modality == "pairs" or (modality is None and languages is not None)) and os.path.exists(path):
        return path
    if modality == "pairs":
        raise ValueError(f"{text}: no such folder; expected one with train.XX and train.YY, a file a language")
    return None


def _is(part: str, kinds: Sequence[str]) -> bool:
    return re.split(r"[._-]", part.lower())[0] in kinds


def _languages(path: Path, files: dict[str, Path], languages: str | None) -> tuple[str, str]:
    """Source and target; ValueError where they are not said and there are several, or are not there."""
    if languages is None:
        if len(files) != 2:
            raise ValueError(
                f"{path}: sentences in {', '.join(files)}; say from which to which with languages=, such as"
                f" {'-'.join(list(files)[:2])}"
            )
        first, second = files
        return first, second
    source, _, target = languages.partition("-")
    if source == target or not {source, target} <= set(files):
        raise ValueError(
            f"{path}: no languages {languages!r}; expected two of {', '.join(files)}, such as"
            f" {'-'.join(list(files)[:2])}"
        )
    return source, target


# -- reading ----------------------------------------------------------------------------------------------------------


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, gzip or not, without the spaces at their ends; ValueError, in a line, for a fault."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: more than {MOST_BYTES >> 20} MiB; expected less, split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}: not UTF-8, byte 0x{content[error.start]:02x} in line {line:,}; save it as UTF-8"
        ) from error
    if not text.strip():
        raise ValueError(f"{path}: there is no text in it; expected a sentence a line")
    # only a newline ends a line: other separators that Unicode knows would tear the two files apart
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def read_pairs(source: Path, target: Path, said: list[str]) -> list[Pair]:
    """The pairs of two files; those with an empty side are left out, which is ``said``.

    ValueError where the files have not as many lines, which names the first line without a partner.
    """
    sides = [read_lines(path) for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        longer = 0 if len(sides[0]) > len(sides[1]) else 1
        at = min(map(len, sides))
        raise ValueError(
            f"{source.name} has {len(sides[0]):,} lines and {target.name} {len(sides[1]):,}; expected as many: line"
            f" {at + 1:,} of {(source, target)[longer].name}, {sides[longer][at][:30]!r}, has no partner"
        )
    found = [Pair(*both) for both in zip(*sides, strict=True)]
    empty = [f"line {i:,}" for i, pair in enumerate(found, 1) if not (pair.source and pair.target)]
    if empty:
        said.append(
            f"left out {len(empty):,} pairs of {source.name} and {target.name} with an empty side: {named(empty)}"
        )
    return [pair for pair in found if pair.source and pair.target]


# -- ready to learn from ----------------------------------------------------------------------------------------------


def pairs(
    name: str, path: Path, *, languages: str | None, tokens: str | None, block: int | None, held_out: float | None
) -> Loaded:
    """Pairs ready to learn from: of a known name, of a folder, or of one file and its partner beside it.

    languages  SOURCE-TARGET, such as de-en; needed where there are more than two.
    tokens     "bpe", "bpe:SIZE" or "bytes", fitted to both sides; bpe unless given.
    block      the most tokens of a sentence; pairs with a longer one are left out, which is said.
    held_out   share held out by content hash, where there is no part called test.
    """
    known, said = KNOWN.get(name), list[str]()
    if tokens == "characters":
        raise ValueError(f"{name}: pairs are cut into bpe, bpe:SIZE or bytes; got characters, which may lack one")
    parts = parts_of(path if path.is_dir() else path.parent)
    match = None if path.is_dir() else FILE.fullmatch(path.name)
    part = next((p for p in parts if _is(p, TRAIN)), None) if match is None else match["part"]
    if part is None or part not in parts:
        where = path if path.is_dir() else path.parent
        raise ValueError(f"{where}: no part in two languages; expected files such as train.de and train.en")
    if languages is None and match is not None and len(parts[part]) == 2:
        languages = "-".join([match["language"], *(one for one in parts[part] if one != match["language"])])
    if languages is None and known is not None:
        languages = known.languages
    source, target = _languages(path, parts[part], languages)
    train = read_pairs(parts[part][source], parts[part][target], said)
    tests = [p for p in parts if _is(p, TEST) and {source, target} <= set(parts[p])] if match is None else []
    split: dict[str, float] = {}
    if tests:
        held = read_pairs(parts[tests[0]][source], parts[tests[0]][target], said)
        kept = f"the part {tests[0]}"
    else:
        share = enough(len(train)) if held_out is None else held_out
        split, kept = {"held_out": share}, "by content hash"
        sides = split_texts(["\n".join(pair) for pair in train], share, name)
        train, held = ([Pair(*text.split("\n")) for text in side] for side in sides)
    if aside := [p for p in parts if p not in (part, *tests[:1]) and match is None]:
        said.append(f"left aside: {', '.join(aside)}")
    encoding = fitted(tokens or "bpe", [side for pair in train for side in pair])
    loaded = _stored(name if known else path.name, (train, held), encoding, block or BLOCK, said)
    first = (
        f"{len(loaded[0]) + len(loaded[1]):,} pairs of sentences, {source} to {target}, of up to"
        f" {loaded[0].space.only.shape[0]} of {len(encoding.sizes)} {encoding.words};"
        f" {len(loaded[1]):,} held out, {kept}"
    )
    return Loaded(
        train=loaded[0],
        held_out=loaded[1],
        modality="pairs",
        notes=(first, *said),
        options={**split, "languages": f"{source}-{target}"},
        encoding=encoding,
    )


def _stored(
    name: str, parts: Sequence[Sequence[Pair]], encoding: Encoding, most: int, said: list[str]
) -> tuple[Stored, Stored]:
    """The training and the held-out part, cut into tokens; pairs with a sentence of more than ``most`` left out."""
    rows = [[[encoding.encode(side) for side in pair] for pair in part] for part in parts]
    longest = [max(map(len, both)) for part in rows for both in part]
    if long := [n for n in longest if n > most]:
        said.append(
            f"left out {len(long):,} pairs with a sentence of more than {most} tokens, the longest of {max(long):,}"
        )
    rows = [[both for both in part if max(map(len, both)) <= most] for part in rows]
    if not all(rows):
        raise ValueError(
            f"{name}: no pair of at most {most} tokens a side on one side of the split; give a larger block"
        )
    sizes, everything = encoding.sizes, [both for part in rows for both in part]
    room = [max(len(both[side]) for both in everything) for side in (0, 1)]
    space = Space(
        fields={
            "target": Categorical(
                k=len(sizes), shape=(room[1],), varying=True, sizes=None if set(sizes) == {1} else sizes
            )
        },
        y=Space(fields={"source": Categorical(k=len(sizes) + 1, shape=(room[0],), varying=True)}, measure=SOURCE),
        measure="bytes",
    )
    found: list[Stored] = []
    for part, label in zip(rows, (name, f"{name} (held out)"), strict=True):
        y, x = (torch.zeros(len(part), n, dtype=torch.int64) for n in room)
        for i, (source, target) in enumerate(part):
            y[i, : len(source)], x[i, : len(target)] = torch.from_numpy(source) + 1, torch.from_numpy(target)
        lengths = [torch.tensor([len(both[side]) for both in part]) for side in (0, 1)]
        found.append(Stored(space=space, x=x, y=y, length=lengths[1], y_length=lengths[0], name=label))
    return found[0], found[1]


# -- and back ---------------------------------------------------------------------------------------------------------


def source_space(space: Space) -> Space | None:
    """The space of a model's sources; None for a model that is given no sentences."""
    y: Classes | Space | None = space.y
    return y if isinstance(y, Space) and y.measure == SOURCE else None


def encode_sources(texts: Sequence[str], space: Space, encoding: Encoding) -> Tensor:
    """Sentences as a model is given them, int64 (n, longest); ValueError for one that is empty or too long."""
    sources = source_space(space)
    if sources is None:
        raise ValueError("this model is given no sentences; expected a run of pairs")
    y = torch.zeros(len(texts), *sources.only.shape, dtype=torch.int64)
    for i, text in enumerate(texts):
        row = encoding.encode(text.strip())
        if not 0 < len(row) <= y.shape[1]:
            told = f"sentence {i + 1}, {text.strip()[:30]!r}, " if len(texts) > 1 else "the sentence "
            what = f"has {len(row):,} tokens" if len(row) else "is empty"
            raise ValueError(
                f"{told}{what}; this model reads 1 to {y.shape[1]} tokens: {'split' if len(row) else 'leave'} it"
                f"{'' if len(row) else ' out'}"
            )
        y[i, : len(row)] = torch.from_numpy(row) + 1
    return y


def sources_of(batch: Batch, encoding: Encoding) -> list[str]:
    """The source sentences of a batch."""
    assert isinstance(batch.y, Tensor)
    return [encoding.decode([t - 1 for t in row if t]) for row in batch.y.tolist()]


def targets_of(batch: Batch, encoding: Encoding) -> list[str]:
    """The target sentences of a batch."""
    return texts_of(batch, encoding)
