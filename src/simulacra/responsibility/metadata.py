"""Unsigned metadata that says a model made a file: where no signed manifest goes, or nobody has a certificate.

In pictures it is IPTC's DigitalSourceType in an XMP packet (IPTC Photo Metadata Standard 2023.1; XMP specification part
3: PNG keeps it in an iTXt chunk, JPEG in an APP1 segment), in PNG a text chunk beside it; in WAV the INFO list (RIFF,
"Multimedia programming interface and data specifications 1.0", 1991), in MIDI a text event at the start of the first
track (Standard MIDI Files 1.0, FF 01). Texts, tables and molecules have no place for it: a file FILE.origin.json beside
them says it, with the SHA-256 of what it is about.

None of this is signed. Anyone can write it and anyone can take it out, so that it proves nothing: it serves those who
want to know, and honest readers such as search engines.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata as packages
from pathlib import Path
from xml.sax.saxutils import quoteattr, unescape

from simulacra.responsibility.provenance import SOURCE, Origin

BESIDE = ".origin.json"
PNG, JPEG, MIDI = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"MThd"
PACKET = b"http://ns.adobe.com/xap/1.0/\0"
KEYWORD = "XML:com.adobe.xmp"
INSIDE = (".png", ".jpg", ".jpeg", ".wav", ".mid", ".midi")
UNSIGNED = "unsigned: anyone can write or remove this, so it proves nothing"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a file says of itself: its digitalSourceType, the software, and the run with its recipe's SHA-256.

    matches  of metadata beside a file, whether it is about this content; None of metadata inside.
    """

    source: str
    software: str
    origin: Origin | None = None
    matches: bool | None = None


def told_by_us(origin: Origin | None = None) -> Told:
    """What we say of what a run made."""
    return Told(source=SOURCE, software=f"simulacra {packages.version('simulacra')}", origin=origin)


def write(path: Path, told: Told) -> Path:
    """Put it into the file, or beside it where its format has no place; the file that now says it.

    Raises ValueError for a file that is not what its ending says.
    """
    kind = path.suffix.lower()
    if kind not in INSIDE:
        beside = path.with_name(path.name + BESIDE)
        beside.write_text(json.dumps(_record(told, path), indent=1) + "\n", encoding="utf-8")
        return beside
    content = path.read_bytes()
    put = {".png": _into_png, ".wav": _into_wav, ".mid": _into_midi, ".midi": _into_midi}.get(kind, _into_jpeg)
    try:
        changed = put(content, told)
    except (struct.error, IndexError):
        raise ValueError(f"{path} is no whole {kind} file; give one that is") from None
    part = path.with_name(path.name + ".part")
    part.write_bytes(changed)
    part.replace(path)
    return path


def read(path: Path) -> Told | None:
    """What a file, or one beside it, says without a signature; None where it says nothing, or is damaged."""
    beside = path.with_name(path.name + BESIDE)
    if beside.is_file():
        return _of_record(beside, path)
    content = path.read_bytes()
    try:
        if content.startswith(PNG):
            said = [body for name, body in _png_chunks(content) if name in (b"tEXt", b"iTXt")]
        elif content.startswith(JPEG):
            said = list(_jpeg_packets(content))
        elif content[:4] == b"RIFF" and content[8:12] == b"WAVE":
            said = [body for name, body in _riff_chunks(content) if name == b"LIST"]
        elif content.startswith(MIDI):
            said = list(_midi_texts(content))
        else:
            return None
    except (struct.error, IndexError):
        return None
    return _of_words(b"\n".join(said).decode("utf-8", "replace"))


# -- words ---------------------------------------------------------------------------------------------------------


def _words(told: Told) -> str:
    """One line of ASCII that a person can read, and ``_of_words`` too."""
    parts = [f"Made by a model, {told.software}", f"digitalSourceType={told.source}"]
    if told.origin is not None:
        parts += [f"run={told.origin.run}", f"recipe_sha256={told.origin.recipe}"]
    return "; ".join(parts).encode("ascii", "replace").decode()


def _of_words(said: str) -> Told | None:
    source = re.search(r"digitalSourceType=([^\s;\"<\0]+)|DigitalSourceType=\"([^\"]+)\"", said)
    if source is None:
        return None
    software = re.search(r"Made by a model, ([^;\0]+);|CreatorTool=\"([^\"]+)\"", said)
    run = re.search(r"run=([^\0]+?); recipe_sha256=([0-9a-f]+)", said)
    return Told(
        source=source[1] or source[2],
        software=(software[1] or software[2]) if software else "not said",
        origin=Origin(run=unescape(run[1]), recipe=run[2]) if run else None,
    )


def _packet(told: Told) -> bytes:
    """An XMP packet."""
    said = quoteattr(_words(told))
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'  # the identifier that the specification fixes
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        f' Iptc4xmpExt:DigitalSourceType="{told.source}" xmp:CreatorTool="{told.software}"'
        f" photoshop:Instructions={said}/></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    ).encode()


# -- formats -------------------------------------------------------------------------------------------------------


def _into_png(content: bytes, told: Told) -> bytes:
    """After the header chunk, which comes first."""
    if not content.startswith(PNG):
        raise IndexError
    end = len(PNG) + 12 + struct.unpack_from(">I", content, len(PNG))[0]
    text = b"Source\0" + _words(told).encode("latin-1")
    packet = KEYWORD.encode() + b"\0\0\0\0\0" + _packet(told)  # not compressed, no language
    return content[:end] + _png_chunk(b"tEXt", text) + _png_chunk(b"iTXt", packet) + content[end:]


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG)
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        yield name, content[at + 8 : at + 8 + size]
        at += 12 + size


def _into_jpeg(content: bytes, told: Told) -> bytes:
    if not content.startswith(JPEG):
        raise IndexError
    body = PACKET + _packet(told)
    at = 2
    # what is there first stays there: JFIF's or EXIF's own segment
    while content[at : at + 2] in (b"\xff\xe0", b"\xff\xe1"):
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    if at >= len(content) or content[at] != 0xFF:
        raise IndexError
    return content[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[at:]


def _jpeg_packets(content: bytes) -> Iterator[bytes]:
    at = 2
    while content[at] == 0xFF and content[at + 1] != 0xDA:  # until the picture itself begins
        size = struct.unpack_from(">H", content, at + 2)[0]
        body = content[at + 4 : at + 2 + size]
        if content[at + 1] == 0xE1 and body.startswith(PACKET):
            yield body
        at += 2 + size


def _into_wav(content: bytes, told: Told) -> bytes:
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise IndexError

    def entry(name: bytes, said: str) -> bytes:
        body = said.encode() + b"\0"
        return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    info = b"INFO" + entry(b"ISFT", told.software) + entry(b"ICMT", _words(told))
    whole = content + b"\0" * (len(content) % 2) + b"LIST" + struct.pack("<I", len(info)) + info
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        yield name, content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _into_midi(content: bytes, told: Told) -> bytes:
    start = 8 + struct.unpack_from(">I", content, 4)[0]
    if not content.startswith(MIDI) or content[start : start + 4] != b"MTrk":
        raise IndexError
    said = _words(told).encode()
    event = b"\0\xff\x01" + _length(len(said)) + said
    size = struct.unpack_from(">I", content, start + 4)[0]
    return content[: start + 4] + struct.pack(">I", size + len(event)) + event + content[start + 8 :]


def _length(n: int) -> bytes:
    """A quantity of variable length: seven bits a byte, the highest first."""
    out = [n & 0x7F]
    while n := n >> 7:
        out.append(n & 0x7F | 0x80)
    return bytes(reversed(out))


def _midi_texts(content: bytes) -> Iterator[bytes]:
    """The text events that stand at the start of the first track."""
    at = 16 + struct.unpack_from(">I", content, 4)[0]
    while content[at : at + 3] == b"\0\xff\x01":
        at, size = at + 3, 0
        while True:
            size, more = size << 7 | content[at] & 0x7F, content[at] & 0x80
            at += 1
            if not more:
                break
        yield content[at : at + size]
        at += size


def _record(told: Told, path: Path) -> dict[str, str]:
    said = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "digitalSourceType": told.source, "software": told.software}  # fmt: skip
    if told.origin is not None:
        said |= {"run": told.origin.run, "recipe_sha256": told.origin.recipe}
    return {**said, "note": UNSIGNED}


def _of_record(beside: Path, path: Path) -> Told | None:
    try:
        value = json.loads(beside.read_text(encoding="utf-8"))
        origin = Origin(run=value["run"], recipe=value["recipe_sha256"]) if "run" in value else None
        matches = value["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        return Told(source=value["digitalSourceType"], software=value["software"], origin=origin, matches=matches)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        return None
