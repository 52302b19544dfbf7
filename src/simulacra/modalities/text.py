"""Text files as data: documents, one a line or longer ones cut into blocks, encoded by what the training part holds.

Short texts, one a line (names, SMILES, sentences), are sequences of varying length, each with its end. Running text is
one long row of tokens: blocks to learn from are cut anew, at any place, for every batch; those to judge by lie side by
side. Likelihoods are of bytes, whatever the tokens are.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored, fingerprint
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.modalities.reading import named
from simulacra.modalities.split import content_fractions, enough
from simulacra.modalities.tokens import Characters, Encoding, fitted

SUFFIXES = (".txt", ".text", ".jsonl", ".smi")
MOST_BYTES = 1 << 28  # of a file that are read
BLOCK = 128  # tokens of a block where nobody says
LONGEST_LINE, USUAL_LINE = 512, 60  # characters of a text of its own: at most, and of the middle one
SHARE = 0.1  # of a running text that is held out: its end


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Blocks of a long row of tokens, cut at any place: the i-th begins somewhere in the i-th stretch of its length."""

    space: Space
    tokens: Tensor
    name: str
    fingerprint: str

    def __len__(self) -> int:
        return max(1, len(self.tokens) // self.space.only.shape[0])

    def batch(self, index: Tensor, rng: Rng) -> Batch:
        """Blocks int64 (b, t)."""
        (t,) = self.space.only.shape
        start = index.cpu() * t + rng("start").integers(t, (len(index),))
        return Batch(x=self.tokens.unfold(0, t, 1)[start.clamp(max=len(self.tokens) - t)].long())


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What was read: documents to learn from, those of an official test split where there is one, and plain notes."""

    train: list[str]
    test: list[str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Text ready to learn from: data, the encoding that was fitted, what was chosen, in words."""

    train: Stored | Blocks
    held_out: Stored
    encoding: Encoding
    notes: tuple[str, ...]
    options: dict[str, Any]


def is_text(path: Path) -> bool:
    """Whether a path is read as text: by its suffix, for a folder by most of what is in it."""
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES
    kinds = Counter(p.suffix.lower() for p in path.iterdir() if p.is_file())
    return sum(kinds[s] for s in SUFFIXES) * 2 > sum(kinds.values()) > 0


# -- reading ----------------------------------------------------------------------------------------------------------


def read_texts(path: Path, *, raw: bool = False, skip: float = 0.05) -> Texts:
    """The documents at a path: a file's whole text, a .jsonl's records, a folder's files.

    raw  bytes that are no UTF-8 are kept as they are: for an encoding by bytes.
    Raises ValueError, in one line, for an empty file and one that is not UTF-8; a folder's are skipped up to a share.
    """
    if not path.is_dir():
        documents, notes = _read_file(path, raw)
        return Texts(train=documents, notes=tuple(notes))
    documents, faults, notes = list[str](), dict[str, str](), list[str]()
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{path}: no text among its files; expected {', '.join(SUFFIXES)}")
    for file in files:
        try:
            found, said = _read_file(file, raw)
        except ValueError as error:
            faults[file.relative_to(path).as_posix()] = str(error).partition(": ")[2]
            continue
        documents += found
        notes += said
    if len(faults) > skip * len(files):
        name, why = next(iter(faults.items()))
        raise ValueError(
            f"{path}: {len(faults)} of {len(files)} texts cannot be read, the first {name} ({why}); at most {skip:.0%}"
            " are skipped: mend or remove them, or allow more with skip="
        )
    if faults:
        shown = [f"{name} ({why})" for name, why in faults.items()]
        notes.append(f"skipped {len(shown)} of {len(files):,} texts that cannot be read: {named(shown)}")
    return Texts(train=documents, notes=tuple(notes))


def _read_file(path: Path, raw: bool) -> tuple[list[str], list[str]]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error
    notes: list[str] = []
    if len(content) > MOST_BYTES:
        content = content[:MOST_BYTES]
        while content and content[-1] & 0xC0 == 0x80:  # not in the middle of a character
            content = content[:-1]
        content = content[:-1]
        notes.append(f"{path.name}: only its first {MOST_BYTES >> 20} MiB are read")
    text = _decoded(content, path, raw).replace("\r\n", "\n")
    if not text.strip():
        raise ValueError(f"{path}: there is no text in it; expected some")
    if path.suffix.lower() != ".jsonl":
        return [text], notes
    records: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        records.append(_text_of(line, f"{path}: line {number}"))
    return records, notes


def _decoded(content: bytes, path: Path, raw: bool) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig", "surrogateescape" if raw else "strict")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8, byte 0x{content[error.start]:02x} at place {error.start:,}; save it as UTF-8, or learn"
            " its bytes with tokens=bytes"
        ) from error


def _text_of(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON ({error}); expected a string, or an object with a text") from error
    if isinstance(value, dict):
        texts = [v for v in value.values() if isinstance(v, str)]
        value = value.get("text", texts[0] if len(texts) == 1 else None)
    if not isinstance(value, str):
        raise ValueError(f"{where} has no text; expected a string, or an object with one under 'text'")
    return value


# -- cutting and encoding ---------------------------------------------------------------------------------------------


def encoded(
    texts: Texts, name: str, *, tokens: str | None, block: int | None, cut: str | None, share: float | None
) -> Encoded:
    """Documents cut, split, encoded and described.

    tokens  "bytes", "characters", "bpe", "bpe:SIZE"; None: characters where there are few, else bytes.
    block   tokens of a block of running text; of texts of their own, the most that one may have.
    cut     "lines": a text a line; "documents": a text a document; "blocks": running text. None: what it looks like.
    """
    if block is not None and block < 2:
        raise ValueError(f"a block has at least 2 tokens; got {block}")
    if cut not in (None, "lines", "documents", "blocks"):
        raise ValueError(f"no way to cut {cut!r}; expected lines, documents or blocks")
    cut = cut or _looks_like(texts.train)
    if cut == "blocks":
        return _running(texts, name, tokens, block or BLOCK, SHARE if share is None else share)
    parts = [texts.train] if texts.test is None else [texts.train, texts.test]
    if cut == "lines":
        parts = [[line for text in part for line in text.split("\n") if line.strip()] for part in parts]
    if texts.test is None:
        share = enough(len(parts[0])) if share is None else share
        parts = split_texts(parts[0], share, name)
    return _separate(
        parts, name, tokens, block, cut, {} if texts.test is not None else {"held_out": share}, texts.notes
    )


def _looks_like(documents: Sequence[str]) -> str:
    if len(documents) > 1:
        return "documents" if max(map(len, documents)) <= LONGEST_LINE else "blocks"
    lines = documents[0].rstrip("\n").split("\n")
    lengths = [len(line) for line in lines]
    short = len(lines) >= 20 and max(lengths) <= LONGEST_LINE and statistics.median(lengths) <= USUAL_LINE
    # an empty line parts paragraphs: what stands between is running text
    return "lines" if short and min(lengths) > 0 else "blocks"


def split_texts(items: list[str], share: float, name: str) -> list[list[str]]:
    """Texts to learn from and held-out ones, by content hash, equal ones on one side; neither side is empty."""
    if not 0 < share < 1:
        raise ValueError(f"the held-out share must lie between 0 and 1; got {share}")
    if len(set(items)) < 2:
        raise ValueError(f"{name}: one text cannot be split into a part to learn and one to judge; expected two")
    hashes = [content_fractions(np.frombuffer(t.encode("utf-8", "surrogateescape"), np.uint8)[None])[0] for t in items]
    # where either side would be empty the texts nearest to crossing cross
    edge = min(max(share, np.nextafter(min(hashes), 2)), max(hashes))
    return [[t for t, h in zip(items, hashes, strict=True) if (h < edge) == held] for held in (False, True)]


def _separate(
    parts: list[list[str]],
    name: str,
    tokens: str | None,
    block: int | None,
    cut: str,
    options: dict[str, Any],
    notes: tuple[str, ...],
) -> Encoded:
    encoding = fitted(tokens, parts[0])
    said = list(notes)
    rows = [_known(encoding, part, said) for part in parts]
    most = min(max((len(r) for part in rows for r in part), default=1), block or 2 * LONGEST_LINE)
    long = [len(r) for part in rows for r in part if len(r) > most]
    if long:
        said.append(f"left out {len(long):,} texts of more than {most} tokens, the longest of {max(long):,}")
    rows = [[r for r in part if len(r) <= most] for part in rows]
    if not all(rows):
        raise ValueError(f"{name}: no text of at most {most} tokens on one side of the split; give a larger block")
    space = _space(encoding, most, varying=True)
    data = [_stored(part, space, label) for part, label in zip(rows, (name, f"{name} (held out)"), strict=True)]
    kept = "the official test split" if not options else "by content hash"
    first = (
        f"{sum(map(len, rows)):,} texts, one a {cut[:-1]}, of up to {most} of {len(encoding.sizes)} {encoding.words};"
        f" {len(data[1]):,} held out, {kept}"
    )
    return Encoded(
        train=data[0], held_out=data[1], encoding=encoding, notes=(first, *said), options={**options, "cut": cut}
    )


def _running(texts: Texts, name: str, tokens: str | None, block: int, share: float) -> Encoded:
    whole = "\n".join(texts.train)
    said = list(texts.notes)
    if texts.test is None:
        if not 0 < share < 1:
            raise ValueError(f"the held-out share must lie between 0 and 1; got {share}")
        edge = int((1 - share) * len(whole))
        sides, kept, options = [whole[:edge], whole[edge:]], f"its last {share:.0%} held out", {"held_out": share}
    else:
        sides, kept, options = [whole, "\n".join(texts.test)], "judged by the official test split", {}
    encoding = fitted(tokens, sides[:1])
    rows = [_known(encoding, [side], said)[0] for side in sides]
    if min(map(len, rows)) < block:
        raise ValueError(
            f"{name}: {len(rows[0]):,} tokens to learn from and {len(rows[1]):,} held out; expected a block of {block}"
            " of each: give more text or a smaller block"
        )
    space = _space(encoding, block, varying=False)
    kind = torch.uint8 if len(encoding.sizes) <= 256 else torch.int32
    row = torch.from_numpy(rows[0]).to(kind)
    train = Blocks(space=space, tokens=row, name=name, fingerprint=fingerprint(row))
    n = len(rows[1]) // block
    held = Stored(space=space, x=torch.from_numpy(rows[1][: n * block]).view(n, block), name=f"{name} (held out)")
    total = sum(map(len, rows))
    first = f"running text of {total:,} of {len(encoding.sizes)} {encoding.words}, in blocks of {block}; {kept}"
    return Encoded(
        train=train, held_out=held, encoding=encoding, notes=(first, *said), options={**options, "cut": "blocks"}
    )


def _known(encoding: Encoding, texts: Sequence[str], said: list[str]) -> list[np.ndarray]:
    """Texts as tokens; characters that are not in the alphabet are left out, and that is said."""
    if not isinstance(encoding, Characters):
        return [encoding.encode(text) for text in texts]
    strangers: Counter[str] = Counter()
    rows: list[np.ndarray] = []
    for text in texts:
        plain, found = encoding.without_strangers(text)
        strangers += found
        rows.append(encoding.encode(plain))
    if strangers:
        shown = named([f"{c!r} ({n:,} times)" for c, n in strangers.most_common()])
        said.append(f"left out what is not among the characters to learn from: {shown}; tokens=bytes knows all")
    return rows


def _space(encoding: Encoding, longest: int, *, varying: bool) -> Space:
    sizes = encoding.sizes
    f = Categorical(k=len(sizes), shape=(longest,), varying=varying, sizes=None if set(sizes) == {1} else sizes)
    return Space(fields={"text": f}, measure="bytes")


def _stored(rows: Sequence[np.ndarray], space: Space, name: str) -> Stored:
    x = torch.zeros(len(rows), *space.only.shape, dtype=torch.int64)
    for i, row in enumerate(rows):
        x[i, : len(row)] = torch.from_numpy(row)
    return Stored(space=space, x=x, length=torch.tensor([len(row) for row in rows]), name=name)


# -- and back ---------------------------------------------------------------------------------------------------------


def texts_of(batch: Batch, encoding: Encoding) -> list[str]:
    """The texts of a batch of tokens."""
    assert isinstance(batch.x, Tensor)
    lengths = [batch.x.shape[1]] * len(batch) if batch.length is None else batch.length.tolist()
    return [encoding.decode(row[:m]) for row, m in zip(batch.x.tolist(), lengths, strict=True)]


def write_texts(texts: Sequence[str], path: Path) -> str:
    """Write texts to .txt, one a line, parted by lines of dashes where they have lines of their own, or .jsonl."""
    if path.suffix.lower() not in (".txt", ".jsonl", ".smi"):
        raise ValueError(f"{path}: texts are written as .txt, .smi or .jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".jsonl":
        content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    else:
        several = any("\n" in text for text in texts)
        content = (f"\n{PARTED}\n" if several else "\n").join(texts) + "\n"
    path.write_text(content, encoding="utf-8", errors="replace")
    return f"{path}: {len(texts):,} texts"


PARTED = "-" * 24  # between texts that have lines of their own


def read_samples_of_text(path: Path) -> list[str]:
    """Texts that ``write_texts`` (or anyone) wrote."""
    found = read_texts(path).train
    if path.is_dir() or path.suffix.lower() == ".jsonl":
        return found
    whole = found[0].removesuffix("\n")
    return whole.split(f"\n{PARTED}\n") if f"\n{PARTED}\n" in whole else whole.split("\n")
