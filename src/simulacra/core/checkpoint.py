"""Files that are either the old ones or the new ones, whatever happens while they are written; tensors without pickle.

Everything is written under a temporary name beside its place, synced to disk, renamed, and the folder synced: a reader,
a crash or a full disk never leaves half a file. Faults of the disk become a ValueError of one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor


@contextlib.contextmanager
def told(doing: str) -> Generator[None]:
    """Faults of the file system, told in one line: ``told("write run/log.jsonl")``."""
    try:
        yield
    except OSError as error:
        remedies = {
            28: "free some space, then go on",
            122: "free some of your quota, then go on",
            30: "choose a folder that can be written to",
            13: "choose a folder you may write to",
        }
        remedy = remedies.get(error.errno or 0, "check the path and the disk")
        raise ValueError(f"cannot {doing}: {error.strerror or error}; {remedy}") from error


def sync(folder: Path) -> None:
    """Have the disk hold a folder's list of names as it is now."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. ValueError, the old file untouched, where the disk will not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with told(f"write {path}"):
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented, whole or not at all."""
    write(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON value in a file; ValueError of one line where it is missing or damaged."""
    with told(f"read {path}"):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; restore it from a copy or make it anew") from error


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with told(f"read {path}"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> str:
    """Write named tensors as safetensors, whole or not at all; the file's SHA-256, hexadecimal.

    about  free text kept in the file's header.
    """
    # safetensors wants each tensor contiguous and in storage of its own
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    content = safetensors.torch.save(own, dict(about) if about else None)
    write(path, content)
    return hashlib.sha256(content).hexdigest()


def load_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ValueError where it is missing, damaged or not the one with this digest."""
    with told(f"read {path}"):
        content = path.read_bytes()
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(
            f"{path} is not the file that was written: its SHA-256 begins {found[:12]}, {sha256[:12]} was expected;"
            " restore it from a copy or make it anew"
        )
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}; restore it from a copy or make it anew") from error
