"""Text as data: cut, encoded, split and put together again; whatever is wrong with a file is told in a line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.modalities import text as texts_module
from simulacra.modalities.sources import open_data
from simulacra.modalities.text import Blocks, read_samples_of_text, read_texts, texts_of, write_texts
from simulacra.modalities.tokens import Bytes, Characters, encoding_from_json, fitted

HARD = "naïve café — 東京 🙂\ttab\n"
NAMES = [f"{a}{b}{c}" for a in "abcde" for b in "aeiou" for c in ("", "n", "la")]


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


@pytest.fixture
def prose(tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text("\n\n".join(f"Line {i} of something that goes on and on, and then some." for i in range(60)))
    return path


@pytest.mark.parametrize("kind", ["bytes", "characters"])
def test_text_comes_back_from_its_tokens(kind):
    encoding = fitted(kind, [HARD])
    again = encoding_from_json(json.loads(json.dumps(encoding.to_json())))
    for e in (encoding, again):
        tokens = e.encode(HARD)
        assert e.decode(tokens.tolist()) == HARD
        assert sum(e.sizes[t] for t in tokens) == len(HARD.encode())
    assert again == encoding


def test_byte_pairs_come_back_and_are_fitted_to_size():
    pytest.importorskip("tokenizers")
    numbers = " ".join(str(i) for i in range(500))  # so many pairs that the size asked for is reached
    encoding = fitted("bpe:300", [HARD * 20 + "the cat sat on the mat " * 50 + numbers])
    assert len(encoding.sizes) == 300
    for e in (encoding, encoding_from_json(json.loads(json.dumps(encoding.to_json())))):
        for text in (HARD, "the cat 猫", " "):
            tokens = e.encode(text)
            assert e.decode(tokens.tolist()) == text
            assert sum(e.sizes[t] for t in tokens) == len(text.encode())
    assert len(encoding.encode("the cat sat")) < 11


def test_byte_pairs_without_their_package_say_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install 'simulacra\[text\]'"):
        fitted("bpe", ["text"])


def test_tokens_are_characters_where_there_are_few():
    assert isinstance(fitted(None, ["abc"]), Characters)
    assert isinstance(fitted(None, ["".join(map(chr, range(300, 700)))]), Bytes)
    with pytest.raises(ValueError, match="no tokens 'words'; expected bytes, characters, bpe"):
        fitted("words", ["abc"])


def test_a_character_that_was_never_seen_is_told():
    with pytest.raises(ValueError, match="the character '!' at place 2 is not among the 3"):
        fitted("characters", ["abc"]).encode("ab!")


def test_lines_are_texts_of_their_own(lines):
    loaded = open_data(str(lines))
    assert loaded.modality == "text"
    assert loaded.train.space == loaded.held_out.space
    assert loaded.train.space.only.varying
    every = [
        t
        for d in (loaded.train, loaded.held_out)
        for t in texts_of(d.batch(torch.arange(len(d)), Rng(0)), loaded.encoding)
    ]
    assert sorted(every) == sorted(NAMES)
    assert not set(every[: len(loaded.train)]) & set(every[len(loaded.train) :])
    assert "75 texts, one a line, of up to 4" in loaded.notes[0]
    again = open_data(loaded.source, **loaded.options)
    assert again.train.fingerprint == loaded.train.fingerprint


def test_which_line_is_held_out_depends_on_the_line_alone(lines, tmp_path):
    held = lambda loaded: set(  # noqa: E731
        texts_of(loaded.held_out.batch(torch.arange(len(loaded.held_out)), Rng(0)), loaded.encoding)
    )
    other = tmp_path / "other.txt"
    other.write_text("\n".join([*reversed(NAMES), "zora", "zed"]))
    assert held(open_data(str(lines), held_out=0.3)) <= held(open_data(str(other), held_out=0.3))


def test_running_text_is_cut_anywhere_to_learn_from_and_side_by_side_to_judge_by(prose):
    loaded = open_data(str(prose), block=16)
    assert isinstance(loaded.train, Blocks)
    whole = prose.read_text()
    batch = loaded.train.batch(torch.arange(len(loaded.train)), Rng(1))
    first = texts_of(batch, loaded.encoding)
    assert all(len(t) == 16 and t in whole for t in first)
    assert texts_of(loaded.train.batch(torch.arange(len(loaded.train)), Rng(2)), loaded.encoding) != first
    # a block's place depends on its number and its row alone
    part = loaded.train.batch(torch.arange(5, 9), Rng(1).rows(5))
    assert torch.equal(part.x, batch.x[5:9])
    held = texts_of(loaded.held_out.batch(torch.arange(len(loaded.held_out)), Rng(0)), loaded.encoding)
    assert "".join(held) == whole[int(0.9 * len(whole)) :][: 16 * len(held)]
    # every place is learned from
    starts = {
        whole.find(t) for i in range(40) for t in texts_of(loaded.train.batch(torch.arange(4), Rng(i)), loaded.encoding)
    }
    assert len({s % 16 for s in starts}) == 16


def test_documents_of_jsonl_and_folders(tmp_path, lines):
    records = tmp_path / "records.jsonl"
    records.write_text("".join(json.dumps({"id": i, "text": f"{n}\n{n}"}) + "\n" for i, n in enumerate(NAMES)))
    loaded = open_data(str(records))
    assert "75 texts, one a document" in loaded.notes[0]
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        (folder / f"{i}.txt").write_text(name)
    (folder / "bad.txt").write_bytes(b"caf\xe9")
    loaded = open_data(str(folder))
    assert any("skipped 1 of 76 texts that cannot be read: bad.txt (not UTF-8, byte 0xe9" in n for n in loaded.notes)
    with pytest.raises(ValueError, match="1 of 76 texts cannot be read, the first bad.txt"):
        open_data(str(folder), skip=0.0)


def test_strangers_in_the_held_out_part_are_named(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("plain text\n\n" * 90 + "then ünusual\n\n" * 9)
    loaded = open_data(str(path), block=8)
    assert any(
        "left out what is not among the characters to learn from" in n and "'ü' (9 times)" in n for n in loaded.notes
    )
    assert not any("left out" in n for n in open_data(str(path), block=8, tokens="bytes").notes)


def test_bytes_take_what_is_no_utf8(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"caf\xe9 au lait\n\n" * 50)
    with pytest.raises(ValueError, match=r"not UTF-8, byte 0xe9 at place 3; save it as UTF-8, or learn its bytes"):
        open_data(str(path))
    loaded = open_data(str(path), tokens="bytes", block=10)
    assert 0xE9 in loaded.train.tokens.tolist()


def test_a_huge_line_is_read_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(texts_module, "MOST_BYTES", 1 << 20)
    path = tmp_path / "huge.txt"
    path.write_text("é" * (1 << 20))
    read = read_texts(path)
    assert set(read.train[0]) == {"é"}
    assert (1 << 19) - 2 < len(read.train[0]) <= 1 << 19
    assert read.notes == ("huge.txt: only its first 1 MiB are read",)


def test_a_line_that_is_too_long_is_left_out_and_named(lines):
    lines.write_text(lines.read_text() + "a" * 400 + "\n")
    loaded = open_data(str(lines), block=10)
    assert any("left out 1 texts of more than 10 tokens, the longest of 400" in n for n in loaded.notes)
    assert loaded.train.space.only.shape[0] <= 10


def test_likelihoods_are_of_bytes(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("für Elise, für Élise\n\n" * 60)
    f = open_data(str(path), block=8).train.space
    assert f.measure == "bytes"
    assert sorted(f.only.sizes)[-3:] == [1, 2, 2]
    assert open_data(str(path), block=8, tokens="bytes").train.space.only.sizes is None


def test_samples_are_written_and_read_again(tmp_path):
    for name, texts in (("a.txt", ["anna", "", "bob"]), ("b.txt", ["two\nlines", "x\n"]), ("c.jsonl", ["é\n", "b"])):
        assert f"{len(texts)} texts" in write_texts(texts, tmp_path / name)
        assert read_samples_of_text(tmp_path / name) == texts
    with pytest.raises(ValueError, match="texts are written as .txt"):
        write_texts(["a"], tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("empty.txt", b"", {}, "there is no text in it"),
        ("blank.txt", b" \n\n", {}, "there is no text in it"),
        ("short.txt", b"too short", {}, "expected a block of 128 of each: give more text or a smaller block"),
        ("one.jsonl", b'{"a": 1}\n', {}, "line 1 has no text"),
        ("bad.jsonl", b'"fine"\n{"text": \n', {}, "line 2 is no JSON"),
        ("t.txt", b"some text\n\n" * 50, {"block": 1}, "a block has at least 2 tokens; got 1"),
        ("t.txt", b"some text\n\n" * 50, {"cut": "words"}, "no way to cut 'words'"),
        ("t.txt", b"some text\n\n" * 50, {"size": 8}, "size means nothing for this data"),
        ("t.txt", b"some text\n\n" * 50, {"held_out": 1.0}, "held-out share must lie between 0 and 1"),
        ("same.txt", b"same\n" * 50, {"cut": "lines"}, "one text cannot be split"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, name, content, options, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        open_data(str(path), **options)
    assert "\n" not in str(caught.value)


def test_choices_of_text_mean_nothing_for_pictures():
    with pytest.raises(ValueError, match="digits: block means nothing for this data"):
        open_data("digits", block=8)


def test_known_texts(real_data):
    names = open_data("names")
    assert len(names.train) + len(names.held_out) == 32_033
    assert names.train.space.only.k == 26
    shakespeare = open_data("tinyshakespeare", block=64)
    assert shakespeare.train.space.only.k == 65
    assert len(shakespeare.train.tokens) == 1_003_854
    assert np.isclose(len(shakespeare.held_out), 111_540 // 64)
    assert open_data("wikitext-2", tokens="bytes").licence == "CC BY-SA"
