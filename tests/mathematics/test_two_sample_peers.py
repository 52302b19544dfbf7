"""The values other libraries give on the same features."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from simulacra.mathematics.frechet import frechet_distance
from simulacra.mathematics.two_sample import kernel_distance, manifolds

CASES = json.loads((Path(__file__).parents[1] / "references" / "two_sample.json").read_text())["cases"]


def features(n: int, d: int, phase: float) -> torch.Tensor:
    i, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(d, dtype=torch.float64)[None]
    return (12.9898 * (i + 1) * (j + 1).sqrt() + phase).sin() + 0.5 * (78.233 * (i + 2) + phase * j).sin()


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['n']}x{c['m']}x{c['d']}")
def test_values_are_those_of_prdc_torchmetrics_and_scipy(case):
    fake, real = features(case["n"], case["d"], 0.0), 0.8 * features(case["m"], case["d"], 0.7) + 0.1
    distance = frechet_distance(fake, real)
    assert distance == pytest.approx(case["frechet_torchmetrics"], rel=1e-10)
    assert distance == pytest.approx(case["frechet_scipy"], rel=1e-10)
    rows = case["kernel_rows"]
    kernel = kernel_distance(fake[:rows], real[:rows]).value
    assert kernel == pytest.approx(case["kernel_torchmetrics"], rel=1e-9)
    found = manifolds(fake, real, k=5)
    values = {
        "precision": found.precise, "recall": found.recalled, "density": found.dense, "coverage": found.covered
    }  # fmt: skip
    for name, each in values.items():
        assert float(each.mean()) == pytest.approx(case[name], rel=1e-12), name
