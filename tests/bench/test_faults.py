"""Planted faults are what they are called, and a figure notices what its table says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from simulacra.core.randomness import Rng

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.faults import FAULTS, Material

from bench import faults


def bars(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bars that lean between -0.8 and 0.8 columns a row, with labels."""
    lean = 1.6 * Rng(seed)("lean").uniform((n, 1, 1)) - 0.8
    row, column = torch.arange(28.0)[None, :, None] - 13.5, torch.arange(28.0)[None, None] - 13.5
    x = 255 * (-((column + lean * row) ** 2) / 4).exp() * (row.abs() < 9)
    return x, Rng(seed)("y").integers(10, (n,))


@pytest.fixture
def material() -> Material:
    x, y = bars(300, 0)
    spare, spare_y = bars(600, 1)
    learnt, learnt_y = bars(400, 2)
    return Material(x=x, y=y, spare=spare, spare_y=spare_y, learnt=learnt, learnt_y=learnt_y, seed=0)


def test_a_lost_class_is_lost_and_nothing_else(material):
    x, y = faults.lost_class(material, 1.0)
    assert int((y == 7).sum()) == 0 < int((material.y == 7).sum())
    kept = material.y != 7
    assert torch.equal(x[kept], material.x[kept])
    half = faults.lost_class(material, 0.5)[1]
    assert 0 < int((half == 7).sum()) < int((material.y == 7).sum())


def test_lean_is_seen_and_what_leans_most_is_lost(material):
    lean = (1.6 * Rng(0)("lean").uniform((300, 1, 1)) - 0.8).flatten()
    torch.testing.assert_close(faults._slant(material.x), lean, rtol=0, atol=0.05)
    edge = float(faults._slant(material.learnt).quantile(0.75))
    x, _ = faults.lost_mode(material, 1.0)
    assert float(faults._slant(x).max()) < edge < float(faults._slant(material.x).max())


def test_shares_are_those_asked_for(material):
    x, _ = faults.memorised(material, 0.3)
    assert sum(bool((p == material.learnt).all((1, 2)).any()) for p in x) == 90
    _, y = faults.wrong_label(material, 0.3)
    assert float((y != material.y).double().mean()) == pytest.approx(0.3, abs=0.1)
    x, _ = faults.repeated(material, 0.5)
    assert len(x.flatten(1).unique(dim=0)) == 150
    x, _ = faults.leaked_label(material, 80)
    assert torch.equal(x[:, 0].argmax(1), 2 * material.y + 4)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_doses_rise(material, fault):
    """Each dose changes more than the one before, in pixels or in labels."""
    changes = []
    for dose in fault.doses:
        x, y = fault.plant(material, dose)
        assert x.shape == material.x.shape
        assert x.dtype == torch.float32
        changes.append(float((x - material.x).square().mean()) + float((y != material.y).double().mean()))
    assert changes == sorted(changes)
    assert changes[0] > 0


def test_a_dose_is_noticed_from_the_smallest_on_which_all_are():
    key = ("coverage", "eyes")
    perfect = [{key: v} for v in (0.50, 0.52, 0.48, 0.51)]
    spread = 0.017078
    doses = {1: {key: 0.50 + 2 * spread}, 2: {key: 0.50 + 9 * spread}, 3: {key: 0.50 - 40 * spread}}
    found = faults.deviations({"perfect": perfect, "faults": {f.name: doses for f in FAULTS}})
    assert [noticed for _, _, noticed in found[key]["blur"]] == [False, True, True]
    assert found[key]["blur"][1][1] == pytest.approx((0.50 + 9 * spread - 0.5025) / spread, rel=1e-3)
    assert "| coverage (eyes) | 2 |" in faults.table(found)
    gap = {1: {key: 0.9}, 2: {key: 0.5}, 3: {key: 0.9}}
    found = faults.deviations({"perfect": perfect, "faults": {f.name: gap for f in FAULTS}})
    assert "| coverage (eyes) | 3 |" in faults.table(found)
