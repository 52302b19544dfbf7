"""Discriminator rejection sampling: acceptance is the density ratio over its largest value."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.rejection import acceptance, log_odds


def test_without_gamma_acceptance_is_the_ratio():
    """sigmoid(a - log(1 - e^a)) = e^a, up to the paper's epsilon of 1e-8."""
    scores = Rng(0).normal((50,), dtype=torch.float64)
    best = float(scores.max())
    assert torch.allclose(acceptance(scores, best), (scores - best).exp(), rtol=0, atol=2e-8)
    assert float(acceptance(torch.tensor([best + 5.0]), best)[0]) == pytest.approx(1, abs=1e-7)


def test_gamma_moves_the_odds():
    scores = torch.tensor([-1.0, -2.0])
    even = acceptance(scores, 0.0, gamma=float(log_odds(scores, 0.0)[0]))
    assert float(even[0]) == pytest.approx(0.5, rel=1e-12)
    odds = acceptance(scores, 0.0, 1.5)
    plain = acceptance(scores, 0.0)
    assert torch.allclose((odds / (1 - odds)).log(), (plain / (1 - plain)).log() - 1.5)
