"""Line-aligned sentences: what is read is what was written, and every fault of a file is one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.modalities.pairs import (
    Pair,
    encode_sources,
    parts_of,
    read_lines,
    read_pairs,
    source_space,
    sources_of,
    targets_of,
)
from simulacra.modalities.sources import open_data
from simulacra.modalities.tokens import Bytes

GERMAN = ["Ein Hund läuft.", "Zwei Männer sitzen.", "Eine Frau lacht über den Hund.", "Der Mann läuft."]
ENGLISH = ["A dog runs.", "Two men sit.", "A woman laughs at the dog.", "The man runs."]


def written(folder: Path, **files: list[str]) -> Path:
    """A folder of files, a name such as train_de for train.de, a sentence a line."""
    folder.mkdir(exist_ok=True)
    for name, lines in files.items():
        part, _, language = name.rpartition("_")
        (folder / f"{part}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return written(tmp_path / "corpus", train_de=GERMAN, train_en=ENGLISH, test_de=GERMAN[:2], test_en=ENGLISH[:2])


@pytest.mark.parametrize("tokens", ["bytes", "bpe:300"])
def test_what_is_read_is_what_was_written_and_pairs_stay_pairs(folder, tokens):
    loaded = open_data(str(folder), tokens=tokens, languages="de-en")
    batch = loaded.train.batch(torch.tensor([3, 0, 1, 2]), Rng(0))
    assert sources_of(batch, loaded.encoding) == [GERMAN[i] for i in (3, 0, 1, 2)]
    assert targets_of(batch, loaded.encoding) == [ENGLISH[i] for i in (3, 0, 1, 2)]
    assert len(loaded.held_out) == 2
    assert loaded.modality == "pairs"
    assert "held out, the part test" in loaded.notes[0]
    # bytes of the target are what likelihoods are counted in
    sizes = loaded.encoding.sizes
    counted = [sum(sizes[t] for t in row[:m]) for row, m in zip(batch.x.tolist(), batch.length.tolist(), strict=True)]
    assert counted == [len(ENGLISH[i].encode()) for i in (3, 0, 1, 2)]


def test_a_source_ends_where_its_zeros_begin(folder):
    loaded = open_data(str(folder), tokens="bytes", languages="de-en")
    batch = loaded.train.batch(torch.arange(4), Rng(0))
    assert torch.equal((batch.y != 0).sum(1), batch.y_length)
    assert int(batch.y.max()) <= 256
    again = encode_sources(GERMAN, loaded.train.space, loaded.encoding)
    assert torch.equal(again, batch.y)


def test_either_language_may_be_the_source(folder):
    there = open_data(str(folder), tokens="bytes", languages="en-de")
    assert sources_of(there.train.batch(torch.arange(4), Rng(0)), there.encoding) == ENGLISH
    opened = open_data(str(folder / "train.en"), tokens="bytes", modality="pairs", held_out=0.3)
    assert opened.options["languages"] == "en-de"
    assert len(opened.train) + len(opened.held_out) == 4  # of one file no other part is held out
    assert opened.options["held_out"] == 0.3


def test_of_several_languages_two_are_named(folder):
    written(folder, train_fr=["Un chien court."] * 4, test_fr=["Un chien court."] * 2, val_de=GERMAN, val_en=ENGLISH)
    with pytest.raises(
        ValueError, match="sentences in de, en, fr; say from which to which with languages=, such as de-en"
    ):
        open_data(str(folder))
    with pytest.raises(ValueError, match="no languages 'de-it'; expected two of de, en, fr, such as de-en"):
        open_data(str(folder), languages="de-it")
    loaded = open_data(str(folder), tokens="bytes", languages="fr-en")
    assert "left aside: val" in loaded.notes


def test_gzip_and_other_ends_of_lines(tmp_path):
    path = tmp_path / "train.de.gz"
    path.write_bytes(gzip.compress("\ufeffEin Hund.\r\n  Zwei\u2028Hunde. \r\n".encode()))
    assert read_lines(path) == ["Ein Hund.", "Zwei\u2028Hunde."]
    path.write_bytes(gzip.compress(b"Ein Hund.\n")[:-6])
    with pytest.raises(ValueError, match="cannot be read"):
        read_lines(path)
    (tmp_path / "train.en").write_text("A dog.\nTwo dogs.\n")
    (tmp_path / "notes.txt").write_text("x")
    assert list(parts_of(tmp_path)) == ["train"]


def test_files_of_other_lengths_are_refused_and_the_line_is_named(folder):
    written(folder, train_en=ENGLISH[:3])
    with pytest.raises(ValueError, match="expected as many") as caught:
        open_data(str(folder))
    assert str(caught.value) == (
        "train.de has 4 lines and train.en 3; expected as many: line 4 of train.de, 'Der Mann läuft.', has no partner"
    )


def test_a_pair_with_an_empty_side_is_left_out_and_named(folder):
    written(folder, train_de=[*GERMAN, "   "], train_en=["", *ENGLISH[1:], "More."])
    said: list[str] = []
    found = read_pairs(folder / "train.de", folder / "train.en", said)
    assert found == [Pair(*both) for both in zip(GERMAN, ENGLISH, strict=True)][1:]
    assert said == ["left out 2 pairs of train.de and train.en with an empty side: line 1, line 5"]


def test_a_sentence_of_5000_words_is_left_out_and_said(folder):
    written(folder, train_de=[*GERMAN, "Hund " * 5_000], train_en=[*ENGLISH, "dog"])
    loaded = open_data(str(folder), tokens="bytes", languages="de-en")
    assert len(loaded.train) == 4
    assert "left out 1 pairs with a sentence of more than 128 tokens, the longest of 24,999" in loaded.notes
    with pytest.raises(ValueError, match=r"the sentence has 24,999 tokens; this model reads 1 to \d+ tokens: split it"):
        encode_sources(["Hund " * 5_000], loaded.train.space, loaded.encoding)
    with pytest.raises(ValueError, match="sentence 2, '', is empty"):
        encode_sources(["Hund", "  "], loaded.train.space, loaded.encoding)
    with pytest.raises(ValueError, match="no pair of at most 3 tokens a side"):
        open_data(str(folder), tokens="bytes", block=3)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("Ein Hund.\nEin M\xe4dchen.\n".encode("latin-1"), "not UTF-8, byte 0xe4 in line 2; save it as UTF-8"),
        (b"", "there is no text in it; expected a sentence a line"),
        (b"\n \n", "there is no text in it"),
    ],
)
def test_faults_of_a_file_are_one_line(folder, content, told):
    (folder / "train.de").write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        open_data(str(folder))
    assert "\n" not in str(caught.value)


def test_choices_that_mean_nothing_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="pairs are cut into bpe, bpe:SIZE or bytes; got characters"):
        open_data(str(folder), tokens="characters")
    with pytest.raises(ValueError, match="spelling means nothing for this data"):
        open_data(str(folder), spelling="kekule")
    with pytest.raises(ValueError, match="languages mean nothing for this data"):
        open_data("digits", languages="de-en")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no part in two languages; expected files such as train.de and train.en"):
        open_data(str(tmp_path / "empty"), modality="pairs")
    with pytest.raises(ValueError, match="no such folder; expected one with train.XX and train.YY"):
        open_data(str(tmp_path / "nowhere"), modality="pairs")


def test_a_model_of_something_else_is_given_no_sentences():
    digits = open_data("digits")
    assert source_space(digits.train.space) is None
    with pytest.raises(ValueError, match="given no sentences"):
        encode_sources(["Hund"], digits.train.space, Bytes())


def test_a_batch_without_anything_has_no_sentences(folder):
    loaded = open_data(str(folder), tokens="bytes", languages="de-en")
    assert targets_of(Batch(x=torch.zeros(1, 5, dtype=torch.int64), length=torch.zeros(1, dtype=torch.int64)),
                      loaded.encoding) == [""]  # fmt: skip
