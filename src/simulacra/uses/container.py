"""The file that ``compress`` writes: a header that says what it takes to read it, the payload, and a checksum of both.

    magic "SMLC" | version, uint16 | header length, uint32 | payload length, uint64 | header | payload | CRC-32

all little-endian; the header is JSON, deflated; the CRC is of every byte before it, so that one flipped bit anywhere is
told. A file cut short is told by its lengths.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

MAGIC = b"SMLC"
VERSION = 2  # 1 had no backend but one, and codes of one fineness
_FRONT = struct.Struct("<4sHIQ")
_CRC = struct.Struct("<I")
MOST_HEADER = 1 << 24  # bytes a header may inflate to


def pack(header: Mapping[str, Any], payload: bytes) -> bytes:
    """The bytes of a file."""
    text = zlib.compress(json.dumps(header, separators=(",", ":"), sort_keys=True).encode(), 9)
    body = _FRONT.pack(MAGIC, VERSION, len(text), len(payload)) + text + payload
    return body + _CRC.pack(zlib.crc32(body))


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and payload of a file's bytes.

    Raises ValueError, in one line, for what is no such file, is cut short or damaged, or has another version.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise ValueError(f"not a compressed file: it begins with {data[:4]!r}, expected {MAGIC!r}")
    if len(data) < _FRONT.size:
        raise ValueError(f"the file is cut short: {len(data)} bytes, its front alone has {_FRONT.size}; copy it again")
    _, version, header_length, payload_length = _FRONT.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"the file has format {version}, this version reads {VERSION}: upgrade, or it is damaged")
    expected = _FRONT.size + header_length + payload_length + _CRC.size
    if len(data) != expected:
        how = "cut short" if len(data) < expected else "damaged"
        raise ValueError(f"the file is {how}: {len(data):,} bytes, expected {expected:,}; copy it again")
    if zlib.crc32(data[: -_CRC.size]) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise ValueError("the file is damaged: its checksum does not fit its contents; copy it again")
    middle = _FRONT.size + header_length
    try:
        inflate = zlib.decompressobj()
        header = json.loads(inflate.decompress(data[_FRONT.size : middle], MOST_HEADER))
        if not isinstance(header, dict):
            raise TypeError("no mapping")
    except (zlib.error, ValueError, TypeError) as error:
        raise ValueError(f"the file's header cannot be read ({error}); it was not written by compress") from error
    return header, data[middle : -_CRC.size]
