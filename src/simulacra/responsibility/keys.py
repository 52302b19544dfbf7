"""Secret keys that marks are made with and looked for with, and the streams derived from them.

A key file is JSON: {"simulacra key": 1, "secret": 64 hexadecimal digits, "check": the first 16 of their SHA-256}. It is
made readable by its owner alone, is never overwritten, and its secret is never shown: ``repr`` tells the key's public
name, 8 bytes of a keyed hash, from which nothing of the secret follows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SIZE = 32  # bytes
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Key:
    """32 secret bytes."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SIZE:
            raise ValueError(f"a key has {SIZE} bytes; got {len(self.secret)}: make one with Key.new()")

    @staticmethod
    def new() -> Key:
        """A key from the system's own source of randomness."""
        return Key(secret=secrets.token_bytes(SIZE))

    @property
    def name(self) -> str:
        """What the key may be called in public: 16 hexadecimal digits."""
        return self._derived("name").hex()[:16]

    def __repr__(self) -> str:
        return f"Key({self.name})"

    def bits(self, purpose: str, count: int, about: bytes = b"") -> np.ndarray:
        """So many independent fair bits, bool (count,), that are a function of key, purpose and what they are about.

        The purpose's own key is HMAC-SHA256 of its name (as in HKDF's expansion, RFC 5869), the stream SHAKE-256.
        """
        stream = self.stream(purpose, (count + 7) // 8, about)
        return np.unpackbits(np.frombuffer(stream, np.uint8), count=count).astype(bool)

    def stream(self, purpose: str, count: int, about: bytes = b"") -> bytes:
        """So many random bytes, likewise: those that ``bits`` are taken from."""
        return hashlib.shake_256(self._derived(purpose) + about).digest(count)

    def shares(self, purpose: str, count: int) -> np.ndarray:
        """So many independent uniform numbers in [0, 1), float64 (count,), a function of key and purpose."""
        stream = hashlib.shake_256(self._derived(purpose)).digest(4 * count)
        return np.frombuffer(stream, "<u4") * 2.0**-32

    def order(self, purpose: str, count: int) -> np.ndarray:
        """A random order of 0 .. count-1, a function of key and purpose."""
        stream = hashlib.shake_256(self._derived(purpose)).digest(8 * count)
        return np.argsort(np.frombuffer(stream, "<u8"), kind="stable")

    def _derived(self, purpose: str) -> bytes:
        return hmac.new(self.secret, b"simulacra mark " + purpose.encode(), hashlib.sha256).digest()


def write_new_key(path: Path) -> Key:
    """Make a key and its file, readable by its owner alone; ValueError where the file exists already."""
    key = Key.new()
    value = {"simulacra key": FORMAT, "secret": key.secret.hex(), "check": _check(key.secret)}
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ValueError(f"{path} exists, and a key is never overwritten: what it marked could not be found any more;"
                         " give another name") from None  # fmt: skip
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}; choose a folder you may write to") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key(path: Path) -> Key:
    """The key in a file; ValueError, which shows nothing of it, where there is none or it is not whole."""
    remedy = "restore it from a copy, or make one with `simulacra mark --new-key FILE`"
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "cannot be read") if isinstance(error, OSError) else "no text"
        raise ValueError(f"no key at {path} ({why}); {remedy}") from None
    try:
        value = json.loads(content)
        number, secret, check = int(value["simulacra key"]), bytes.fromhex(value["secret"]), value["check"]
    except (ValueError, KeyError, TypeError):
        # the cause is not chained: it would quote the secret
        raise ValueError(f"{path} is no key, or not a whole one; {remedy}") from None
    if number != FORMAT:
        raise ValueError(f"{path} holds a key of format {number}; this version reads {FORMAT}: upgrade simulacra")
    if len(secret) != SIZE or check != _check(secret):
        raise ValueError(f"{path} is no whole key: its digits do not agree with their check; {remedy}")
    return Key(secret=secret)


def _check(secret: bytes) -> str:
    return hashlib.sha256(b"simulacra key check " + secret).hexdigest()[:16]
