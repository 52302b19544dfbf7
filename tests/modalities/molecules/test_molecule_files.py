"""Molecules from files: what is read, split, said, and refused in a line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from simulacra.core.randomness import Rng

pytest.importorskip("rdkit")

from simulacra.modalities.molecules.chemistry import canonical
from simulacra.modalities.molecules.pictures import grid_png, grid_svg, write_grid
from simulacra.modalities.molecules.reading import is_molecules, read_drawn, read_molecules
from simulacra.modalities.sources import open_data
from simulacra.modalities.text import texts_of

ALKANES = ["C" * n + end for n in range(1, 25) for end in ("O", "N", "Cl", "C(=O)O", "c1ccccc1", "[N+](C)(C)C")]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("".join(f"{s}\tname-{i}\n" for i, s in enumerate(ALKANES)))
    return path


def test_a_molecule_a_line_is_recognised_and_comes_back(file):
    loaded = open_data(str(file))
    assert loaded.modality == "molecules"
    assert loaded.train.space == loaded.held_out.space
    both = [texts_of(d.batch(torch.arange(len(d)), Rng(0)), loaded.encoding) for d in (loaded.train, loaded.held_out)]
    assert sorted(both[0] + both[1]) == sorted({canonical(s) for s in ALKANES})
    assert set(both[0]).isdisjoint(both[1])
    again = open_data(loaded.source, **loaded.options)
    assert again.train.fingerprint == loaded.train.fingerprint


def test_names_of_the_tokens_are_in_the_space(file):
    loaded = open_data(str(file))
    f = loaded.train.space.only
    assert f.names == loaded.encoding.alphabet
    assert "Cl" in f.names
    assert f.sizes[f.names.index("Cl")] == 2


def test_salts_isotopes_repeats_and_headers_are_kept_or_merged_and_said(tmp_path):
    path = tmp_path / "odd.smi"
    path.write_text("SMILES name\nCC(=O)[O-].[Na+] acetate\n\n[13CH4]\nOCC ethanol\nCCO again\nC[C@H](N)O\n")
    read = read_molecules(path)
    assert read.smiles == ["CC(=O)[O-].[Na+]", "[13CH4]", "CCO", "C[C@H](N)O"]
    said = " ".join(read.notes)
    assert "1 of several parts, such as salts, are kept whole" in said
    assert "1 with isotopes, kept as they are" in said
    assert "1 lines repeat a molecule" in said


def test_what_is_no_molecule_is_skipped_named_and_counted(file):
    file.write_text(file.read_text() + "C(C)(C)(C)(C)C five\nhello\n" + "C" * 2_000 + "\n")
    read = read_molecules(file)
    assert len(read.smiles) == len(ALKANES)
    assert "skipped 3 of 147 lines" in read.notes[0]
    assert "an atom with more bonds than it can have" in read.notes[0]
    with pytest.raises(ValueError, match="3 of 147 lines are no molecules, the first line 145"):
        read_molecules(file, skip=0.0)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "there is nothing in it"),
        (b"\n \n", "there is nothing in it"),
        (b"smiles\n", "there is no molecule in it"),
        (b"hello\nworld\n", "2 of 2 lines are no molecules"),
        (b"CC\n\xff\xfeC\n", "not text, byte 0xff at place 3"),
    ],
)
def test_a_file_s_fault_is_one_line(tmp_path, content, part):
    path = tmp_path / "bad.smi"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=part) as caught:
        open_data(str(path))
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_told(tmp_path):
    path = tmp_path / "cut.smi.gz"
    path.write_bytes(gzip.compress(b"CCO\n" * 1000)[:-10])
    with pytest.raises(ValueError, match="cannot be read"):
        open_data(str(path))


def test_a_column_of_a_table(tmp_path):
    path = tmp_path / "assay.csv"
    path.write_text("id;canonical_smiles;active\n" + "".join(f"{i};{s};1\n" for i, s in enumerate(ALKANES)))
    assert is_molecules(path)
    loaded = open_data(str(path))
    assert loaded.modality == "molecules"
    assert len(loaded.train) + len(loaded.held_out) == len({canonical(s) for s in ALKANES})
    other = tmp_path / "other.csv"
    other.write_text("id,structure\n1,CC\n")
    assert not is_molecules(other)
    with pytest.raises(ValueError, match="no column is called SMILES, but 'id', 'structure'"):
        open_data(str(other), modality="molecules")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"tokens": "bytes"}, "no tokens 'bytes' of molecules; expected smiles, nested or selfies"),
        ({"spelling": "wild"}, "no spelling 'wild'"),
        ({"tokens": "selfies", "spelling": "random"}, "spellings are of SMILES"),
        ({"cut": "lines"}, "cut means nothing for this data"),
        ({"size": 8}, "size means nothing for this data"),
        ({"block": 1}, "no molecule of at most 1 tokens"),
    ],
)
def test_choices_that_mean_nothing_are_refused(file, options, part):
    with pytest.raises(ValueError, match=part):
        open_data(str(file), **options)
    with pytest.raises(ValueError, match="spelling means nothing"):
        open_data("digits", spelling="random")


def test_the_same_file_is_text_where_that_is_asked_for(file):
    assert open_data(str(file), modality="text").modality == "text"


def test_random_spellings_are_the_same_molecules(file):
    loaded = open_data(str(file), spelling="random")
    plain = open_data(str(file))
    assert "spelt afresh" in loaded.notes[0]
    index = torch.arange(len(loaded.train))
    first, other = (texts_of(loaded.train.batch(index, Rng(i)), loaded.encoding) for i in (1, 2))
    assert first != other
    written = texts_of(plain.train.batch(index, Rng(0)), plain.encoding)
    assert [canonical(s) for s in first] == written == [canonical(s) for s in other]
    assert texts_of(loaded.train.batch(index, Rng(1)), loaded.encoding) == first
    # held-out molecules are judged as they are written
    held = [texts_of(d.held_out.batch(torch.arange(5), Rng(9)), d.encoding) for d in (loaded, plain)]
    assert held[0] == held[1]


def test_kekule_spellings_are_the_same_molecules_without_aromatic_atoms(file):
    loaded, plain = open_data(str(file), spelling="kekule", block=64), open_data(str(file), block=64)
    assert not set("bcnops") & set(loaded.train.space.only.names or ())
    assert "c" in (plain.train.space.only.names or ())
    texts = [texts_of(d.batch(torch.arange(len(d)), Rng(0)), loaded.encoding) for d in (loaded.train, loaded.held_out)]
    others = [texts_of(d.batch(torch.arange(len(d)), Rng(0)), plain.encoding) for d in (plain.train, plain.held_out)]
    assert [[canonical(s) for s in part] for part in texts] == others
    # other texts, so their likelihoods are kept apart
    assert loaded.train.space.measure != plain.train.space.measure


def test_selfies_of_a_file_come_back_as_smiles(file):
    pytest.importorskip("selfies")
    loaded = open_data(str(file), tokens="selfies")
    assert loaded.train.space.measure == "SELFIES"
    texts = texts_of(loaded.train.batch(torch.arange(len(loaded.train)), Rng(0)), loaded.encoding)
    assert {canonical(s) for s in texts} <= {canonical(s) for s in ALKANES}


def test_what_was_drawn_is_read_as_it_stands(tmp_path):
    path = tmp_path / "drawn.smi"
    path.write_text("CC\n\nC(C)(C)(C)(C)C\n\n")
    assert read_drawn(path) == ["CC", "", "C(C)(C)(C)(C)C", ""]


def test_a_grid_shows_structures_and_says_what_is_none(tmp_path):
    assert grid_png(["CCO", "c1ccccc1"]).startswith(b"\x89PNG")
    svg = grid_svg(["CCO", "C(C)(C)(C)(C)C"])
    assert svg.count("<svg") == 1
    # what is none is labelled with why: two reasons look different, and so does one molecule fewer
    assert len({grid_png([s]) for s in ("", "CC(", "C(C)(C)(C)(C)C", "C")}) == 4
    assert "2 structures, 1 of them no molecule" in write_grid(["CCO", ""], tmp_path / "a.svg")
    with pytest.raises(ValueError, match=r"structures are drawn as \.png or \.svg"):
        write_grid(["C"], tmp_path / "a.pdf")


@pytest.mark.slow
def test_the_published_sets_are_whole(real_data):
    loaded = open_data("moses-10k")
    assert (len(loaded.train), len(loaded.held_out)) == (9_999, 9_996)
    length = loaded.train.length.numpy()
    assert 30 < np.median(length) < 40
