"""Feature likelihood: densities, widths that maximise, and that copies are found out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.feature_likelihood import feature_likelihood, log_density, widths


def normal(name: str, n: int, d: int = 3) -> torch.Tensor:
    return Rng(2)(name).normal((n, d), dtype=torch.float64)


def test_density_is_the_mixture_s(monkeypatch):
    centres, s, x = normal("c", 5), torch.tensor([0.3, 1.0, 2.0, 0.5, 1.5]).double(), normal("x", 7)
    each = [
        torch.distributions.MultivariateNormal(c, v * torch.eye(3).double()) for c, v in zip(centres, s, strict=True)
    ]
    expected = torch.stack([e.log_prob(x) for e in each]).logsumexp(0) - math.log(5)
    monkeypatch.setattr("simulacra.mathematics.feature_likelihood.CELLS", 10)
    torch.testing.assert_close(log_density(x, centres, s), expected)


def test_one_gaussian_gets_the_width_of_its_data():
    x, centre = normal("x", 40), torch.full((1, 3), 0.5).double()
    truth = (x - centre).square().mean()
    torch.testing.assert_close(widths(centre, x, steps=1), truth[None])


def test_widths_cannot_be_bettered():
    centres, x = normal("c", 6), normal("x", 80)
    s = widths(centres, x, steps=400)
    best = float(log_density(x, centres, s).mean())
    for j in range(6):
        for factor in (0.9, 1.1):
            other = s.clone()
            other[j] *= factor
            assert float(log_density(x, centres, other).mean()) <= best + 1e-9


def test_steps_never_lose_likelihood():
    centres, x = normal("c", 20), normal("x", 60)
    each = [float(log_density(x, centres, widths(centres, x, steps=k)).mean()) for k in range(0, 12, 2)]
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(each))


def test_good_samples_score_nought_and_copies_are_found_out():
    train, held = normal("train", 400), normal("held", 300)
    good, shifted, copied = normal("good", 200), normal("good", 200) + 0.7, train + 1e-3 * normal("e", 400)
    score = {n: float(feature_likelihood(f, train, held).mean()) for n, f in
             (("good", good), ("shifted", shifted), ("copied", copied))}  # fmt: skip
    assert abs(score["good"]) < 5
    assert score["shifted"] > 15
    assert score["copied"] > 100
    with pytest.raises(ValueError, match="at least 4 training rows; got 3"):
        feature_likelihood(good, train[:3], held)
