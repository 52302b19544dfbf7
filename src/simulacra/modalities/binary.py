"""Pictures in binary files: IDX (LeCun, Cortes & Burges 1998) and the layout of CIFAR-10, also gzipped or xz-packed."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

MOST_BYTES = 1 << 33  # a file that unpacks to more than 8 GiB is refused before it is read
IDX_UINT8 = 0x08  # the third byte of an IDX magic number; the fourth is the number of dimensions
CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then 1,024 red, green and blue levels, row by row


def open_packed(path: Path) -> io.BufferedIOBase:
    """A file opened for reading bytes, unpacked on the way where its name ends in .gz or .xz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    return path.open("rb")


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array an IDX file holds, of the shape it says; ValueError for a wrong magic number or length."""
    try:
        with open_packed(path) as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != bytes([0, 0, IDX_UINT8]) or not 1 <= magic[3] <= 4:
                raise ValueError(
                    f"{path.name}: magic number {magic.hex() or 'none'}; expected IDX of unsigned bytes, 00000801"
                    " to 00000804"
                )
            extents = file.read(4 * magic[3])
            if len(extents) < 4 * magic[3]:
                raise ValueError(f"{path.name}: ends inside its header; the file is cut off, fetch it again")
            shape = struct.unpack(f">{magic[3]}I", extents)
            data = _exactly(file, math.prod(shape), path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path.name}: cannot be read ({error}); fetch it again") from error
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 3, 32, 32) and labels (n,), uint8, of a CIFAR-10 binary file; ValueError where it is not one."""
    try:
        with open_packed(path) as file:
            data = file.read(MOST_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path.name}: cannot be read ({error}); fetch it again") from error
    if not data or len(data) % CIFAR_RECORD:
        raise ValueError(f"{path.name}: {len(data)} bytes; expected CIFAR-10 records of {CIFAR_RECORD} bytes each")
    records = np.frombuffer(data, np.uint8).reshape(-1, CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{path.name}: label {records[:, 0].max()}; expected CIFAR-10's 0 .. 9")
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def read_cifars(paths: list[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Several CIFAR-10 files, in the order given; unpacked side by side, because xz takes seconds."""
    with ThreadPoolExecutor(max_workers=len(paths)) as pool:
        return list(pool.map(read_cifar, paths))


def _exactly(file: io.BufferedIOBase, size: int, path: Path) -> bytes:
    """size bytes and then the end of the file; ValueError otherwise. Never unpacks more than one byte too many."""
    if size > MOST_BYTES:
        raise ValueError(f"{path.name}: says it holds {size:,} bytes; the most that is read is {MOST_BYTES:,}")
    data = file.read(size + 1)
    if len(data) != size:
        found = "more" if len(data) > size else f"{len(data):,}"
        raise ValueError(f"{path.name}: its header promises {size:,} bytes, it holds {found}; fetch it again")
    return data
