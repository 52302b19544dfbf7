"""Power-function averages: widths, profiles, and combinations that are other averages."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simulacra.mathematics.power_average import combination, exponent, keep, overlap


def profile(g: float, steps: int) -> Tensor:
    """How much each step counts, by the updates themselves."""
    p = torch.zeros(steps, dtype=torch.float64)
    for t in range(1, steps + 1):
        p *= keep(g, t)
        p[t - 1] += 1 - keep(g, t)
    return p


@pytest.mark.parametrize(("width", "g"), [(0.10, 6.94), (0.05, 16.97)])  # Karras et al. 2024, section 3.1
def test_exponents_are_the_papers(width: float, g: float):
    assert exponent(width) == pytest.approx(g, abs=0.005)


@pytest.mark.parametrize("width", [0.01, 0.1, 0.25, 0.28])
def test_the_width_is_the_profiles_standard_deviation(width: float):
    g, n = exponent(width), 4000
    p, tau = profile(g, n), (torch.arange(n).double() + 0.5) / n
    mean = (p * tau).sum()
    assert float(p.sum()) == pytest.approx(1)
    assert float((p * (tau - mean).square()).sum().sqrt()) == pytest.approx(width, rel=2e-3)


def test_updates_weigh_each_step_by_the_integral_over_it():
    g, n = exponent(0.1), 50
    edges = torch.arange(n + 1).double() / n
    torch.testing.assert_close(profile(g, n), (edges ** (g + 1)).diff())


def test_overlaps_are_integrals():
    n, t1, t2, g1, g2 = 200_000, 30.0, 50.0, 3.0, 7.5
    tau = (torch.arange(n).double() + 0.5) / n * 60
    p = [(g + 1) * tau**g / t ** (g + 1) * (tau < t) for t, g in ((t1, g1), (t2, g2))]
    found = overlap(*(torch.tensor(v).double() for v in (t1, g1, t2, g2)))
    assert float(found) == pytest.approx(float((p[0] * p[1]).sum() * 60 / n), rel=1e-4)


def test_a_stored_average_is_itself():
    times = [100, 200, 300, 400] * 2
    exponents = [exponent(0.05)] * 4 + [exponent(0.1)] * 4
    for i in (1, 3, 7):
        x, missed = combination(times, exponents, times[i], exponents[i])
        torch.testing.assert_close(x, torch.eye(8, dtype=torch.float64)[i], rtol=0, atol=1e-6)
        assert missed < 1e-6


@pytest.mark.parametrize("width", [0.04, 0.07, 0.13, 0.2])
def test_two_widths_at_a_few_steps_give_others_and_say_how_well(width: float):
    times = [*range(25, 801, 25)] * 2
    exponents = [exponent(0.05)] * 32 + [exponent(0.1)] * 32
    x, missed = combination(times, exponents, 800, exponent(width))
    made = torch.zeros(800, dtype=torch.float64)
    for share, t, g in zip(x, times, exponents, strict=True):
        made[:t] += share * profile(g, t)
    truth = profile(exponent(width), 800)
    assert float(x.sum()) == pytest.approx(1)
    found = float((made - truth).norm() / truth.norm())
    assert found < 0.05
    assert found == pytest.approx(missed, abs=2e-3)  # steps are averaged over, which the integral is not


@pytest.mark.parametrize("width", [0.0, -0.1, 0.3, math.nan])
def test_widths_that_no_average_has(width: float):
    with pytest.raises(ValueError, match=r"in \(0, 0.288\); got"):
        exponent(width)
