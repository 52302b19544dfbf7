"""Consistency functions: the identity at the lowest level, curricula of levels, steps along a flow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics import preconditioning
from simulacra.mathematics.trajectories import (
    Curriculum,
    Pair,
    Refining,
    Shrinking,
    anchored,
    euler_stride,
    heun_stride,
    pseudo_huber,
)

LOW, HIGH = 0.002, 80.0
SHARES = (torch.arange(1 << 16, dtype=torch.float64) / (1 << 16)).float()


def pairs(curriculum: Curriculum, fraction: float, deviation: float = 0.5) -> Pair:
    return curriculum(SHARES, torch.tensor(fraction), torch.tensor(deviation), LOW, HIGH)


@pytest.mark.parametrize("name", ["edm", "epsilon", "clean", "v", "velocity"])
def test_at_the_lowest_level_nothing_is_changed_and_far_from_it_little(name: str):
    levels, d = torch.tensor([LOW, 1.0, HIGH], dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    plain = getattr(preconditioning, name)(levels, d)
    c = anchored(plain, levels, LOW)
    assert (float(c.skip[0]), float(c.out[0])) == (1.0, 0.0)
    assert torch.equal(c.into, plain.into)
    # x + (low - s) / s (x - D), written out
    x, answer = 3.0, -2.0
    denoised = plain.skip * x + plain.out * answer
    torch.testing.assert_close(c.skip * x + c.out * answer, x + (LOW - levels) / levels * (x - denoised))


def test_with_edm_the_output_is_scaled_as_song_et_al_scale_it():
    levels, d = torch.logspace(-2.5, 1.9, 20, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    c = anchored(preconditioning.edm(levels, d), levels, LOW)
    torch.testing.assert_close(c.out, d * (levels - LOW) / (levels.square() + d.square()).sqrt())  # appendix C
    torch.testing.assert_close(c.skip, d**2 / ((levels - LOW).square() + d**2), rtol=0, atol=2e-3)


@pytest.mark.parametrize("deviation", [0.5, 1.0])
def test_cells_of_the_grid_are_as_likely_as_the_log_normal_says(deviation: float):
    pair = pairs(Refining(first=10, last=10), 0.3, deviation)
    edges = torch.linspace(LOW ** (1 / 7), HIGH ** (1 / 7), 11, dtype=torch.float64) ** 7
    # p(sigma_i) ~ erf((log sigma_i+1 - mean) / (sqrt 2 spread)) - erf(... sigma_i): Song & Dhariwal 2024, table 1
    at = ((edges / (2 * deviation)).log() + 1.1) / (math.sqrt(2) * 2.0)
    wanted = at.erf().diff() / at.erf().diff().sum()
    cell = torch.bucketize(pair.far.double() * 0.9999, edges) - 1
    torch.testing.assert_close(torch.bincount(cell, minlength=10) / len(cell), wanted.float(), rtol=0, atol=1e-4)
    torch.testing.assert_close(pair.near.double(), edges[cell], rtol=1e-5, atol=0)
    torch.testing.assert_close(pair.far.double(), edges[cell + 1], rtol=1e-5, atol=0)


def test_the_grid_doubles_until_it_is_as_fine_as_asked():
    counts = [len(pairs(Refining(first=4, last=20), f).far.unique()) for f in (0.0, 0.29, 0.31, 0.59, 0.61, 0.95, 1.0)]
    # log2(20 / 4) + 1 = 3.3 stages: 4, 8, 16 and, clipped, 20
    assert counts == [4, 4, 8, 8, 16, 20, 20]


def test_gaps_shrink_by_stages():
    first, last = pairs(Shrinking(), 0.0), pairs(Shrinking(), 1.0)
    assert torch.equal(first.far, last.far)
    gap = (1 + 8 * torch.sigmoid(-first.far)) / 2
    torch.testing.assert_close(first.near, (first.far * (1 - gap)).clamp(min=LOW))
    wide = (last.far > 1) & (first.far < 60)
    torch.testing.assert_close((last.far - last.near)[wide], (first.far * gap / 128)[wide], rtol=1e-3, atol=0)
    # at first most levels are taught what the example is
    assert float((first.near == LOW).double().mean()) > 0.6


@pytest.mark.parametrize("curriculum", [Refining(), Shrinking()])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_levels_are_in_range_and_apart(curriculum: Curriculum, fraction: float):
    pair = pairs(curriculum, fraction, 1.3)
    assert float(pair.near.min()) >= LOW * (1 - 1e-6)
    assert float(pair.far.max()) <= HIGH * (1 + 1e-6)
    assert float((pair.far - pair.near).min()) > 1e-6


def gaussian(x: Tensor, s: Tensor) -> Tensor:
    """The denoiser of N(0, 1)."""
    return x / (1 + s.square())[:, None]


@pytest.mark.parametrize(("stride", "order"), [(euler_stride, 1), (heun_stride, 2)])
def test_each_stride_has_its_order_at_levels_of_each_examples_own(stride, order):
    far = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    x = torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    errors = []
    for gap in (0.01, 0.005):
        near = far * (1 - gap)
        truth = x * ((1 + near**2) / (1 + far**2)).sqrt()[:, None]
        errors.append((stride(gaussian, x, Pair(near, far)) - truth).abs())
    # one step of order p errs by its length to the p + 1
    torch.testing.assert_close(
        (errors[0] / errors[1]).log2(), torch.full((3, 1), order + 1.0).double(), rtol=0.05, atol=0
    )


def test_less_of_the_same_noise_is_a_step_of_the_flow_on_average():
    n, pair = 200_000, Pair(torch.tensor([0.6]), torch.tensor([1.0]))
    x, noise = Rng(0)("x").normal((n, 1)), Rng(0)("n").normal((n, 1))
    far, near = x + pair.far * noise, x + pair.near * noise
    slope = float((far * near).mean() / far.square().mean())  # E[near | far] is linear, both being normal
    assert abs(slope - float(euler_stride(gaussian, torch.ones(1, 1), pair))) < 5e-3


def test_pseudo_huber():
    a, b = torch.tensor([[3.0, 0.0, 4.0]]), torch.zeros(1, 3)
    c = 0.1 * math.sqrt(3)
    torch.testing.assert_close(pseudo_huber(a, b, 0.1), torch.tensor([math.sqrt(25 + c**2) - c]))
    small = pseudo_huber(1e-3 * a, b, 10.0)  # near 0 it is the square over 2 c
    torch.testing.assert_close(small, torch.tensor([25e-6 / (2 * 10 * math.sqrt(3))]), rtol=0.1, atol=1e-6)


def test_wrong_settings():
    with pytest.raises(ValueError, match="1 <= first <= last; got 20 and 10"):
        Refining(first=20, last=10)
    with pytest.raises(ValueError, match="q > 1"):
        Shrinking(q=1.0)
