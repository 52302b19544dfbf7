"""Figures of molecules: what is none counts, copies are told from new ones, and equal sets are as near as chance."""

from __future__ import annotations

import pytest

from simulacra.evaluation.report import figures_to_json
from simulacra.evaluation.report.figures import explain

pytest.importorskip("rdkit")

from simulacra.evaluation.molecules import figures_of_molecules
from simulacra.modalities.molecules.chemistry import canonical

ENDS = ("O", "N", "Cl", "F", "Br", "C#N", "c1ccccc1", "C1CCCC1", "c1ccncc1", "C(=O)O", "C(=O)N", "S(C)(=O)=O")
ALL = [canonical(f"{end}{'C' * n}{other}") for n in range(1, 5) for end in ("CO", "CN", "CC1CC1") for other in ENDS]
TRAIN, REAL, NEW = ALL[::3], ALL[1::3], ALL[2::3]


def named(fake, real=REAL, train=TRAIN):
    return {f.name: f for f in figures_of_molecules(fake, real, train=train, seed=1)}


def test_what_is_no_molecule_counts_against_the_model():
    found = named(["CCO", "", "C(C)(C)(C)(C)C", "CC(", "c1cccc1", "CCN", "CCO", "CC1CC1"])
    assert found["valid molecules"].value == 0.5
    assert "1 empty" in found["valid molecules"].note
    assert "1 valence" in found["valid molecules"].note
    assert found["unique molecules"].value == 0.75
    assert found["novel molecules"].value == 1.0


def test_how_many_of_the_first_thousand_differ():
    found = named(["C" * (1 + i % 500) for i in range(1_200)])
    assert (found["unique@1000"].value, found["unique@1000"].n) == (0.5, 1_000)
    assert (found["unique molecules"].value, found["unique molecules"].n) == (500 / 1_200, 1_200)
    assert "unique@10000" not in found


def test_copies_are_not_novel_and_other_spellings_are_copies():
    copied = named([*TRAIN, "OCC"], train=[*TRAIN, "CCO"])
    assert copied["novel molecules"].value == 0.0
    assert copied["unique molecules"].value == 1.0
    assert named(NEW)["novel molecules"].value == 1.0
    assert named(["OCC", "CCO", "C(O)C"])["unique molecules"].value == pytest.approx(1 / 3)


def test_equal_sets_have_no_distance_and_other_ones_have():
    same, other = named(REAL), named(["CCCCCCCCCCCCCCCC" + "C" * n for n in range(len(REAL))])
    for name in ("QED", "logP", "weight"):
        assert same[f"Wasserstein distance of {name}"].value == pytest.approx(0.0, abs=1e-9)
        assert same[f"KL divergence of {name}"].value == pytest.approx(0.0, abs=1e-9)
        assert other[f"Wasserstein distance of {name}"].value > 0.05
        assert other[f"KL divergence of {name}"].value > 1.0
    assert same["scaffold similarity"].value == pytest.approx(1.0)
    assert other["scaffold similarity"].value == 0.0
    assert "new scaffolds" not in other  # alkanes have no rings
    assert same["similarity to the nearest held-out molecule"].value == pytest.approx(1.0)
    assert other["internal diversity"].value < 0.5 * same["internal diversity"].value


def test_the_distance_of_weights_is_that_of_their_means_where_all_are_shifted():
    # each of these alkanes has one CH2, 14.027 daltons, more than its partner
    found = named(["C" * (n + 1) for n in range(2, 30)], real=["C" * n for n in range(2, 30)])
    assert found["Wasserstein distance of weight"].value == pytest.approx(14.027, abs=1e-3)
    assert found["Wasserstein distance of weight"].unit == "daltons"


def test_few_or_no_molecules_are_told_as_such():
    found = figures_of_molecules(["", "hello", "CC("], REAL, train=TRAIN)
    assert [(f.name, f.value) for f in found] == [("valid molecules", 0.0)]
    with pytest.raises(ValueError, match="compared from 2 on; got 1 samples"):
        figures_of_molecules(["C"], REAL, train=TRAIN)


def test_every_figure_is_explained_and_is_json():
    found = list(named(NEW).values())
    assert all(explain(f.name) for f in found)
    assert all(f.note for f in found)
    assert figures_to_json(found)
