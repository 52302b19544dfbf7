"""Losses on two views: what is nought, what is not, and both against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.self_supervision import Contrast, Vicreg


def normal(name: str, n: int = 12, d: int = 4) -> torch.Tensor:
    return Rng(4)(name).normal((n, d), dtype=torch.float64)


def test_vicreg_is_its_three_terms():
    a, b = normal("a"), 0.5 * normal("b")
    alike = float(((a - b) ** 2).sum(1).mean()) / 4
    spread = sum(max(0, 1 - math.sqrt(float(v) + 1e-4)) for z in (a, b) for v in z.var(0)) / 4
    beside = sum(float(z.T.cov()[i, j] ** 2) for z in (a, b) for i in range(4) for j in range(4) if i != j) / 4
    assert float(Vicreg()(a, b)) == pytest.approx(25 * alike + 25 * spread + beside)


def test_vicreg_is_nought_for_equal_views_whose_features_are_white():
    q = torch.linalg.qr(normal("q") - normal("q").mean(0)).Q * math.sqrt(11) * 1.01
    assert float(Vicreg()(q, q)) == pytest.approx(0, abs=1e-10)
    assert float(Vicreg()(torch.ones_like(q), torch.ones_like(q))) == pytest.approx(2 * 25 * 0.99)


def test_contrast_is_its_definition():
    a, b, t = normal("a", 5), normal("b", 5), 0.3
    z = torch.nn.functional.normalize(torch.cat([a, b]), dim=1)
    total = 0.0
    for i in range(10):
        others = sum(math.exp(float(z[i] @ z[k]) / t) for k in range(10) if k != i)
        total += -math.log(math.exp(float(z[i] @ z[(i + 5) % 10]) / t) / others)
    assert float(Contrast(temperature=t)(a, b)) == pytest.approx(total / 10)
