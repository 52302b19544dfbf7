"""The chain of DDPM: its levels in closed form, and its clock the inverse of them."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.mathematics.noise_chain import AlongChain, NoiseChain, linear, root_linear, squared_cosine


def test_levels_are_products_of_what_each_step_keeps():
    chain = NoiseChain(count=50, first=1e-3, last=0.1)
    kept, share = [], 1.0
    for i in range(50):
        share *= 1 - (1e-3 + (0.1 - 1e-3) * i / 49)
        kept.append(share)
    exact = torch.tensor([math.sqrt((1 - a) / a) for a in kept], dtype=torch.float64)
    torch.testing.assert_close(chain.level(torch.arange(50.0, dtype=torch.float64)), exact, rtol=1e-10, atol=0)


def test_ddpms_own_ends():
    """Ho et al. 2020: L_T = KL(q(x_T | x_0) || N(0, I)) is about 1e-5 bits a dimension, so abar_T is about 4e-5."""
    ends = NoiseChain().level(torch.tensor([0.0, 999.0], dtype=torch.float64))
    assert ends[0] == pytest.approx(math.sqrt(1e-4 / (1 - 1e-4)), rel=1e-9)
    assert float(1 / (1 + ends[1] ** 2)) == pytest.approx(4.0358e-5, rel=1e-3)


def test_a_cosine_chain_follows_the_cosine():
    """Nichol & Dhariwal 2021, eq. 17; the last beta is cut at 0.999."""
    t = torch.arange(900, dtype=torch.float64)
    level = NoiseChain(betas=squared_cosine).level(t)
    angle = ((t + 1) / 1000 + 0.008) / 1.008 * math.pi / 2
    kept = angle.cos().square() / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(1 / (1 + level.square()), kept, rtol=1e-9, atol=0)
    assert NoiseChain(betas=squared_cosine).level(torch.tensor(999.0)).isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("betas", [linear, root_linear, squared_cosine])
def test_the_clock_gives_every_step_back_exactly(betas, dtype):
    chain = NoiseChain(betas=betas)
    t = torch.arange(1000, dtype=torch.float64)
    noise = (chain.level(t).log() / 4).to(dtype)
    assert torch.equal(chain(noise), t.to(dtype))


def test_between_two_steps_time_grows_with_the_logarithm():
    chain = NoiseChain(count=10, first=0.01, last=0.3)
    t = torch.tensor([0.25, 3.5, 8.9], dtype=torch.float64)
    torch.testing.assert_close(chain(chain.level(t).log() / 4), t, rtol=1e-9, atol=1e-9)
    a, b, middle = chain.level(torch.tensor([3.0, 4.0, 3.5], dtype=torch.float64))
    torch.testing.assert_close(middle, (a * b).sqrt())


def test_levels_beyond_the_ends_have_the_times_of_the_ends():
    chain = NoiseChain()
    noise = torch.tensor([1e-9, 1e6], dtype=torch.float64).log() / 4
    assert chain(noise).tolist() == [0.0, 999.0]


def test_training_covers_the_chain_evenly():
    chain = NoiseChain()
    share = (torch.arange(4, dtype=torch.float64) + 0.5) / 4
    torch.testing.assert_close(chain(AlongChain(chain=chain)(share, torch.ones(())).log() / 4), share * 999)


def test_a_chain_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 2 steps; got 1"):
        NoiseChain(count=1)
    with pytest.raises(ValueError, match="0 < first <= last < 1; got 0.5 and 0.1"):
        NoiseChain(first=0.5, last=0.1)
