"""Logistic densities inside a range."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck

from simulacra.core.randomness import Rng
from simulacra.mathematics.truncated import TruncatedLogistics

RANGES = [(-math.inf, math.inf), (0.0, math.inf), (-math.inf, 1.0), (0.0, 1.0), (-3.0, 7.0)]


def some(low: float, high: float, n: int = 1, dtype: torch.dtype = torch.float64) -> TruncatedLogistics:
    rng = Rng(3)
    parts = [rng(name).normal((1, 3), dtype=dtype).expand(n, 3) for name in ("logits", "centre", "scale")]
    return TruncatedLogistics(parts[0], 2 * parts[1], parts[2] - 0.5, low, high)


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_it_integrates_to_one_over_its_range(low: float, high: float):
    a, b = max(low, -80.0), min(high, 80.0)
    x = a + (torch.arange(200_000, dtype=torch.float64) + 0.5) * (b - a) / 200_000
    total = some(low, high).log_prob(x).exp().sum() * (b - a) / 200_000
    assert abs(float(total) - 1) < 1e-6  # a logistic's tail beyond 80 scales is exp(-50) and less


def test_one_component_without_ends_is_the_logistic():
    x = torch.linspace(-30, 30, 61, dtype=torch.float64)
    one = TruncatedLogistics(torch.zeros(1), torch.tensor([1.5]).double(), torch.tensor([math.log(0.7)]).double())
    assert torch.allclose(one.log_prob(x), torch.as_tensor(stats.logistic.logpdf(x.numpy(), 1.5, 0.7)), atol=1e-12)


def test_a_wide_component_is_uniform_between_two_ends():
    wide = TruncatedLogistics(torch.zeros(1), torch.tensor([0.3]).double(), torch.tensor([9.0]).double(), 2.0, 6.0)
    assert torch.allclose(
        wide.log_prob(torch.linspace(2, 6, 9).double()), torch.tensor(-math.log(4)).double(), atol=1e-7
    )


@pytest.mark.parametrize("centre", [-60.0, 60.0])
def test_a_centre_far_beyond_an_end_makes_an_exponential(centre: float):
    """There the logistic is exp(-|z|) (1 + o(1)), so that cut to [0, 1] it is exponential; drawn as well as scored."""
    n, sign = 4000, math.copysign(1, centre)
    far = TruncatedLogistics(
        torch.zeros(n, 1), torch.full((n, 1), centre).double(), torch.zeros(n, 1).double(), 0.0, 1.0
    )
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    exact = sign * x - math.log((math.exp(sign) - 1) * sign)
    assert torch.allclose(
        TruncatedLogistics(*(t[:1] for t in (far.logits, far.centre, far.log_scale)), 0.0, 1.0).log_prob(x),
        exact,
        atol=1e-9,
    )
    drawn = far.sample(Rng(0)).numpy()
    law = lambda v: (torch.exp(sign * torch.as_tensor(v)) - 1).numpy() / (math.exp(sign) - 1)  # noqa: E731
    assert stats.kstest(drawn, law).pvalue > 1e-4


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_draws_follow_the_density(low: float, high: float):
    n = 4000
    drawn = some(low, high, n).sample(Rng(1))
    assert bool(((drawn >= low) & (drawn <= high)).all())
    a, b = max(low, -60.0), min(high, 60.0)
    grid = torch.linspace(a, b, 60_001, dtype=torch.float64)
    density = some(low, high).log_prob(grid).exp()
    whole = torch.cumulative_trapezoid(density, grid)

    def law(v: object) -> object:
        return whole[((torch.as_tensor(v) - a) / (b - a) * 60_000).long().clamp(0, 59_999)].numpy()

    assert stats.kstest(drawn.numpy(), law).pvalue > 1e-4


def test_gradients_are_those_of_the_density():
    x = torch.tensor([0.1, 0.9], dtype=torch.float64)
    parts = [Rng(0)(n).normal((2, 3), dtype=torch.float64).requires_grad_() for n in "abc"]
    assert gradcheck(lambda *p: TruncatedLogistics(*p, 0.0, 1.0).log_prob(x), parts)


def test_in_float32_nothing_is_lost_at_the_ends():
    double, single = some(0.0, 1.0), some(0.0, 1.0, dtype=torch.float32)
    x = torch.tensor([0.0, 1e-6, 0.5, 1.0])
    assert torch.allclose(single.log_prob(x).double(), double.log_prob(x.double()), atol=1e-4)


def test_a_lower_temperature_is_narrower_and_zero_the_mode():
    one = some(-math.inf, math.inf, 2000)
    assert one.sample(Rng(0), 0.3).std() < one.sample(Rng(0), 1.0).std()
    assert torch.equal(one.sample(Rng(0), 0.0), one.mode())
