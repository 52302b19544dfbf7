"""Pictures in a zip or tar, read in place: nothing is written, nothing may point outside, nothing may swell."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from simulacra.modalities.reading import Item

MOST_BYTES = 1 << 32  # unpacked, all members together: 4 GiB
MOST_MEMBERS = 2_000_000
SYMBOLIC_LINK = 0o120000  # the file type in the high half of a zip member's external attributes
FILE_TYPE = 0o170000
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
UNPACKERS = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".xz": lzma.open,
    ".txz": lzma.open,
    ".bz2": bz2.open,
    ".tbz2": bz2.open,
}


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.name.lower().endswith((".zip", *TAR_SUFFIXES))


def items_of_archive(path: Path) -> list[Item]:
    """The files in an archive, in the order of their paths.

    Raises ValueError for a damaged archive, and for one with a member whose path leads outside, that is a link or
    a device, or that unpacks, together with the others, to more than 4 GiB.
    """
    try:
        items = _zip(path) if path.suffix.lower() == ".zip" else _tar(path)
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path.name}: cannot be read ({error}); expected a whole zip or tar") from error
    return sorted(items, key=lambda item: item.path)


def _zip(path: Path) -> list[Item]:
    content = zipfile.ZipFile(path)  # stays open: the items read from it one by one
    infos = content.infolist()
    _check_size(sum(info.file_size for info in infos), len(infos), path)
    lock = threading.Lock()
    items = []
    for info in infos:
        _check_name(info.filename, path)
        if (info.external_attr >> 16) & FILE_TYPE == SYMBOLIC_LINK:
            raise ValueError(f"{path.name}: member {info.filename!r} is a link; expected files and folders only")
        if not info.is_dir():
            items.append(Item(info.filename, _reader(content, info, lock)))
    return items


def _reader(content: zipfile.ZipFile, info: zipfile.ZipInfo, lock: threading.Lock):
    def read() -> bytes:
        with lock, content.open(info) as file:
            # never more than the size that was counted, whatever the compressed stream goes on to say
            return file.read(info.file_size)

    return read


def _tar(path: Path) -> list[Item]:
    items, total = [], 0
    unpack = UNPACKERS.get(path.suffix.lower())
    with unpack(path, "rb") if unpack else path.open("rb") as packed:
        # read from front to back, counting: a compressed stream says nowhere how large it is
        counted = _Counted(packed, path)
        with tarfile.open(fileobj=counted, mode="r|") as tar:
            for count, member in enumerate(tar):
                total += member.size
                _check_size(total, count, path)
                _check_name(member.name, path)
                if not (member.isfile() or member.isdir()):
                    raise ValueError(f"{path.name}: member {member.name!r} is a link or a device; expected files only")
                file = tar.extractfile(member) if member.isfile() else None
                if file is not None:
                    items.append(Item(member.name.removeprefix("./"), io.BytesIO(file.read()).getvalue))
        if any(counted.tail):
            # a file cut off between two members reads as a whole one otherwise
            raise ValueError(f"{path.name}: ends without a tar's closing block of zeros; it is cut off, fetch it again")
    return items


class _Counted(io.RawIOBase):
    """A stream that refuses to give more than the most that is unpacked, and remembers how it ended."""

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        self.stream, self.path, self.given, self.tail = stream, path, 0, b""

    def read(self, size: int = -1, /) -> bytes:
        data = self.stream.read(size)
        self.given += len(data)
        self.tail = data[-tarfile.BLOCKSIZE :] or self.tail
        _check_size(self.given, 0, self.path)
        return data


def _check_size(total: int, count: int, path: Path) -> None:
    if total > MOST_BYTES or count > MOST_MEMBERS:
        raise ValueError(
            f"{path.name}: unpacks to more than {MOST_BYTES:,} bytes or {MOST_MEMBERS:,} files; unpack it yourself"
            " if you trust it, and give the folder"
        )


def _check_name(name: str, path: Path) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or PureWindowsPath(name).drive or "\\" in name:
        raise ValueError(f"{path.name}: member {name!r} leads outside the archive; refused whole")
