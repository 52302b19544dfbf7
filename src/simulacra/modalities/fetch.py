"""Where known data lies, and how it gets there: a folder of the user's, a cache, or its official source."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from simulacra.modalities.names import Known

TIMEOUT = 30.0  # seconds without an answer
CHUNK = 1 << 20


def folder_of(name: str, known: Known) -> Path:
    """The folder of a known data set: under SIMULACRA_DATA, else in the cache, else fetched into it.

    Raises ValueError, in one line, where it is in neither and cannot be fetched.
    """
    assert known.folder is not None
    given = os.environ.get("SIMULACRA_DATA")
    if given and (Path(given) / known.folder).is_dir():
        return Path(given) / known.folder
    cached = cache() / known.folder
    if cached.is_dir():
        return cached
    if not known.url:
        raise ValueError(
            f"{name} is not on this computer and has no address to fetch it from: {known.by_hand} ({cached})"
        )
    fetch(name, known, cached)
    return cached


def cache() -> Path:
    """Where fetched data is kept: SIMULACRA_CACHE, or "simulacra" under the user's cache folder."""
    given = os.environ.get("SIMULACRA_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simulacra"


def fetch(name: str, known: Known, folder: Path) -> None:
    """Fetch a data set into a folder that appears whole and checked, or not at all; ValueError where it fails."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            whole = Path(temporary) / "whole"
            whole.mkdir()
            for file, url in known.url.items():
                _download(url, whole / file)
                found = sha256(whole / file)
                if found != known.sha256[file]:
                    raise ValueError(
                        f"{name}: {url} has SHA-256 {found}, expected {known.sha256[file]}; the file is damaged or"
                        " another one, nothing was kept"
                    )
                if file.endswith(".tar.gz"):
                    _unpack(whole / file, whole)
            whole.rename(folder)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f"{name} is not on this computer and cannot be fetched ({reason}); put its files into {folder} or set"
            " SIMULACRA_DATA to the folder above them"
        ) from error


def sha256(path: Path) -> str:
    """SHA-256 of a file, of its unpacked contents for a lone .gz; hexadecimal."""
    lone = path.suffix == ".gz" and not path.name.endswith(".tar.gz")
    digest = hashlib.sha256()
    with gzip.open(path) if lone else path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _download(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
        while chunk := answer.read(CHUNK):
            file.write(chunk)


def _unpack(archive: Path, folder: Path) -> None:
    """The .bin files of an archive whose hash is known, side by side in a folder; the archive goes."""
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() and member.name.endswith(".bin") else None
            if file is not None:
                (folder / Path(member.name).name).write_bytes(file.read())
    archive.unlink()
