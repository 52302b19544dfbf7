"""What is a molecule and what is none, and properties that can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulacra.core.randomness import Rng

pytest.importorskip("rdkit")

from simulacra.modalities.molecules.chemistry import (
    atoms,
    canonical,
    fault,
    fingerprints,
    kekule,
    properties,
    scaffold,
    spelt,
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("CC(", "syntax"),
        ("C1CC", "syntax"),  # a ring that is not closed
        ("hello", "syntax"),
        ("C(C)(C)(C)(C)C", "valence"),
        ("FF(F)", "valence"),
        ("c1cccc1", "aromaticity"),  # five aromatic carbons and no hydrogen that is told
        ("C", None),
        ("[Na+].[Cl-]", None),
        ("[13CH4]", None),
    ],
)
def test_why_a_text_is_no_molecule(text, why):
    assert fault(text) == why
    assert (canonical(text) is None) == (why is not None)


def test_however_it_is_spelt_a_molecule_has_one_canonical_smiles():
    smiles = "C[C@H](N)C(=O)Oc1ccc(Cl)cc1/C=C/F"
    order = Rng(3)("order").uniform((40, atoms(smiles))).numpy()
    spellings = {spelt(smiles, row) for row in order}
    assert len(spellings) > 20
    assert {canonical(s) for s in spellings} == {canonical(smiles)}
    # by the numbers alone: the first atom of the order comes first
    assert spelt("CO", [1.0, 0.0]) == "OC"
    assert spelt("CO", [0.0, 1.0]) == "CO"


@pytest.mark.parametrize("smiles", ["c1ccccc1", "c1cc[nH]c1", "O=c1cc[nH]c2ccccc12", "C[n+]1ccccc1", "CCO"])
def test_rings_as_bonds_in_turn_are_the_same_molecule(smiles):
    written = kekule(smiles)
    assert written.upper() == written  # no aromatic atom
    assert canonical(written) == canonical(smiles)


def test_scaffolds_are_rings_and_what_joins_them():
    assert scaffold("Cc1ccc(CCC2CC2)cc1") == canonical("c1ccc(CCC2CC2)cc1")
    assert scaffold("CCCO") == ""


def test_properties_of_molecules_known_by_heart():
    found = properties(["O", "c1ccccc1", "[2H]O[2H]"])
    # H2O 18.015, C6H6 78.114 (IUPAC's standard weights), D2O 20.028
    assert found["weight"] == pytest.approx([18.015, 78.114, 20.028], abs=2e-3)
    # Wildman & Crippen's logP of benzene: 6 aromatic carbons of 0.1581 each and their hydrogens of 0.1230
    assert found["logP"][1] == pytest.approx(6 * (0.1581 + 0.1230), abs=1e-6)
    assert 0 < found["QED"][1] < 1
    assert found["SA"][1] < 3 or np.isnan(found["SA"][1])
    with pytest.raises(ValueError, match="is no molecule \\(valence\\)"):
        properties(["C", "C(C)(C)(C)(C)C"])


def test_fingerprints_are_of_the_molecule_and_not_of_its_spelling():
    a, b, c = fingerprints(["CCO", "OCC", "CCN"])
    assert (a == b).all()
    assert (a != c).any()
    assert fingerprints([]).shape == (0, 1024)
