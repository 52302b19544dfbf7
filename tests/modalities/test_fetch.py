"""Known data is found, or fetched whole and checked, or not at all. The source is a file of our own."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from simulacra.modalities import fetch
from simulacra.modalities.names import KNOWN, Known

CONTENT = b"pictures " * 1000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMULACRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SIMULACRA_DATA", raising=False)


def known(source: Path, sha256: str) -> Known:
    return Known(what="?", folder="things", url={source.name: source.as_uri()}, sha256={source.name: sha256})


def test_fetched_once_and_checked_unpacked(tmp_path):
    source = tmp_path / "a.gz"
    source.write_bytes(gzip.compress(CONTENT))
    wanted = known(source, hashlib.sha256(CONTENT).hexdigest())
    folder = fetch.folder_of("things", wanted)
    assert gzip.decompress((folder / "a.gz").read_bytes()) == CONTENT
    source.unlink()
    assert fetch.folder_of("things", wanted) == folder


def test_a_fetched_archive_is_unpacked_flat(tmp_path):
    source = tmp_path / "a.tar.gz"
    with tarfile.open(source, "w:gz") as tar:
        for name in ("deep/one.bin", "../two.bin", "deep/readme.html"):
            info = tarfile.TarInfo(name)
            info.size = len(CONTENT)
            tar.addfile(info, io.BytesIO(CONTENT))
    folder = fetch.folder_of("things", known(source, hashlib.sha256(source.read_bytes()).hexdigest()))
    assert sorted(p.name for p in folder.iterdir()) == ["one.bin", "two.bin"]
    assert not (folder.parent / "two.bin").exists()


def test_another_file_than_promised_leaves_nothing(tmp_path):
    source = tmp_path / "a.gz"
    source.write_bytes(gzip.compress(CONTENT))
    with pytest.raises(ValueError, match="has SHA-256 .* expected 0000"):
        fetch.folder_of("things", known(source, "0" * 64))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.gz", "file:///no/such/file.gz"])
def test_no_network_is_one_line(tmp_path, url):
    wanted = Known(what="?", folder="things", url={"a.gz": url}, sha256={"a.gz": ""})
    with pytest.raises(
        ValueError, match=r"things is not on this computer and cannot be fetched .* SIMULACRA_DATA"
    ) as told:
        fetch.folder_of("things", wanted)
    assert "\n" not in str(told.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_cannot_be_fetched_says_how_to_get_it():
    with pytest.raises(ValueError, match="copy the pictures of the folder png/72"):
        fetch.folder_of("emoji", KNOWN["emoji"])


def test_the_users_own_folder_comes_first(tmp_path, monkeypatch):
    (tmp_path / "own" / "things").mkdir(parents=True)
    (tmp_path / "cache" / "things").mkdir(parents=True)
    monkeypatch.setenv("SIMULACRA_DATA", str(tmp_path / "own"))
    assert fetch.folder_of("things", Known(what="?", folder="things")) == tmp_path / "own" / "things"


def test_every_address_has_its_hash():
    for entry in KNOWN.values():
        assert set(entry.url) == set(entry.sha256)
        assert all(len(h) == 64 for h in entry.sha256.values())
