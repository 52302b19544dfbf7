"""Divergence frontiers: closed forms, limits, and k-means of clusters that are plain to see."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.frontiers import cell_shares, frontier_area, k_means


def shares(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("steepness", [1.0, 2.0, 5.0])
def test_distributions_without_a_common_cell(steepness):
    """KL(p || s p + (1 - s) q) = -log s, so y = (1 - x^(1/c))^c, whose area is c! c! / (2c)!."""
    found = frontier_area(shares(0.3, 0.7, 0, 0), shares(0, 0, 0.5, 0.5), steepness=steepness)
    assert found == pytest.approx(1 / math.comb(int(2 * steepness), int(steepness)), rel=1e-4)


def test_equal_distributions_have_the_whole_area():
    assert frontier_area(shares(0.2, 0.8), shares(0.2, 0.8)) == pytest.approx(1, abs=1e-12)


def test_the_area_is_that_of_a_sum_over_strips():
    """The frontier of two cells, its y looked up at evenly spaced x."""
    p, q, c = shares(0.9, 0.1), shares(0.4, 0.6), 5.0
    s = torch.linspace(0, 1, 200_001, dtype=torch.float64)[:, None]
    r = s * p + (1 - s) * q
    x, y = ((-c * (a * (a / r).log()).sum(1)).exp() for a in (q, p))
    at = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    # x falls as s grows; left of its last value the frontier is at 1
    index = torch.searchsorted(x.flip(0), at).clamp(max=len(x) - 1)
    strips = torch.where(at < x[-1], torch.ones_like(at), y.flip(0)[index])
    assert frontier_area(p, q, steepness=c) == pytest.approx(float(strips.mean()), abs=2e-4)


def test_the_area_is_symmetric_and_grows_where_cells_are_joined():
    rng = Rng(0)
    for i in range(5):
        p, q = (rng(side, i).uniform((6,), dtype=torch.float64) for side in "pq")
        p, q = p / p.sum(), q / q.sum()
        area = frontier_area(p, q)
        assert area == pytest.approx(frontier_area(q, p), abs=1e-5)
        joined = [torch.stack([a[:2].sum(), a[2:4].sum(), a[4:].sum()]) for a in (p, q)]
        assert frontier_area(*joined) >= area


def test_what_is_no_distribution_is_refused():
    with pytest.raises(ValueError, match="q must be shares of 2 cells that sum to 1"):
        frontier_area(shares(0.5, 0.5), shares(0.5, 0.6))


def clusters(n: int, seed: int = 0) -> torch.Tensor:
    """Four points of a square, each with a tenth of its side as spread; n rows of each in turn."""
    corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64).repeat(n, 1)
    return corners + 0.05 * Rng(seed)("rows").normal((4 * n, 2), dtype=torch.float64)


def test_clusters_that_lie_apart_are_found():
    cell = k_means(clusters(50), k=4, rng=Rng(0))
    found = cell.reshape(50, 4)
    assert torch.equal(found, found[:1].expand(50, 4))
    assert len(found[0].unique()) == 4


def test_k_means_withstands_equal_rows_and_as_many_cells_as_rows():
    assert len(k_means(torch.ones(10, 3), k=3, rng=Rng(0))) == 10
    assert len(k_means(clusters(2), k=8, rng=Rng(0)).unique()) == 8


def test_shares_of_a_lost_corner():
    """Samples lack one of four corners, whose cells then hold real rows alone."""
    real = clusters(60)
    fake = clusters(60, seed=1)[torch.arange(240) % 4 != 3]
    p, q = cell_shares(fake, real, k=4, rng=Rng(0))
    torch.testing.assert_close(q, torch.full((4,), 0.25, dtype=torch.float64))
    assert sorted(p.tolist()) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])


def test_shares_of_equal_rows_agree():
    p, q = cell_shares(torch.ones(20, 5), torch.ones(30, 5), k=3, rng=Rng(0))
    assert frontier_area(p, q) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"cells number 1 \.\. 50"):
        cell_shares(torch.ones(20, 5), torch.ones(30, 5), k=51, rng=Rng(0))
