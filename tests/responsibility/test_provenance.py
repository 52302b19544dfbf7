"""Signed manifests: what a file's own bytes, its certificate and whom one trusts decide; c2pa-python agrees."""

from __future__ import annotations

import io
import json
import os
import struct
import wave

import numpy as np
import pytest
from PIL import Image

c2pa = pytest.importorskip("c2pa")

from simulacra.responsibility.chains import make_test_chain, read_chain  # noqa: E402
from simulacra.responsibility.provenance import SOURCE, Origin, inspect, sign, sign_file  # noqa: E402

ORIGIN = Origin(run="digits", recipe="ab" * 32)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    signer, root = make_test_chain(tmp_path_factory.mktemp("chain"))
    return read_chain(signer), root.read_bytes()


def content(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == ".wav":
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(struct.pack("<200h", *range(200)))
        return file.getvalue()
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(picture).save(file, {".png": "PNG", ".jpg": "JPEG"}[kind])
    return file.getvalue()


@pytest.mark.parametrize("kind", [".png", ".jpg", ".wav"])
def test_a_signed_file_is_trusted_by_those_who_trust_its_root_and_valid_to_others(chain, kind):
    signed = sign(content(kind), kind, chain[0], title="x", origin=ORIGIN)
    trusted, valid = inspect(signed, kind, roots=chain[1]), inspect(signed, kind)
    assert trusted.state == "Trusted"
    assert trusted.reasons == ()
    assert (trusted.source, trusted.origin, trusted.signer) == (SOURCE, ORIGIN, "test signer")
    assert valid.state == "Valid"
    assert "untrusted" in valid.reasons[0]


def test_the_librarys_own_reader_agrees(chain):
    signed = sign(content(".png"), ".png", chain[0], title="x")
    read = json.loads(c2pa.Reader("image/png", io.BytesIO(signed)).json())
    manifest = read["manifests"][read["active_manifest"]]
    (action,) = manifest["assertions"][0]["data"]["actions"]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", SOURCE)
    assert read["validation_state"] in ("Valid", "Trusted")


def test_pictures_stay_as_they_are(chain):
    before = content(".png")
    after = sign(before, ".png", chain[0], title="x")
    assert (np.array(Image.open(io.BytesIO(after))) == np.array(Image.open(io.BytesIO(before)))).all()


def test_a_flipped_bit_is_told(chain):
    """Of the picture, of the manifest's statement, and of the signature itself."""
    signed = sign(content(".png"), ".png", chain[0], title="x", origin=ORIGIN)
    for place, word in ((len(signed) - 30, "dataHash"), (signed.find(b"digits"), "hashedURI")):
        damaged = bytearray(signed)
        damaged[place] ^= 1
        found = inspect(bytes(damaged), ".png", roots=chain[1])
        assert found.state == "Invalid"
        assert any(word in reason for reason in found.reasons)


def test_a_manifest_of_another_picture_is_no_good(chain):
    """Its chunk, taken out of one PNG and put into another of the same size."""
    signed = sign(content(".png"), ".png", chain[0], title="x")
    at = signed.find(b"caBX") - 4
    chunk = signed[at : at + 12 + int.from_bytes(signed[at : at + 4], "big")]
    other = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(other, "PNG")
    forged = other.getvalue()[:33] + chunk + other.getvalue()[33:]
    assert inspect(forged, ".png", roots=chain[1]).state == "Invalid"


def test_a_manifest_taken_out_leaves_nothing_to_conclude(chain):
    saved = io.BytesIO()
    Image.open(io.BytesIO(sign(content(".png"), ".png", chain[0], title="x"))).save(saved, "PNG")
    found = inspect(saved.getvalue(), ".png", roots=chain[1])
    assert found.state == "Absent"
    assert "does not show that a person made it" in found.reasons[0]


def test_another_root_is_not_trusted(chain, tmp_path):
    _, other = make_test_chain(tmp_path)
    found = inspect(sign(content(".png"), ".png", chain[0], title="x"), ".png", roots=other.read_bytes())
    assert found.state == "Valid"
    assert "untrusted" in found.reasons[0]


def test_an_expired_certificate_signs_nothing(tmp_path):
    signer, _ = make_test_chain(tmp_path, days=-5)
    with pytest.raises(ValueError, match=r"not today: renew it"):
        read_chain(signer)


def test_keys_are_private(tmp_path):
    signer, _ = make_test_chain(tmp_path)
    key = tmp_path / "signer.key"
    assert read_chain(signer).warnings == ()
    assert "PRIVATE" not in repr(read_chain(signer))
    with pytest.raises(ValueError, match="no key or certificate is overwritten"):
        make_test_chain(tmp_path)
    if os.name == "posix":
        key.chmod(0o644)
        assert "chmod 600" in read_chain(signer).warnings[0]


def test_what_does_not_belong_together_is_refused(tmp_path):
    signer, root = make_test_chain(tmp_path / "a")
    other, _ = make_test_chain(tmp_path / "b")
    with pytest.raises(ValueError, match="is not the key of the certificate"):
        read_chain(signer, other.with_suffix(".key"))
    with pytest.raises(ValueError, match="no private key in PEM"):
        read_chain(signer, root)
    with pytest.raises(ValueError, match="holds no certificate in PEM"):
        read_chain(signer.with_suffix(".key"))
    with pytest.raises(ValueError, match="no file"):
        read_chain(tmp_path / "none.pem")


def test_where_signing_fails_the_file_stays_as_it_is(chain, tmp_path):
    for name, content_, word in (("x.png", b"no picture", "cannot be signed"), ("x.txt", b"text", "no manifest goes")):
        path = tmp_path / name
        path.write_bytes(content_)
        with pytest.raises(ValueError, match=word):
            sign_file(path, chain[0])
        assert path.read_bytes() == content_
        assert [p.name for p in tmp_path.iterdir()] == [name]
        path.unlink()
