"""Mode statistics say what perfect, collapsed and lost samples are."""

import math

import pytest
import torch

from simulacra.modalities.modes import mode_statistics
from simulacra.modalities.toys import GaussianMixture, grid, ring


@pytest.mark.parametrize("make", [ring, grid], ids=["ring", "grid"])
def test_perfect_samples(make):
    world, n, runs = make(), 2500, 20
    found = [mode_statistics(world.sample(n, rng=seed).x, world) for seed in range(runs)]
    k = len(world.means)
    assert all(f.modes == k == f.k for f in found)
    truth = 1 - math.exp(-4.5)  # P(chi^2_2 < 9)
    share = sum(f.high_quality for f in found) / runs
    assert abs(share - truth) < 4 * math.sqrt(truth * (1 - truth) / (n * runs))
    # 2 n KL(h || w) is asymptotically chi^2 with k - 1 degrees of freedom; n counts the samples of high quality
    freedom = k - 1
    kl = sum(2 * n * f.high_quality * f.reverse_kl for f in found) / runs
    assert abs(kl - freedom) < 4 * math.sqrt(2 * freedom / runs)
    # the mean square of n truncated distances has relative deviation below 1 / sqrt(n)
    assert sum(f.deviation for f in found) / runs == pytest.approx(1, abs=4 / math.sqrt(n * runs))


def test_collapse_onto_one_mode():
    world = grid()
    found = mode_statistics(world.means[7].expand(100, 2), world)
    assert (found.modes, found.high_quality, found.deviation) == (1, 1.0, 0.0)
    assert found.reverse_kl == pytest.approx(math.log(25))


def test_histogram_against_unequal_weights():
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    world = GaussianMixture.isotropic(means, 1.0, weights=torch.tensor([1.0, 3.0]))
    samples = means[torch.tensor([0, 0, 0, 1])]
    found = mode_statistics(samples, world)
    assert found.reverse_kl == pytest.approx(0.75 * math.log(0.75 / 0.25) + 0.25 * math.log(0.25 / 0.75))


def test_far_samples_belong_to_no_mode():
    world = ring()
    found = mode_statistics(torch.zeros(10, 2), world)
    assert (found.modes, found.high_quality, found.reverse_kl) == (0, 0.0, math.inf)
    assert math.isnan(found.deviation)


def test_half_as_wide_modes_show_as_half():
    world = grid()
    narrow = grid(sigma=0.025)
    found = mode_statistics(narrow.sample(20_000, rng=0).x, world)
    # nearly nothing is cut off at six of its own sigmas: E[r^2] = 2/4 against the truncated expectation
    expected = math.sqrt(0.5 / (2 * (1 - math.exp(-4.5) * (1 + 4.5)) / (1 - math.exp(-4.5))))
    assert found.deviation == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize("bad", [torch.zeros(3, 3), torch.zeros(0, 2), torch.full((2, 2), torch.nan)])
def test_refusals(bad):
    with pytest.raises(ValueError, match=r"samples"):
        mode_statistics(bad, ring())
