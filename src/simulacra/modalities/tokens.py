"""Text <-> whole numbers: bytes, characters, byte-level BPE; fitted to the part that is learned from, kept as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

KINDS = "bytes, characters, bpe, bpe:SIZE or a .json that holds an encoding"
MOST_CHARACTERS = 200  # distinct ones up to which text is cut into characters unless somebody says: beyond, into bytes
BPE_SIZE = 4_096


@runtime_checkable
class Encoding(Protocol):
    """Cuts text into tokens 0 .. k-1 and puts it together again.

    words  what the tokens are, for a person: "characters".
    sizes  bytes that each token stands for.
    streams  whether a beginning of the tokens is put together to a beginning of the text: what a prompt needs.
    """

    @property
    def words(self) -> str: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def streams(self) -> bool: ...
    def encode(self, text: str) -> np.ndarray: ...
    def decode(self, tokens: Sequence[int]) -> str: ...
    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Bytes:
    """UTF-8 bytes; whatever is no UTF-8 when it is put together is shown as the replacement character."""

    words = "bytes"
    streams = True

    @property
    def sizes(self) -> tuple[int, ...]:
        return (1,) * 256

    def encode(self, text: str) -> np.ndarray:
        """Tokens int64 (t,); a byte that was read as it is (surrogateescape) is that byte."""
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        return bytes(tokens).decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        return {"kind": "bytes"}


@dataclass(frozen=True)
class Characters:
    """Each of an alphabet's characters, in the order of their code points."""

    alphabet: str
    words = "characters"
    streams = True

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(c.encode("utf-8", "surrogatepass")) for c in self.alphabet)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {c: i for i, c in enumerate(self.alphabet)}

    def encode(self, text: str) -> np.ndarray:
        """Tokens int64 (t,); ValueError for a character outside the alphabet."""
        try:
            return np.fromiter((self._number[c] for c in text), np.int64, len(text))
        except KeyError as error:
            at = text.index(error.args[0])
            raise ValueError(
                f"the character {error.args[0]!r} at place {at} is not among the {len(self.alphabet)} of the text that"
                " was learned from; leave it out, or learn bytes"
            ) from None

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        return "".join(self.alphabet[t] for t in tokens)

    def without_strangers(self, text: str) -> tuple[str, Counter[str]]:
        """The text without characters outside the alphabet, and how often each of those occurred."""
        strangers = Counter({c: n for c, n in Counter(text).items() if c not in self._number})
        return (text.translate({ord(c): None for c in strangers}) if strangers else text), strangers

    def to_json(self) -> dict[str, Any]:
        return {"kind": "characters", "alphabet": self.alphabet}


@dataclass(frozen=True)
class BPE:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019), by ``tokenizers``; its own JSON."""

    model: str
    words = "BPE tokens"
    streams = True

    @cached_property
    def _tokenizer(self) -> Any:
        return _tokenizers().Tokenizer.from_str(self.model)

    @cached_property
    def _bytes(self) -> list[bytes]:
        # byte-level BPE writes each byte as a printable character (Radford et al. 2019, released encoder)
        back = {c: b for b, c in _printable().items()}
        vocabulary = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        return [bytes(back[c] for c in token) for token, _ in vocabulary]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(map(len, self._bytes))

    def encode(self, text: str) -> np.ndarray:
        """Tokens int64 (t,)."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        return b"".join(self._bytes[t] for t in tokens).decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        return {"kind": "bpe", "model": json.loads(self.model)}


def fitted(kind: str | None, texts: Sequence[str]) -> Encoding:
    """The encoding of that kind for texts to learn from; None: characters where there are few, else bytes."""
    if kind in (None, "characters"):
        alphabet = sorted(set().union(*texts))
        if kind is None and len(alphabet) > MOST_CHARACTERS:
            return Bytes()
        return Characters("".join(alphabet))
    if kind == "bytes":
        return Bytes()
    if kind is not None and kind.lower().endswith(".json"):
        return kept(Path(kind))
    name, _, size = (kind or "").partition(":")
    if name != "bpe" or (size and not (size.isdecimal() and 256 < int(size) <= 1 << 20)):
        raise ValueError(f"no tokens {kind!r}; expected {KINDS}; SIZE above 256")
    return BPE(_train_bpe(texts, int(size or BPE_SIZE)))


def encoding_from_json(value: Mapping[str, Any]) -> Encoding:
    """The encoding that ``to_json`` wrote; ValueError for anything else."""
    kind = value.get("kind")
    if kind == "bytes":
        return Bytes()
    if kind == "characters" and isinstance(value.get("alphabet"), str):
        return Characters(value["alphabet"])
    if kind == "bpe" and "model" in value:
        return BPE(json.dumps(value["model"]))
    raise ValueError(f"no encoding of kind {kind!r}; expected {KINDS}")


def kept(path: Path) -> Encoding:
    """The encoding that a file holds: a run's ``space/encoding.json``, or a byte-level BPE's ``tokenizer.json``."""
    value = _json(path)
    return encoding_from_json(value) if "kind" in value else byte_level(path)


def byte_level(path: Path) -> BPE:
    """The BPE of a ``tokenizer.json``; ValueError where its tokens are not strings of bytes, numbered one by one."""
    value = _json(path)
    kind = (value.get("model") or {}).get("type")
    if kind != "BPE" or "ByteLevel" not in json.dumps(value.get("decoder")) + json.dumps(value.get("pre_tokenizer")):
        raise ValueError(f"{path}: a tokenizer of kind {kind!r} cannot be read; expected byte-level BPE, as GPT-2 has")
    found = BPE(json.dumps(value))
    numbers = sorted(found._tokenizer.get_vocab().values())
    if numbers != list(range(len(numbers))):
        raise ValueError(f"{path}: tokens are not numbered one by one from 0; expected no gaps")
    try:
        found.sizes  # noqa: B018
    except KeyError as error:
        raise ValueError(f"{path}: the character {error.args[0]!r} of a token stands for no byte") from error
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no encoding can be read from it ({error}); expected {KINDS}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: this JSON holds no encoding; expected {KINDS}")
    return value


def _train_bpe(texts: Iterable[str], size: int) -> str:
    tokenizers = _tokenizers()
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    model.train_from_iterator(texts, trainer)
    return model.to_str()


def _printable() -> dict[int, str]:
    """The printable character that stands for each byte: itself where it is one, else one from 256 on, in order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in set(plain)]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def _tokenizers() -> Any:
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ImportError("BPE needs the package tokenizers: pip install 'simulacra[text]'") from error
    return tokenizers
