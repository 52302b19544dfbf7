"""Normals of which part is seen: densities, conditionals and moments against textbook formulae in float64."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from simulacra.core.randomness import Rng
from simulacra.mathematics.covariances import Factors, Full, Independent, Shared
from simulacra.mathematics.gaussians import Dense, Diagonal, Moments, patterns

K, D = 3, 4
NONE = torch.zeros(D, dtype=torch.float64)


def normal(name, *shape):
    return Rng(3)(name).normal(shape, dtype=torch.float64)


def dense():
    factor = normal("factor", K, D, D) + 2 * torch.eye(D, dtype=torch.float64)
    return Dense(normal("mean", K, D), factor @ factor.mT)


def rows(n=60):
    """Points of which about half is seen, and NaN nowhere: what is unseen is zero."""
    seen = Rng(3)("seen").bernoulli(torch.full((n, D), 0.5))
    return torch.where(seen, normal("u", n, D), 0.0), seen


@pytest.mark.parametrize("alike", [False, True], ids=["rows unlike", "rows alike"])
def test_density_of_what_is_seen_is_that_of_the_marginal(alike):
    model, (u, seen) = dense(), rows()
    seen = seen[:2].repeat(30, 1) if alike else seen
    found = model.log_prob(u, seen, NONE)
    for i in range(len(u)):
        o = seen[i]
        for k in range(K):
            expected = 0.0
            if o.any():
                expected = MultivariateNormal(model.mean[k, o], model.covariance[k][o][:, o]).log_prob(u[i, o])
            assert abs(found[i, k] - expected) < 1e-10


def test_conditional_mean_and_covariance_are_the_textbooks():
    model, (u, seen) = dense(), rows(5)
    given = model.mean_given(u, seen)
    for i in range(5):
        o, m = seen[i], ~seen[i]
        for k in range(K):
            s = model.covariance[k]
            gain = s[m][:, o] @ torch.linalg.inv(s[o][:, o])
            assert torch.allclose(given[i, k, m], model.mean[k, m] + gain @ (u[i, o] - model.mean[k, o]), atol=1e-10)
            assert torch.equal(given[i, k, o], u[i, o])
    # all rows of one pattern: the expected mean square is conditional covariance and spread of the means
    o, m = seen[0], ~seen[0]
    many = torch.where(o, normal("many", 50, D), 0.0)
    moments = model.expected(many, o.expand(50, D), torch.ones(50, K).double(), NONE)
    for k in range(K):
        s = model.covariance[k]
        left = s[m][:, m] - s[m][:, o] @ torch.linalg.inv(s[o][:, o]) @ s[o][:, m]
        spread = torch.cov(model.mean_given(many, o.expand(50, D))[:, k].T, correction=0)
        spread[torch.where(m)[0][:, None], torch.where(m)[0]] += left
        assert torch.allclose(moments.square[k], spread, atol=1e-10)


def test_completions_have_the_conditional_mean_and_covariance():
    model, n = dense(), 40_000
    seen = torch.tensor([True, False, True, False]).expand(n, D)
    u = torch.where(seen, torch.tensor([0.3, 9.0, -1.0, 9.0]).double(), 0.0)
    which = torch.full((n,), 1)
    drawn = model.complete(u, seen, which, normal("noise", n, D))
    assert torch.equal(drawn[:, [0, 2]], u[:, [0, 2]])
    mean, s = model.mean_given(u[:1], seen[:1])[0, 1], model.covariance[1]
    o, m = [0, 2], [1, 3]
    left = s[m][:, m] - s[m][:, o] @ torch.linalg.inv(s[o][:, o]) @ s[o][:, m]
    error = 5 * left.diagonal().sqrt() / math.sqrt(n)
    assert bool(((drawn[:, m].mean(0) - mean[m]).abs() < error).all())
    assert torch.allclose(torch.cov(drawn[:, m].T), left, atol=5 * float(left.diagonal().max()) * math.sqrt(2 / n))


def test_a_diagonal_is_a_dense_one_without_covariances():
    u, seen = rows()
    mean, variance = normal("mean", K, D), normal("variance", K, D).exp()
    one, other = Diagonal(mean, variance), Dense(mean, variance.diag_embed())
    cells, share = torch.tensor([0.0, 0.2, 0.0, 0.1]).double(), normal("share", 60, K).softmax(1)
    assert torch.allclose(one.log_prob(u, seen, cells), other.log_prob(u, seen, cells), atol=1e-10)
    a, b = one.expected(u, seen, share, cells), other.expected(u, seen, share, cells)
    assert torch.allclose(a.mean, b.mean, atol=1e-10)
    assert torch.allclose(a.square, b.square.diagonal(dim1=1, dim2=2), atol=1e-10)
    which, noise = torch.arange(60) % K, normal("noise", 60, D)
    assert torch.allclose(one.complete(u, seen, which, noise), other.complete(u, seen, which, noise), atol=1e-10)


def test_a_cell_is_scored_by_its_mean_log_density():
    # E log N(u) over a uniform place in the cell, by quadrature
    model, half = dense(), 0.4
    cells = torch.tensor([half**2 / 3, 0, 0, 0]).double()
    u, seen = normal("one", 1, D), torch.ones(1, D, dtype=torch.bool)
    places = (torch.arange(2001).double() + 0.5) / 2001 * 2 * half - half
    around = u + torch.nn.functional.pad(places[:, None], (0, D - 1))
    expected = model.log_prob(around, seen.expand(2001, D), NONE).mean(0)
    assert torch.allclose(model.log_prob(u, seen, cells)[0], expected, atol=1e-6)


def test_rows_are_gone_through_once():
    _, seen = rows()
    for masks in (seen, seen[:3].repeat(20, 1), seen.all(1, keepdim=True).expand(60, D)):
        found = sorted(int(r) for at, there in patterns(masks, 16) for r in at.flatten())
        assert found == list(range(60))
        assert all(bool((masks[at] == there[:, None]).all()) for at, there in patterns(masks, 16))


def test_factors_find_the_covariance_that_has_them():
    loadings, noise = normal("loadings", D + 4, 2), 0.2 + normal("noise", D + 4).square()
    truth = loadings @ loadings.T + noise.diag()
    moments = Moments(torch.tensor([1e9]).double(), torch.zeros(1, D + 4).double(), truth[None])
    found = Factors(rank=2, prior=0.0).fit(moments)[0]
    assert torch.allclose(found, truth, atol=0.02)
    assert torch.allclose(found.diagonal(), truth.diagonal(), atol=1e-5)


@pytest.mark.parametrize("kind", [Full(), Shared(), Independent(), Factors(rank=2)], ids=lambda k: type(k).__name__)
def test_a_component_of_one_row_keeps_a_density(kind):
    square = torch.zeros(2, D, D).double()
    square[1] = 2 * torch.eye(D)
    square = square if len(kind.shape(2, D)) == 3 else square.diagonal(dim1=1, dim2=2)
    fitted = kind.fit(Moments(torch.tensor([1.0, 99.0]).double(), torch.zeros(2, D).double(), square))
    normals = kind.normals(torch.zeros(2, D).double(), fitted)
    assert normals.log_prob(torch.zeros(1, D).double(), torch.ones(1, D, dtype=torch.bool), NONE).isfinite().all()
    if not isinstance(kind, Shared):
        # one row and one of the average variance, which is 0.99 * 2
        spread = fitted[0] if fitted.ndim == 2 else fitted[0].diagonal()
        assert torch.allclose(spread, torch.full((D,), 0.99).double(), atol=1e-4)
