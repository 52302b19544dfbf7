"""Archives are read in place, and what leads outside or swells is refused whole."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from small_pictures import png

from simulacra.modalities.sources import open_data


def zipped(path: Path, files: dict[str, bytes], link: str | None = None) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
        if link is not None:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            out.writestr(info, "/etc/passwd")
    return str(path)


def tarred(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo) -> str:
    kind = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(path.suffix, "w")
    with tarfile.open(path, kind) as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for info in others:
            out.addfile(info)
    return str(path)


FILES = {f"animals/{name}/{i}.png": png(i + 100 * (name == "dog")) for name in ("cat", "dog") for i in range(10)}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_an_archive_is_the_folder_it_holds(tmp_path, name):
    for file, data in FILES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
    folder = open_data(str(tmp_path / "animals"))
    packed = open_data((zipped if name.endswith("zip") else tarred)(tmp_path / name, FILES))
    assert packed.train.fingerprint == folder.train.fingerprint
    assert packed.held_out.fingerprint == folder.held_out.fingerprint
    assert packed.train.space.classes.names == ("cat", "dog")


OUTSIDE = ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "a\\..\\evil.png"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_lead_outside_are_refused(tmp_path, name, kind):
    files = {**FILES, name: png(1)}
    path = zipped(tmp_path / "a.zip", files) if kind == "zip" else tarred(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=r"leads outside the archive; refused whole"):
        open_data(path)
    assert not list(tmp_path.rglob("evil.png"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("link.png")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(ValueError, match="is a link or a device"):
        open_data(tarred(tmp_path / "a.tar", FILES, info))


def test_links_in_a_zip_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a link"):
        open_data(zipped(tmp_path / "a.zip", FILES, link="link.png"))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_an_archive_that_swells_is_refused(tmp_path, name, monkeypatch):
    """A megabyte of nothing packs into a thousandth of it; whatever it is called, it counts."""
    monkeypatch.setattr("simulacra.modalities.archives.MOST_BYTES", 500_000)
    bomb = {**FILES, "zeros.dat": bytes(1_000_000)}
    path = (zipped if name.endswith("zip") else tarred)(tmp_path / name, bomb)
    assert Path(path).stat().st_size < 30_000
    with pytest.raises(ValueError, match="unpacks to more than 500,000 bytes"):
        open_data(path)


def test_a_stream_that_swells_without_saying_so_is_refused(tmp_path, monkeypatch):
    """A thousand members of nothing are half a megabyte of headers: what is unpacked counts, not what is promised."""
    monkeypatch.setattr("simulacra.modalities.archives.MOST_BYTES", 100_000)
    path = tarred(tmp_path / "a.tar.gz", {f"{i}.txt": b"" for i in range(1000)})
    with pytest.raises(ValueError, match="unpacks to more than 100,000 bytes"):
        open_data(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_damaged_archives(tmp_path, name, damage):
    path = Path((zipped if name.endswith("zip") else tarred)(tmp_path / name, FILES))
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "noise": b"noise" * 500, "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"cannot be read|cut off|no pictures among 0 files"):
        open_data(str(path))


def test_a_damaged_member_is_skipped_by_name(tmp_path):
    files = {f"{i}.png": png(i) for i in range(40)}
    path = Path(zipped(tmp_path / "a.zip", files))
    data = bytearray(path.read_bytes())
    at = data.index(files["7.png"][100:140]) if files["7.png"][100:140] in data else data.index(b"7.png") + 200
    data[at : at + 8] = b"damaged!"
    path.write_bytes(data)
    loaded = open_data(str(path))
    assert len(loaded.train) + len(loaded.held_out) == 39
    assert any("skipped 1 of 40" in note for note in loaded.notes)


def test_a_tar_cut_between_two_members_is_not_a_smaller_one(tmp_path):
    path = Path(tarred(tmp_path / "a.tar", FILES))
    with tarfile.open(path) as tar:
        fifth = tar.getmembers()[5]
    path.write_bytes(path.read_bytes()[: fifth.offset])
    with pytest.raises(ValueError, match="cut off, fetch it again"):
        open_data(str(path))
