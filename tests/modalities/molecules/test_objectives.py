"""What molecules are wanted for: scores from 0 to 1, 0 for what is none, known for some molecules."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rdkit")

from simulacra.modalities.molecules.chemistry import properties
from simulacra.modalities.molecules.objectives import DrugLikeness, Likeness, Lipophilicity

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_drug_likeness_is_rdkits():
    """Bickerton et al. 2012's QED of aspirin as RDKit's documentation prints it, 0.55 (weighted mean)."""
    assert DrugLikeness()([ASPIRIN, "not one"]) == pytest.approx([0.550, 0.0], abs=1e-3)


def test_lipophilicity_is_a_line_that_ends():
    smiles = ["C" * n for n in (1, 5, 10, 40)]
    log_p = properties(smiles)["logP"]
    found = Lipophilicity(low=1.0, high=5.0)([*smiles, "C("])
    assert found[:4] == pytest.approx(np.clip((log_p - 1) / 4, 0, 1))
    assert 0 == found[0] < found[1] < found[2] < found[3] == 1
    assert found[4] == 0.0
    with pytest.raises(ValueError, match="low must lie below high; got 2.0 and 1.0"):
        Lipophilicity(low=2.0, high=1.0)


def test_likeness_is_one_for_the_molecule_itself_however_it_is_spelt():
    found = Likeness(ASPIRIN)(["OC(=O)C1=CC=CC=C1OC(C)=O", "c1ccccc1", "C", ""])
    assert found[0] == 1.0
    assert 1 > found[1] > 0.1 > found[2] > found[3] == 0.0
    assert len(Likeness("C")([])) == 0


def test_likeness_to_no_molecule_is_refused():
    with pytest.raises(ValueError, match=r"'C\(' is no molecule"):
        Likeness("C(")
