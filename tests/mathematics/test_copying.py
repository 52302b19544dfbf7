"""Copying tests against closed forms and their nulls."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from simulacra.core.randomness import Rng
from simulacra.mathematics.copying import data_copying, mann_whitney, tail_test


def test_mann_whitney_is_scipys_with_ties():
    a, b = Rng(0)("a").integers(6, (40,)).double(), Rng(0)("b").integers(7, (55,)).double()
    theirs = stats.mannwhitneyu(a, b, alternative="greater", method="asymptotic", use_continuity=False)
    assert stats.norm.sf(mann_whitney(a, b)) == pytest.approx(theirs.pvalue, rel=1e-9)
    assert mann_whitney(torch.ones(5), torch.ones(9)) == 0.0


def test_the_tail_is_fishers_exact_test():
    a, b = Rng(1)("a").uniform((30,), dtype=torch.float64), Rng(1)("b").uniform((50,), dtype=torch.float64)
    found = tail_test(a, b, rng=Rng(0), shares=(0.25,))
    k = found.count
    theirs = stats.fisher_exact([[k, 20 - k], [30 - k, 50 - 20 + k]], alternative="greater")
    assert found.smallest == 20
    assert found.p == pytest.approx(theirs[1], rel=1e-9)
    assert found.expected == 7.5


def test_the_tail_is_uniform_where_all_values_are_equal():
    p = torch.tensor([tail_test(torch.zeros(200), torch.zeros(200), rng=Rng(i), shares=(0.1,)).p for i in range(400)])
    # a discrete p is stochastically no smaller than uniform; 4 standard errors of a share of 400
    for level in (0.05, 0.2, 0.5):
        assert float((p <= level).double().mean()) <= level + 4 * math.sqrt(level * (1 - level) / 400)
    assert float((p <= 0.5).double().mean()) > 0.3


def test_the_least_p_of_nested_tails_has_its_own_exact_null():
    # 3 samples and 4 held-out examples: all 35 orders, tails of 1, 2 and 4
    found: list[tuple[float, float]] = []
    for chosen in itertools.combinations(range(7), 3):
        fake = torch.tensor(chosen).double()
        held = torch.tensor([i for i in range(7) if i not in chosen]).double()
        tail = tail_test(fake, held, rng=Rng(0), shares=(1 / 7, 2 / 7, 4 / 7))
        least = min(
            stats.hypergeom.sf(sum(c < k for c in chosen) - 1, 7, 3, k) for k in (1, 2, 4)
        )  # fmt: skip
        found.append((least, tail.p))
    for least, p in found:
        assert p == pytest.approx(sum(other <= least + 1e-12 for other, _ in found) / 35)


def test_one_copy_in_a_hundred_is_found():
    held, fake = Rng(0)("held").uniform((1000,)) + 1, Rng(0)("fake").uniform((1000,)) + 1
    fake[:10] = 0
    found = tail_test(fake, held, rng=Rng(0))
    assert found.p < 0.01
    assert (found.count, found.smallest) == (10, 10)


def test_five_copies_in_a_hundred_are_found_and_innocence_is_not_accused():
    held = Rng(0)("held").uniform((1000,)) + 1
    fake = Rng(0)("fake").uniform((1000,)) + 1
    assert tail_test(fake, held, rng=Rng(0)).p > 0.01
    fake[:50] = 0
    assert tail_test(fake, held, rng=Rng(0)).p < 1e-4


def test_data_copying_has_the_variance_that_it_says():
    cells = torch.arange(300) % 5
    z = []
    for i in range(300):
        a, b = Rng(i)("a").uniform((300,), dtype=torch.float64), Rng(i)("b").uniform((300,), dtype=torch.float64)
        found = data_copying(a, b, cells, cells)
        assert found.cells == 5
        assert found.error == pytest.approx(5**-0.5)
        z.append(found.statistic / found.error)
    values = torch.tensor(z)
    assert abs(float(values.mean())) < 4 / math.sqrt(300)
    # a variance of n normals has relative error sqrt(2 / n); one that took C_T for N(0, 1) would see 0.2
    assert float(values.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / 300))


def test_data_copying_of_one_cell_is_mann_whitney_and_small_cells_do_not_count():
    a, b = Rng(2)("a").uniform((30,)), Rng(2)("b").uniform((40,))
    one = data_copying(a, b, torch.zeros(30).long(), torch.zeros(40).long())
    assert one.statistic == pytest.approx(mann_whitney(a, b))
    assert one.error == 1
    with pytest.raises(ValueError, match="no cell has 20 samples"):
        data_copying(a, b, torch.arange(30), torch.arange(40))
