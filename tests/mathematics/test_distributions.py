"""Elementwise distributions: they sum or integrate to 1, draw what they score, and survive extreme parameters."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.distributions import Bernoulli, Categories, DiscretisedLogistics, Gaussian, Grey, soft_floor

F64 = torch.float64
N = 50_000


def logistics(levels: int, m: int, rows: int = 50, spread: float = 1.0) -> DiscretisedLogistics:
    parts = [spread * Rng(1)(name, levels, m).normal((rows, m), dtype=F64) for name in ("logits", "centre", "scale")]
    return DiscretisedLogistics(parts[0], parts[1], parts[2] - 1, low=-1.0, high=1.0, levels=levels)


def grid(levels: int, dtype: torch.dtype = F64) -> torch.Tensor:
    return torch.linspace(-1, 1, levels, dtype=dtype)[:, None]


@pytest.mark.parametrize("levels", [2, 3, 16, 256])
@pytest.mark.parametrize("m", [1, 5])
def test_discretised_logistics_sum_to_one(levels: int, m: int):
    d = logistics(levels, m)
    assert torch.allclose(d.log_prob(grid(levels)).exp().sum(0), torch.ones(50, dtype=F64), atol=1e-12)


@pytest.mark.parametrize("levels", [2, 3, 256])
@pytest.mark.parametrize("m", [1, 5])
def test_all_levels_at_once_are_each_level_scored(levels: int, m: int):
    d = logistics(levels, m)
    each = d.log_prob(grid(levels)).T
    at_once = d.level_log_probs()
    torch.testing.assert_close(at_once.exp(), each.exp(), atol=1e-14, rtol=1e-9)
    far = DiscretisedLogistics(*(t.float() for t in (d.logits, d.centre, d.log_scale)), d.low, d.high, levels)
    torch.testing.assert_close(far.level_log_probs().exp().double(), each.exp(), atol=1e-6, rtol=0)
    assert far.level_log_probs().isfinite().all()


@pytest.mark.parametrize("log_scale", [-20.0, -7.0, 0.0, 20.0])
@pytest.mark.parametrize("centre", [-1e4, -1.0, 0.3, 1e4])
def test_discretised_logistics_are_safe_in_float32(log_scale: float, centre: float):
    """However far or narrow, log-probabilities are finite, sum to 1 and have finite gradients."""
    parameters = torch.tensor([[centre], [log_scale]], requires_grad=True)
    d = DiscretisedLogistics(torch.zeros(1, 1), parameters[:1], parameters[1:], low=-1.0, high=1.0, levels=256)
    log_p = d.log_prob(grid(256, torch.float32))
    assert not bool(log_p.isnan().any())
    assert abs(float(log_p.detach().double().exp().sum()) - 1) < 1e-4
    if log_scale > -20:
        assert bool(log_p.isfinite().all())
    log_p[log_p.isfinite()].sum().backward()
    assert parameters.grad is not None
    assert not bool(parameters.grad.isnan().any())


def test_discretised_logistics_equal_differences_of_the_distribution_function():
    d = logistics(16, 1)
    half, x = 1 / 15, grid(16)
    cdf = lambda t: torch.sigmoid((t - d.centre[:, 0]) / d.log_scale[:, 0].exp())  # noqa: E731
    upper, lower = cdf(x + half), cdf(x - half)
    upper[-1], lower[0] = 1, 0
    assert torch.allclose(d.log_prob(x).exp(), upper - lower, atol=1e-12)


def shares(drawn: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.stack([(drawn - v).abs().lt(1e-6).double().mean() for v in values])


@pytest.mark.parametrize("m", [1, 3])
def test_discretised_logistics_draw_what_they_score(m: int):
    one = logistics(6, m, rows=1)
    d = DiscretisedLogistics(*(t.expand(N, m) for t in (one.logits, one.centre, one.log_scale)), -1.0, 1.0, 6)
    p = one.log_prob(grid(6)).exp()[:, 0]
    error = (p * (1 - p) / N).sqrt()
    assert bool(((shares(d.sample(Rng(2)), grid(6)[:, 0]) - p).abs() < 4.5 * error + 1e-9).all())


def test_bernoulli_draws_what_it_scores():
    d = Bernoulli(torch.tensor(0.7, dtype=F64).expand(N), low=-1.0, high=1.0)
    p = d.log_prob(torch.tensor([[-1.0], [1.0]], dtype=F64)).exp()[:, 0]
    assert math.isclose(float(p.sum()), 1, rel_tol=1e-12)
    assert math.isclose(float(p[1]), 1 / (1 + math.exp(-0.7)), rel_tol=1e-12)
    assert abs(float((d.sample(Rng(3)) > 0).double().mean()) - float(p[1])) < 4.5 * math.sqrt(0.25 / N)
    assert math.isclose(float(d.mean()[0]), 2 * float(p[1]) - 1, rel_tol=1e-12)


def test_grey_is_the_mixture_of_its_ends():
    ends = Bernoulli(Rng(9).normal((40,), dtype=F64), low=-1.0, high=1.0)
    share = Rng(10).uniform((40,), dtype=F64)
    low, high = ends.log_prob(-torch.ones(40, dtype=F64)), ends.log_prob(torch.ones(40, dtype=F64))
    assert torch.allclose(Grey(ends).log_prob(2 * share - 1), share * high + (1 - share) * low)
    assert torch.equal(Grey(ends).sample(Rng(1)), ends.sample(Rng(1)))


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_every_level_of_every_component_at_once_is_each_level_of_each(levels):
    d = logistics(levels, 3, spread=4.0)
    at_once = d.each_log_probs()
    alone = DiscretisedLogistics(*(t[..., None] for t in (d.logits, d.centre, d.log_scale)), d.low, d.high, levels)
    each = torch.stack([alone.log_prob(x) for x in torch.linspace(-1, 1, levels, dtype=F64)], 1)
    torch.testing.assert_close(at_once, each, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(at_once.logsumexp(1), torch.zeros(50, 3, dtype=F64), atol=1e-9, rtol=0)
    narrow = [t.float() for t in (d.logits, d.centre, d.log_scale)]
    torch.testing.assert_close(
        DiscretisedLogistics(*narrow, d.low, d.high, levels).each_log_probs().double(), each, atol=1e-4, rtol=1e-4
    )


def test_categories_sum_to_one_and_draw_what_they_score():
    logits = torch.tensor([0.5, -1.0, 2.0], dtype=F64)
    d = Categories(logits.expand(N, 3))
    p = Categories(logits.expand(3, 3)).log_prob(torch.arange(3)).exp()
    assert torch.allclose(p, logits.softmax(0))
    error = (p * (1 - p) / N).sqrt()
    assert bool(((shares(d.sample(Rng(5)).double(), torch.arange(3)) - p).abs() < 4.5 * error).all())


@pytest.mark.parametrize(("x", "lead"), [((3, 1), (1, 3)), ((3,), (2, 3)), ((2, 3), (3,)), ((1, 3), (3,)), ((), (4,))])
def test_categories_score_what_broadcasts_against_them(x: tuple[int, ...], lead: tuple[int, ...]):
    logits, values = Rng(0)("l").normal((*lead, 5)), Rng(0)("x").integers(5, (math.prod(x),)).reshape(x)
    wide = torch.broadcast_shapes(x, lead)
    exact = logits.log_softmax(-1).expand(*wide, 5).gather(-1, values.expand(wide)[..., None])[..., 0]
    assert torch.allclose(Categories(logits).log_prob(values), exact, atol=1e-6)


def test_gaussian_is_torchs_and_draws_what_it_scores():
    mean, log_scale = torch.tensor(1.5, dtype=F64), torch.tensor(-0.4, dtype=F64)
    x = torch.linspace(-3, 5, 17, dtype=F64)
    want = torch.distributions.Normal(mean, log_scale.exp()).log_prob(x)
    assert torch.allclose(Gaussian(mean, log_scale).log_prob(x), want, rtol=1e-12)
    drawn = Gaussian(mean.expand(N), log_scale.expand(N)).sample(Rng(6))
    sigma = math.exp(-0.4)
    assert abs(float(drawn.mean()) - 1.5) < 4.5 * sigma / math.sqrt(N)
    assert abs(float(drawn.std()) / sigma - 1) < 4.5 / math.sqrt(2 * N)


@pytest.mark.parametrize(
    "d",
    [
        logistics(16, 1, spread=0.3),
        logistics(16, 4, spread=0.3),
        Bernoulli(Rng(7).normal((50,), dtype=F64), low=-1.0, high=1.0),
    ],
)
def test_the_mode_beats_every_neighbour_it_claims_to(d):
    """Temperature 0 is the mode, and the mode is on the grid; for one component no level beats it."""
    mode = d.mode()
    assert torch.equal(d.sample(Rng(8), temperature=0.0), mode)
    if isinstance(d, DiscretisedLogistics) and d.centre.shape[-1] > 1:
        return
    levels = 16 if isinstance(d, DiscretisedLogistics) else 2
    inner = grid(levels)[1:-1] if levels > 2 else grid(levels)
    best = d.log_prob(inner.expand(-1, 50)).max(0).values
    # the two outermost bins reach to infinity, so they may hold more than the bin of the centre
    middle = mode.abs() < 1 if levels > 2 else torch.ones(50, dtype=torch.bool)
    assert bool((d.log_prob(mode) >= best - 1e-12)[middle].all())


def test_a_lower_temperature_narrows():
    d = Gaussian(torch.zeros(1000), torch.zeros(1000))
    assert math.isclose(float(d.sample(Rng(0), 0.5).std() / d.sample(Rng(0)).std()), 0.5, rel_tol=1e-5)


def test_soft_floor_is_a_floor_and_the_identity_above_it():
    x = torch.tensor([-100.0, -7.0, 0.0, 5.0], dtype=F64, requires_grad=True)
    y = soft_floor(x, -7.0)
    assert bool((y >= -7).all())
    assert torch.allclose(y[2:], x[2:], atol=1e-3)
    y.sum().backward()
    assert bool((x.grad[1:] > 0.4).all())
