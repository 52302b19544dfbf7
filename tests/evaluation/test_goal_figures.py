"""What learning towards a score came to, on texts whose figures are counted by hand."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("rdkit")

from simulacra.evaluation.goals import Scored, figures_of_goal
from simulacra.modalities.molecules.objectives import Lipophilicity

OBJECTIVE = Lipophilicity()
BEFORE = ["C1CCCCC1O", "CCO", "c1ccccc1", "CCN", "CC(", "CCCC"]
AFTER = ["CCCCCCCC", "C(CCCCCCC)", "CCCCCC", "CC(", "C1CC", "CCCC"]  # the first two are one molecule


def figures(after: list[str], before: list[str]) -> dict[str, object]:
    distance = torch.arange(len(after), dtype=torch.float64)
    found = figures_of_goal(Scored.of(after, OBJECTIVE), Scored.of(before, OBJECTIVE), distance,
                            objective=OBJECTIVE, known=["CCCCCC", "OCC"])  # fmt: skip
    return {f.name: f for f in found}


def test_what_was_gained_and_what_it_cost():
    found = figures(AFTER, BEFORE)
    assert found["valid molecules"].value == pytest.approx(4 / 6)
    assert found["valid molecules"].note == "2 syntax; before: 0.8333"
    assert found["unique molecules"].value == pytest.approx(3 / 4)
    assert found["unique molecules"].note == "before: 1"
    assert found["novel molecules"].value == pytest.approx(2 / 3)
    assert found["novel molecules"].note == "before: 0.8"
    assert found["different scaffolds"].value == pytest.approx(1 / 3)
    assert found["different scaffolds"].note == "before: 0.6"
    assert found["distance from before"].value == 2.5
    scores = OBJECTIVE(AFTER)
    assert found["score: logP from 0 to 8"].value == pytest.approx(scores.mean())
    assert scores[3] == scores[4] == 0.0
    assert found["logP of the best 3"].value > float(found["logP of the best 3"].note.split()[1])


def test_the_best_are_different_molecules_by_falling_score():
    assert Scored.of(AFTER, OBJECTIVE).best == ["CCCCCCCC", "CCCCCC", "CCCC"]


def test_a_collapse_leaves_what_can_be_said():
    found = figures(["CC(", "CC(", "CC("], BEFORE)
    assert list(found) == ["score: logP from 0 to 8", "distance from before", "valid molecules"]
    assert found["valid molecules"].value == 0.0


def test_one_text_is_too_few():
    with pytest.raises(ValueError, match="two texts or more"):
        figures(["C"], BEFORE)
