"""Fingerprints of molecules whose surroundings can be counted by hand."""

from __future__ import annotations

import pytest
import torch

from simulacra.evaluation.fingerprints import fingerprint_extractor, fingerprints, readable
from simulacra.evaluation.judge import figures_of_samples

pytest.importorskip("rdkit")


@pytest.mark.parametrize(
    ("smiles", "radius", "count"),
    [
        ("C", 0, 1),
        ("CCO", 0, 3),  # a methyl, a methylene and a hydroxyl
        ("CCO", 1, 6),  # and the surroundings of each
        ("c1ccccc1", 0, 1),  # six atoms alike
        ("c1ccccc1", 2, 3),  # one surroundings a radius
    ],
)
def test_surroundings_are_counted(smiles, radius, count):
    assert fingerprints([smiles], radius=radius).sum() == count


def test_a_molecule_has_one_fingerprint_however_it_is_spelt():
    found = fingerprints(["CCO", "OCC", "C(O)C", "CCN"])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


def test_wider_surroundings_are_added_to_the_narrower():
    narrow, wide = (fingerprints(["CC(=O)Oc1ccccc1C(=O)O"], radius=r)[0].bool() for r in (1, 2))
    assert bool((narrow <= wide).all())
    assert int(wide.sum()) > int(narrow.sum())


def test_what_is_no_molecule_is_counted_and_told_apart():
    texts = ["CCO", "C(", "", "C(C)(C)(C)(C)C"]  # a bracket left open, nothing, five bonds at a carbon
    assert readable(texts) == [True, False, False, False]
    with pytest.raises(ValueError, match=r"3 of 4 texts are no molecules, the first 'C\(': leave them out"):
        fingerprints(texts)
    with pytest.raises(ValueError, match="radius of at least 0 and at least 1 bit; got -1 and 2048"):
        fingerprints(["C"], radius=-1)


def test_molecules_are_judged_by_it():
    """Numbers that stand for alcohols and amines of some lengths: equal sets agree, others are told apart."""

    def spell(x: torch.Tensor) -> list[str]:
        return ["C" * int(length) + ("O" if kind == 0 else "N") for kind, length in x.tolist()]

    extractor = fingerprint_extractor(spell)
    lengths = torch.arange(60) % 12 + 1
    alcohols, amines = (torch.stack([torch.full_like(lengths, kind), lengths], 1) for kind in (0, 1))
    assert extractor(alcohols).shape == (60, 2048)
    same, other = (
        {f.name: f for f in figures_of_samples(fake, alcohols, extractors=[extractor])} for fake in (alcohols, amines)
    )
    assert same["Frechet distance"].value == pytest.approx(0, abs=1e-6)
    assert other["Frechet distance"].value > 1
    assert same["coverage (k=5)"].value == 1
    assert other["Frechet distance"].extractor == "Morgan fingerprint"
    assert fingerprint_extractor(spell, radius=3).hash != extractor.hash
