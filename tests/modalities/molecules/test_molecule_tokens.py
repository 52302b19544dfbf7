"""SMILES and SELFIES as tokens: what was cut is put together again, and what is no token is named."""

from __future__ import annotations

import json

import pytest

from simulacra.modalities.encodings import encoding_from_json
from simulacra.modalities.molecules.tokens import Nested, Selfies, Smiles, cut_nested, cut_selfies, cut_smiles

HARD = [
    "CC(=O)[O-].[Na+]",  # a salt
    "[13CH3][C@@H](Br)Cl",  # an isotope, chirality, atoms of two letters
    "F/C=C\\F",
    "C%12CCCC%12",
    "O=[N+]([O-])c1ccc2[nH]ccc2c1",
    "N#Cc1ccccc1",
]


@pytest.mark.parametrize("kind", [(Smiles, cut_smiles), (Nested, cut_nested)], ids=["smiles", "nested"])
@pytest.mark.parametrize("smiles", HARD)
def test_a_smiles_is_its_tokens_put_together(smiles, kind):
    make, cut = kind
    encoding = make(tuple(sorted({t for s in HARD for t in cut(s)})))
    again = encoding_from_json(json.loads(json.dumps(encoding.to_json())))
    assert again == encoding
    numbers = again.encode(smiles)
    assert again.decode(numbers.tolist()) == smiles
    assert sum(again.sizes[t] for t in numbers) == len(smiles)


def test_nested_tokens_tell_what_is_open():
    # a ring number that was closed may begin another ring; %10 is one number, and so is %(10)
    told = cut_nested("C1(C(O)C)CC1C1CC1C%10C%(10)")
    assert [t for t in told if "|" in t] == [
        "1|<", "(|1", "(|2", ")|2", ")|1", "1|>", "1|<", "1|>", "%10|<", "%(10)|>",
    ]  # fmt: skip
    assert [t for t in told if "|" not in t] == ["C"] * 2 + ["O"] + ["C"] * 8


def test_an_atom_is_one_token():
    assert cut_smiles("[13C@@H2+]ClCBr%10") == ["[13C@@H2+]", "Cl", "C", "Br", "%10"]
    # carbon and an aromatic "l" do not exist: Cl is chlorine, while Sc outside brackets is sulphur and carbon
    assert cut_smiles("Sc1ccccc1")[:2] == ["S", "c"]


@pytest.mark.parametrize(("smiles", "place"), [("CCX", 2), ("C C", 1), ("C[NH3", 1), ("[]C", 0), ("Cö", 1), ("C%1", 1)])
def test_what_is_no_token_is_named_with_its_place(smiles, place):
    with pytest.raises(ValueError, match=f"at place {place} begins no atom"):
        cut_smiles(smiles)


def test_a_token_that_was_not_learned_from_is_named():
    with pytest.raises(ValueError, match="has the token Br, which is not among the 2"):
        Smiles(("C", "O")).encode("CBr")


@pytest.mark.parametrize("smiles", HARD)
def test_selfies_mean_the_same_molecule(smiles):
    pytest.importorskip("selfies")
    pytest.importorskip("rdkit")
    from simulacra.modalities.molecules.chemistry import canonical

    encoding = Selfies(tuple(sorted({t for s in HARD for t in cut_selfies(s)})))
    assert encoding_from_json(json.loads(json.dumps(encoding.to_json()))) == encoding
    assert canonical(encoding.decode(encoding.encode(smiles).tolist())) == canonical(smiles)


def test_every_sequence_of_selfies_but_none_at_all_is_a_molecule():
    pytest.importorskip("selfies")
    pytest.importorskip("rdkit")
    from simulacra.core.randomness import Rng
    from simulacra.modalities.molecules.chemistry import fault

    encoding = Selfies(tuple(sorted({t for s in HARD[3:] for t in cut_selfies(s)})))
    rows = Rng(0)("rows").integers(len(encoding.alphabet), (200, 12)).tolist()
    texts = [encoding.decode(row) for row in rows]
    assert {fault(text) for text in texts} <= {None, "empty"}
    assert sum(fault(text) is None for text in texts) > 150


def test_a_smiles_without_selfies_is_named():
    pytest.importorskip("selfies")
    with pytest.raises(ValueError, match="has no SELFIES"):
        cut_selfies("C(C)(C)(C)(C)(C)C")
