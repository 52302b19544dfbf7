"""Kernel distance, precision and recall, density and coverage, class score: identities and brute force."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.neighbours import membership, nearest
from simulacra.mathematics.two_sample import (
    Gaussian,
    authentic,
    class_score,
    class_scores,
    closed,
    cubic,
    kernel_distance,
    kernel_distances,
    manifolds,
    median_distance,
    opened,
)


def sample(name: str, n: int, d: int, shift: float = 0.0) -> torch.Tensor:
    return Rng(3)(name).normal((n, d), dtype=torch.float64) + shift


def test_kernel_distance_is_the_mean_over_distinct_pairs():
    x, y = sample("x", 7, 3), sample("y", 5, 3, 0.5)
    k = lambda a, b: (float(a @ b) / 3 + 1) ** 3  # noqa: E731
    xx = sum(k(a, b) for a, b in itertools.permutations(x, 2)) / (7 * 6)
    yy = sum(k(a, b) for a, b in itertools.permutations(y, 2)) / (5 * 4)
    xy = sum(k(a, b) for a, b in itertools.product(x, y)) / 35
    assert kernel_distance(x, y).value == pytest.approx(xx + yy - 2 * xy, rel=1e-12)


def test_kernel_distance_variance_is_the_jackknife_less_its_second_order():
    x, y = sample("x", 8, 3), sample("y", 6, 3, 0.5)
    expected = 0.0
    for side, n in ((0, 8), (1, 6)):
        keep = [torch.tensor([j for j in range(n) if j != i]) for i in range(n)]
        values = [kernel_distance(x[i], y).value if side == 0 else kernel_distance(x, y[i]).value for i in keep]
        values = torch.tensor(values, dtype=torch.float64)
        expected += float((values - values.mean()).square().sum() * (n - 1) / n)
    second = 0.0
    for a, b in ((x, x), (y, y), (x, y)):
        k = cubic(a, b)
        kept = torch.ones_like(k) if a is not b else 1 - torch.eye(len(a))
        mean, rows, columns = (k * kept).sum() / kept.sum(), (k * kept).sum(1) / kept.sum(1), (k * kept).sum(0)
        squares = (k.square() * kept).sum() / kept.sum() - mean**2
        squares -= (rows - mean).square().mean() + (columns / kept.sum(0) - mean).square().mean()
        second += float(squares) * (2 if a is b else 4) / (len(a) * len(b))
    assert expected > 2 * second > 0
    assert kernel_distance(x, y).variance == pytest.approx(expected - second, rel=1e-9)


def test_kernel_distances_of_subsets_are_those_of_their_rows():
    rng = Rng(7)
    fake, real = rng("fake").normal((60, 5), dtype=torch.float64), rng("real").normal((50, 5), dtype=torch.float64) + 1
    sizes = [(20, 20), (7, 31), (3, 3)]
    rows = [(rng("a", i).permutation(60)[:n], rng("b", i).permutation(50)[:m]) for i, (n, m) in enumerate(sizes)]
    found = kernel_distances(fake, real, rows)
    expected = [kernel_distance(fake[a], real[b]).value for a, b in rows]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="at least 2 rows"):
        kernel_distances(fake, real, [(torch.tensor([0]), torch.tensor([0, 1]))])
    with pytest.raises(ValueError, match="at least one subset"):
        kernel_distances(fake, real, [])


def test_kernel_distance_does_not_depend_on_its_chunks(monkeypatch):
    x, y = sample("x", 50, 4), sample("y", 40, 4)
    whole = kernel_distance(x, y)
    monkeypatch.setattr("simulacra.mathematics.two_sample.CELLS", 120)
    parts = kernel_distance(x, y)
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    assert parts.variance == pytest.approx(whole.variance, rel=1e-12)


def test_kernel_distance_of_a_linear_kernel_is_between_means():
    """With k = x.y the population value is |difference of means|^2 and the estimate is unbiased."""
    values = [
        kernel_distance(
            Rng(s)("x").normal((20, 2), dtype=torch.float64),
            Rng(s)("y").normal((20, 2), dtype=torch.float64) + 1.0,
            kernel=lambda a, b: a @ b.T,
        ).value
        for s in range(300)
    ]
    mean, error = torch.tensor(values).mean(), torch.tensor(values).std() / math.sqrt(300)
    assert abs(float(mean) - 2.0) < 4 * float(error)


def test_cubic_kernel():
    assert float(cubic(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.5]]))[0, 0]) == pytest.approx(27.0)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 2), (150, 700, 40), (40, 30, 300)])
@pytest.mark.parametrize("far", [0.0, 1e4])
def test_nearest_equals_brute_force(monkeypatch, n, m, d, far):
    monkeypatch.setattr("simulacra.mathematics.neighbours.CELLS", 50 * m)
    x, y = sample("x", n, d, far), sample("y", m, d, far)
    distance = (x[:, None] - y[None]).square().sum(2).sqrt()
    values, indices = distance.sort(dim=1)
    found, where = nearest(x, y, k=3)
    assert torch.equal(where, indices[:, :3])
    torch.testing.assert_close(found, values[:, :3], rtol=1e-12, atol=0)
    among = (x[:, None] - x[None]).square().sum(2).sqrt().fill_diagonal_(torch.inf).sort(dim=1)
    assert torch.equal(nearest(x, k=3)[1], among.indices[:, :3])


def test_nearest_settles_what_float32_cannot_tell_apart():
    """Neighbours whose distances differ by 1e-9 are ordered rightly among a thousand others."""
    y = sample("y", 1000, 5)
    x = sample("x", 1, 5)
    direction = torch.nn.functional.normalize(sample("u", 1, 5), dim=1)
    y[:40] = x + direction * (1e-3 + 1e-9 * torch.arange(40, 0, -1)[:, None])
    assert nearest(x, y, k=3)[1].tolist() == [[39, 38, 37]]


def test_collapsed_sets_far_from_the_rest(monkeypatch):
    """Two clusters a thousand times tighter than float32 resolves at their distance: float64 settles every pair."""
    monkeypatch.setattr("simulacra.mathematics.neighbours.CELLS", 20_000)
    x = torch.cat([1e-5 * sample("x", 150, 3), sample("far", 2, 3) + 1e3])
    y = torch.cat([1e-5 * sample("y", 150, 3), sample("out", 2, 3) - 1e3])
    distance = (x[:, None] - y[None]).square().sum(2).sqrt()
    assert torch.equal(nearest(x, y, k=4)[1], distance.sort(dim=1).indices[:, :4])
    own = (x[:, None] - x[None]).square().sum(2).sqrt().fill_diagonal_(torch.inf).sort(dim=1)
    assert torch.equal(nearest(x, k=4)[1], own.indices[:, :4])
    rx, ry = (nearest(t, k=3)[0][:, -1] for t in (x, y))
    found = membership(x, y, rx, ry)
    assert torch.equal(found.x_covers, (distance <= rx[:, None]).sum(0))
    assert torch.equal(found.y_reaches, (distance <= ry[None]).any(1))


def test_features_beyond_the_squares_of_float32():
    x, y = 1e25 * sample("x", 40, 3), 1e25 * sample("y", 30, 3)
    assert torch.equal(nearest(x, y, k=2)[1], nearest(x / 1e25, y / 1e25, k=2)[1])
    assert manifolds(x, y).dense.equal(manifolds(x / 1e25, y / 1e25).dense)


def test_nearest_among_copies_is_at_distance_nought():
    x = torch.ones(30, 4)
    distance, where = nearest(x, k=2)
    assert (distance == 0).all()
    assert (where != torch.arange(30)[:, None]).all()


def test_nearest_says_how_many_there_are():
    with pytest.raises(ValueError, match=r"1 \.\. 4, the neighbours there are; got 5"):
        nearest(sample("x", 5, 2), k=5)


@pytest.mark.parametrize("d", [2, 64])
def test_membership_equals_brute_force(monkeypatch, d):
    monkeypatch.setattr("simulacra.mathematics.neighbours.CELLS", 2000)
    x, y = sample("x", 120, d), sample("y", 90, d, 0.2)
    rx, ry = (nearest(t, k=4)[0][:, -1] for t in (x, y))
    distance = (x[:, None] - y[None]).square().sum(2).sqrt()
    inside, around = distance <= rx[:, None], distance <= ry[None]
    found = membership(x, y, rx, ry)
    assert torch.equal(found.x_covers, inside.sum(0))
    assert torch.equal(found.x_reached, inside.any(1))
    assert torch.equal(found.y_reaches, around.any(1))


def test_balls_are_closed_to_the_last_bit():
    """Whole-number distances equal to the radius count as inside, those one unit of rounding less do not."""
    x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    for radius, inside in ((5.0, True), (math.nextafter(5.0, 0.0), False)):
        r = torch.tensor([radius], dtype=torch.float64)
        assert bool(membership(x, y, r, r).x_reached[0]) is inside


def test_manifolds_of_equal_sets_are_full_and_of_distant_sets_empty():
    x = sample("x", 60, 3)
    same, apart = manifolds(x, x, k=3), manifolds(x + 100, x, k=3)
    assert same.precise.mean() == same.recalled.mean() == same.covered.mean() == 1
    # the closed ball of a row holds the row's twin and the twins of its k neighbours, the last on its very edge
    assert float(same.dense.mean()) == pytest.approx((3 + 1) / 3)
    assert apart.precise.sum() == apart.recalled.sum() == apart.covered.sum() == apart.dense.sum() == 0


def test_precision_and_recall_see_dropped_and_invented_modes():
    near, far, out = sample("a", 200, 2), sample("b", 200, 2, 50.0), sample("c", 200, 2, -50.0)
    found = manifolds(torch.cat([near, out]), torch.cat([sample("d", 200, 2), far]))
    assert 0.4 < float(found.precise.mean()) < 0.55
    assert 0.4 < float(found.recalled.mean()) < 0.55


def test_expected_coverage_of_equal_distributions():
    """Naeem et al. 2020, eq. 8: E[coverage] = 1 - (M-1)..(M-k) / ((N+M-1)..(N+M-k)) for N reals, M fakes."""
    n = m = 100
    k = 3
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (n - i) / (n + m - i)
    values = torch.tensor([
        float(
            manifolds(
                Rng(s)("x").normal((m, 2), dtype=torch.float64), Rng(s)("y").normal((n, 2), dtype=torch.float64), k=k
            ).covered.mean()
        )
        for s in range(60)
    ])  # fmt: skip
    assert abs(float(values.mean()) - (1 - missed)) < 4 * float(values.std()) / math.sqrt(60)


def test_class_score_runs_from_one_to_the_number_of_classes():
    assert class_score(torch.full((50, 4), 0.25)) == pytest.approx(1.0)
    assert class_score(torch.eye(4).repeat(5, 1)) == pytest.approx(4.0)
    assert class_score(torch.eye(4)[:1].repeat(5, 1)) == pytest.approx(1.0)


def test_gaussian_kernel():
    x, y = sample("x", 4, 3), sample("y", 5, 3)
    expected = (-(x[:, None] - y[None]).square().sum(2) / 8).exp()
    torch.testing.assert_close(Gaussian(scale=2.0)(x, y), expected)


def test_gaussian_kernel_distance_has_a_closed_form():
    """Of N(0, I) and N(m, I) in d dimensions: 2 (s^2 / (s^2 + 2))^(d/2) (1 - exp(-|m|^2 / (2 (s^2 + 2))))."""
    d, s, shift = 3, 1.5, 0.6
    truth = 2 * (s**2 / (s**2 + 2)) ** (d / 2) * (1 - math.exp(-d * shift**2 / (2 * (s**2 + 2))))
    found = [
        kernel_distance(
            Rng(i)("x").normal((80, d), dtype=torch.float64) + shift,
            Rng(i)("y").normal((60, d), dtype=torch.float64),
            kernel=Gaussian(scale=s),
        )
        for i in range(100)
    ]
    values, variances = torch.tensor([f.value for f in found]), torch.tensor([f.variance for f in found])
    assert abs(float(values.mean()) - truth) < 4 * float(values.std()) / 10
    assert float(variances.mean().sqrt()) == pytest.approx(float(values.std()), rel=0.3)


def test_median_distance():
    assert median_distance(torch.tensor([[0.0], [1.0], [4.0]])) == pytest.approx(3)
    with pytest.raises(ValueError, match="rows that differ; the median distance of 5 rows is 0"):
        median_distance(torch.ones(5, 2))


def test_both_rules_for_ties():
    """Whole numbers on a line, k = 1: a sample at distance 1 from two reals lies on both edges."""
    real, fake = torch.tensor([[0.0], [1.0], [2.0], [9.0], [10.0]]), torch.tensor([[3.0], [3.0], [9.5]])
    held, left = manifolds(fake, real, k=1), manifolds(fake, real, k=1, ties=opened)
    assert held.precise.tolist() == [1, 1, 1]
    assert left.precise.tolist() == [0, 0, 1]
    assert held.covered.tolist() == [0, 0, 1, 1, 1]
    assert left.covered.tolist() == [0, 0, 0, 1, 1]
    assert (held.dense.tolist(), left.dense.tolist()) == ([1, 1, 2], [0, 0, 2])
    # the two samples at 3 have balls of radius nought: closed they hold themselves, open nothing, here neither
    assert held.recalled.tolist() == left.recalled.tolist() == [0, 0, 0, 1, 1]


def test_closed_balls_hold_copies_and_open_ones_do_not():
    x = torch.ones(4, 2)
    assert manifolds(x, x, k=1, ties=closed).covered.sum() == 4
    assert manifolds(x, x, k=1, ties=opened).covered.sum() == 0


def test_authentic_samples_lie_further_off_than_neighbours_do():
    train = torch.tensor([[0.0], [1.0], [5.0]])
    fake = torch.tensor([[0.5], [1.0], [3.5], [20.0], [8.0]])
    # nearest rows 0 or 1 (neighbours 1 apart) and 5 (4 apart): at 0.5, 0, 1.5, 15 and 3
    assert authentic(fake, train).tolist() == [False, False, False, True, False]
    x, y = sample("x", 60, 3), sample("y", 50, 3)
    apart = (y[:, None] - y[None]).square().sum(2).sqrt().fill_diagonal_(torch.inf).amin(1)
    distance, index = (x[:, None] - y[None]).square().sum(2).sqrt().min(1)
    assert torch.equal(authentic(x, y), distance > apart[index])


def test_class_scores_of_parts():
    p = torch.softmax(sample("p", 53, 4), 1)
    assert class_scores(p, parts=1).tolist() == [pytest.approx(class_score(p))]
    parts = class_scores(p, parts=5)
    assert parts.tolist() == pytest.approx([class_score(part) for part in p.tensor_split(5)])
    assert float(class_scores(torch.eye(4).repeat_interleave(5, 0), parts=4).max()) == pytest.approx(1)  # unshuffled
    with pytest.raises(ValueError, match=r"1 \.\. 3, the number of rows; got 5"):
        class_scores(p[:3], parts=5)
