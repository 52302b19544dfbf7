"""Unsigned metadata: written where each format has a place for it, read back, and files stay what they were."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simulacra.responsibility import metadata
from simulacra.responsibility.provenance import SOURCE, Origin

ORIGIN = Origin(run="digits vae & co", recipe="ab" * 32)


def made(folder: Path, kind: str) -> Path:
    path = folder / f"x{kind}"
    if kind in (".png", ".jpg"):
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
    elif kind == ".wav":
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(b"\1\2" * 51)
    elif kind == ".mid":
        track = b"\0\xff\x51\x03\x07\xa1\x20\0\x90\x40\x40\x60\x80\x40\x40\0\xff\x2f\0"
        path.write_bytes(b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">I", len(track)) + track)
    else:
        path.write_text("a,b\n1,2\n")
    return path


def content(path: Path) -> object:
    """What a file holds, as a reader that knows nothing of us has it."""
    if path.suffix in (".png", ".jpg"):
        return np.array(Image.open(path)).tolist()
    if path.suffix == ".wav":
        with wave.open(str(path)) as file:
            return file.getparams(), file.readframes(1000)
    if path.suffix == ".mid":
        mido = pytest.importorskip("mido")
        return [m for m in mido.MidiFile(path) if m.type != "text"]
    return path.read_bytes()


@pytest.mark.parametrize("kind", [".png", ".jpg", ".wav", ".mid", ".csv", ".smi"])
def test_what_is_written_is_read_and_the_file_is_what_it_was(kind, tmp_path):
    path = made(tmp_path, kind)
    before = content(path)
    assert metadata.read(path) is None
    for origin in (None, ORIGIN):
        where = metadata.write(path := made(tmp_path, kind), metadata.told_by_us(origin))
        said = metadata.read(path)
        assert said is not None
        assert (said.source, said.origin, said.software[:9]) == (SOURCE, origin, "simulacra")
        assert content(path) == before
        assert (where == path) == (kind in metadata.INSIDE)


def test_others_read_it_too(tmp_path):
    for kind in (".png", ".jpg"):
        metadata.write(path := made(tmp_path, kind), metadata.told_by_us(ORIGIN))
        with Image.open(path) as image:
            assert SOURCE.encode() in image.info["xmp"] if kind == ".jpg" else SOURCE in image.text["XML:com.adobe.xmp"]
            if kind == ".png":
                assert ORIGIN.recipe in image.text["Source"]


def test_what_others_write_is_read(tmp_path):
    packet = f'<x:xmpmeta><rdf:Description Iptc4xmpExt:DigitalSourceType="{SOURCE}"/></x:xmpmeta>'.encode()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "x.jpg", xmp=packet)
    said = metadata.read(tmp_path / "x.jpg")
    assert said == metadata.Told(source=SOURCE, software="not said")


def test_metadata_beside_a_file_is_about_its_content(tmp_path):
    path = made(tmp_path, ".csv")
    metadata.write(path, metadata.told_by_us(ORIGIN))
    assert metadata.read(path).matches is True
    path.write_text("a,b\n3,4\n")
    assert metadata.read(path).matches is False
    path.with_name("x.csv.origin.json").write_text("{")
    assert metadata.read(path) is None


def test_lengths_are_those_of_midi_files():
    # Standard MIDI Files 1.0, the table of variable-length quantities
    table = {0: "00", 0x40: "40", 0x7F: "7f", 0x80: "8100", 0x2000: "c000", 0x3FFF: "ff7f", 0x200000: "81808000"}
    assert {n: metadata._length(n).hex() for n in table} == table


@pytest.mark.parametrize("kind", [".png", ".jpg", ".wav", ".mid"])
def test_damaged_files_are_refused_and_read_as_saying_nothing(kind, tmp_path):
    path = made(tmp_path, kind)
    for damaged in (b"", path.read_bytes()[:9], b"something else altogether, of some length"):
        path.write_bytes(damaged)
        assert metadata.read(path) is None
        with pytest.raises(ValueError, match=f"no whole {kind} file"):
            metadata.write(path, metadata.told_by_us())
        assert path.read_bytes() == damaged


def test_a_file_with_something_between_is_kept_whole(tmp_path):
    """The segments of a JPEG that come first stay first."""
    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(out, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    (tmp_path / "x.jpg").write_bytes(out.getvalue())
    metadata.write(tmp_path / "x.jpg", metadata.told_by_us())
    assert (tmp_path / "x.jpg").read_bytes()[:4] == out.getvalue()[:4]
    assert metadata.read(tmp_path / "x.jpg") is not None
