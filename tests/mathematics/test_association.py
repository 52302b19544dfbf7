"""Distances of columns and of pairs against hand counts and numpy; attacks against their own ends."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from simulacra.core.randomness import Rng
from simulacra.mathematics.association import (
    binned_divergence,
    correlations,
    joint,
    kolmogorov_smirnov,
    total_variation,
)
from simulacra.mathematics.attacks import risk
from simulacra.mathematics.records import nearest_records
from simulacra.mathematics.shares import wilson


def test_kolmogorov_smirnov_is_scipys():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(301, generator=g).round(decimals=1), torch.randn(200, generator=g).round(decimals=1) + 0.3
    assert kolmogorov_smirnov(a, b) == pytest.approx(stats.ks_2samp(a.numpy(), b.numpy()).statistic)


def test_kolmogorov_smirnov_counts_what_lies_beyond():
    inf = torch.inf
    assert kolmogorov_smirnov(torch.tensor([1.0, inf]), torch.tensor([1.0, 1.0])) == 0.5
    assert kolmogorov_smirnov(torch.tensor([inf, inf]), torch.tensor([inf])) == 0


def test_total_variation_by_hand():
    assert total_variation(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 3])) == pytest.approx(0.5)
    assert total_variation(torch.tensor([1, 2]), torch.tensor([2, 1])) == 0
    assert total_variation(torch.tensor([1]), torch.tensor([0])) == 1


def test_correlations_are_numpys_and_heed_pairs_that_are_there():
    r = np.random.default_rng(0)
    x = r.normal(size=(200, 3)) @ r.normal(size=(3, 4)) + 1e6
    x = np.concatenate([x, np.ones((200, 1))], 1)
    found = correlations(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found[:4, :4], np.corrcoef(x[:, :4].T), atol=1e-9)
    assert np.isnan(found[4]).all()
    x[:50, 0] = np.nan
    again = correlations(torch.from_numpy(x)).numpy()
    assert again[0, 1] == pytest.approx(np.corrcoef(x[50:, :2].T)[0, 1], abs=1e-9)
    assert again[1, 2] == pytest.approx(found[1, 2], abs=1e-9)


def test_pairs_are_told_apart():
    a, b = torch.meshgrid(torch.arange(4), torch.arange(7), indexing="ij")
    assert len(joint(a.flatten(), b.flatten()).unique()) == 28


def test_nearest_records_by_hand():
    numbers, codes = torch.tensor([[0.0], [0.5]]), torch.tensor([[0, 0], [1, 1]])
    other, kinds = torch.tensor([[0.1], [0.5], [1.0]]), torch.tensor([[0, 0], [1, 0], [1, 1]])
    distance, index = nearest_records(numbers, codes, other, kinds, k=2)
    assert index.tolist() == [[0, 1], [2, 1]]
    np.testing.assert_allclose(distance, [[0.1 / 3, 1.5 / 3], [0.5 / 3, 1 / 3]], rtol=1e-6)
    with pytest.raises(ValueError, match="at least 4"):
        nearest_records(numbers, codes, other, kinds, k=4)


def test_a_risk_is_the_excess_over_what_is_learnt_of_all():
    assert risk(50, 50, 100).value == 0
    assert risk(100, 50, 100).value == 1
    assert risk(75, 50, 100).value == pytest.approx(0.5)
    low, high = risk(75, 50, 100).interval
    assert low < 0.5 < high
    assert risk(10, 30, 100).value < 0
    assert risk(5, 5, 5).value == 0


def test_wilson_is_statsmodels():
    # statsmodels 0.14: proportion_confint(7, 20, method="wilson")
    assert wilson(7, 20) == pytest.approx((0.18119182410108203, 0.5671457233147638), abs=1e-12)


@pytest.mark.parametrize(("p", "q"), [(0.2, 0.2), (0.6, 0.4), (0.03, 0.01)])
def test_the_interval_of_a_risk_holds_the_truth(p, q):
    r = np.random.default_rng(0)
    truth = (p - q) / (1 - q)
    found = [risk(int(a), int(b), 300).interval for a, b in zip(r.binomial(300, p, 2000), r.binomial(300, q, 2000),
                                                               strict=True)]  # fmt: skip
    held = np.mean([low <= truth <= high for low, high in found])
    assert 0.93 <= held <= 0.985


def test_binned_divergence_by_hand():
    """Two cells, at the median of b: 1 1/2 and 3 1/2 counts of a, 2 1/2 and 2 1/2 of b."""
    a, b = torch.tensor([0.0, 2.0, 2.0, 2.0]), torch.tensor([0.0, 1.0, 2.0, 3.0])
    expected = 0.5 * math.log(0.5 / (1.5 / 5)) + 0.5 * math.log(0.5 / (3.5 / 5))
    assert binned_divergence(a, b, bins=2) == pytest.approx(expected)
    assert binned_divergence(b, b, bins=2) == 0.0


def test_binned_divergence_of_one_distribution_is_what_chance_makes_of_it():
    draw = lambda i: Rng(i)("x").normal((4_000,))  # noqa: E731
    found = torch.tensor([binned_divergence(draw(2 * i), draw(2 * i + 1)) for i in range(20)])
    chance = 19 * (2 / 4_000) / 2
    # a sum of 19 squares over 20 draws: the mean lies within 4 standard errors of its own
    assert abs(float(found.mean()) - chance) < 4 * chance * math.sqrt(2 / 19 / 20)
    shifted = binned_divergence(draw(0) + 1, draw(1))
    assert shifted == pytest.approx(0.5, abs=0.08)  # KL of two normals one deviation apart, less what cells hide
