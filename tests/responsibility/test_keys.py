"""Keys: never overwritten, never shown, refused unless whole; streams that depend on key and purpose."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest

from simulacra.responsibility.keys import Key, read_key, write_new_key


def test_a_key_file_is_the_owners_alone_and_never_overwritten(tmp_path):
    path = tmp_path / "key.json"
    key = write_new_key(path)
    assert read_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(ValueError, match="never overwritten"):
        write_new_key(path)
    assert path.read_bytes() == before


def test_nothing_shows_the_secret():
    key = Key.new()
    assert key.secret.hex()[:8] not in repr(key) + str(key) + f"{key}" + key.name


@pytest.mark.parametrize("cut", [0, 1, 40, 60, 100])
def test_truncated_keys_are_refused_without_showing_them(tmp_path, cut):
    path = tmp_path / "key.json"
    key = write_new_key(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="mark --new-key") as caught:
        read_key(path)
    assert key.secret.hex()[:8] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_flipped_digit_is_noticed(tmp_path):
    path = tmp_path / "key.json"
    write_new_key(path)
    value = json.loads(path.read_text())
    first = value["secret"][0]
    path.write_text(json.dumps({**value, "secret": ("1" if first == "0" else "0") + value["secret"][1:]}))
    with pytest.raises(ValueError, match="do not agree"):
        read_key(path)
    with pytest.raises(ValueError, match="no key at"):
        read_key(tmp_path / "none.json")


def test_bits_are_fair_and_belong_to_key_purpose_and_subject():
    a, b = Key(secret=bytes(32)), Key(secret=bytes(31) + b"\x01")
    n = 20_000
    first = a.bits("one", n)
    assert (first == a.bits("one", n)).all()
    assert (first[:100] == a.bits("one", 100)).all()
    for other in (b.bits("one", n), a.bits("two", n), a.bits("one", n, b"about")):
        # agreement of independent fair bits: five standard errors
        assert abs(np.mean(first == other) - 0.5) < 5 * 0.5 / n**0.5
    assert sorted(a.order("place", 50)) == list(range(50))
    assert list(a.order("place", 50)) != list(b.order("place", 50))
