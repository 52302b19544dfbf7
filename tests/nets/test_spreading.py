"""Learnt and noisy dequantisation: densities are normalised, and what comes of them bounds from below."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.mathematics.divergences import log_normal
from simulacra.nets.dequantise import Reals, Standardised
from simulacra.nets.initialise import initialise
from simulacra.nets.spreading import Noisy, Variational

F64 = torch.float64
FIELD = Continuous(low=-1, high=1, levels=5, shape=(2, 2, 3))


class Given(Rng):
    """A stream of random numbers whose normal draw is this one."""

    def __init__(self, e: Tensor) -> None:
        super().__init__(0)
        self.e = e

    def normal(self, shape: Any, **how: Any) -> Tensor:
        return self.e


def places(size: float = 0.3) -> Any:
    module: Any = Variational(steps=3, width=8)(FIELD)
    module.double()
    initialise(module, Rng(1))
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.add_(size * Rng(2)(name).normal(p.shape, dtype=F64))
    return module


def test_the_density_of_places_is_that_of_the_normal_it_is_made_of():
    module, index = places(), Rng(3)("x").integers(5, (1, 2, 2, 3)).to(F64)
    e = Rng(4)("e").normal((1, 2, 2, 3), dtype=F64)
    u, log_q = module(FIELD, index, Given(e))

    def placed(e: Tensor) -> Tensor:
        return module(FIELD, index, Given(e.reshape(1, 2, 2, 3)))[0].flatten()

    slogdet = torch.linalg.slogdet(torch.autograd.functional.jacobian(placed, e.flatten())).logabsdet
    assert torch.allclose(log_q, log_normal(e).sum() - slogdet, rtol=1e-10)
    assert ((u > 0) & (u < 1)).all()


def test_places_see_the_picture_and_every_place_the_others():
    module, e = places(), Rng(4)("e").normal((1, 2, 2, 3), dtype=F64)
    one, other = torch.zeros(1, 2, 2, 3, dtype=F64), torch.ones(1, 2, 2, 3, dtype=F64)
    assert not torch.allclose(module(FIELD, one, Given(e))[0], module(FIELD, other, Given(e))[0], atol=1e-3)

    def placed(e: Tensor) -> Tensor:
        return module(FIELD, one, Given(e.reshape(1, 2, 2, 3)))[0].flatten()

    assert (torch.autograd.functional.jacobian(placed, e.flatten()) != 0).all()


def test_places_stay_inside_the_cell_whatever_the_weights():
    module = places(size=1e3).float()
    u, log_q = module(FIELD, torch.zeros(64, 2, 2, 3), Rng(5))
    assert ((u > 0) & (u < 1)).all()
    assert log_q.isfinite().all()


def test_noise_tells_levels_with_probabilities_that_sum_to_one():
    """At one v, sum over the levels of P(x | v) is 1: log P is what is subtracted from log q."""
    f, sigma = Continuous(low=-1, high=1, levels=7, shape=(1,)), 0.4
    noise, v = Noisy(sigma=sigma)(f), torch.linspace(-2, 2, 41, dtype=F64)
    total = torch.zeros(41, dtype=F64)
    for level in range(7):
        e = (v - f.value(level)) / sigma
        u, log = noise(f, torch.full((41, 1), float(level), dtype=F64), Given(e[:, None]))
        assert torch.allclose(f.value(level + (u[:, 0] - 0.5)), v)
        total += (log_normal(e) - math.log(sigma / f.spacing) - log).exp()
    assert torch.allclose(total, torch.ones(41, dtype=F64))


@pytest.mark.parametrize("sigma", [0.03, 0.3, 1.0])
def test_noise_bounds_the_log_probability_from_below(sigma):
    """The best density there is, the mixture of the levels' noises, comes to at most log P(level)."""
    f = Continuous(low=-1, high=1, levels=5, shape=(1,))
    reals = Reals(Space(fields={"mark": f}, measure="marks"), "a flow", Standardised)
    p = torch.tensor([0.4, 0.1, 0.2, 0.25, 0.05], dtype=F64)
    level = torch.arange(5).repeat_interleave(20_000)
    v, added = reals.spread(f.value(level.to(F64))[:, None], Rng(0), Noisy(sigma=sigma)(f))
    assert isinstance(v, Tensor)
    mixture = p.log() + log_normal(v, f.value(torch.arange(5, dtype=F64)), math.log(sigma))
    gap = (p[level].log() - torch.logsumexp(mixture, 1) - added).reshape(5, -1)
    average, error = (p * gap.mean(1)).sum(), (p * gap.std(1)).sum() / math.sqrt(20_000)
    assert average > -5 * error
    # nothing is lost where the noise is too small to mistake a level
    assert sigma > 0.1 or abs(average) < 1e-6


def test_users_mistakes():
    endless = Continuous(low=-math.inf, high=math.inf, shape=(1, 2, 2))
    for setting in (Variational(), Noisy()):
        with pytest.raises(ValueError, match="without levels"):
            setting(endless)
    with pytest.raises(ValueError, match="sigma must be positive"):
        Noisy(sigma=0.0)
    with pytest.raises(ValueError, match="steps and width"):
        Variational(steps=0)
