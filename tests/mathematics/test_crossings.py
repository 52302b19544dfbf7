"""Crossings of paired curves: planted ones are found, intervals hold them as often as they say."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.crossings import band, crossing, reached, slope

SIZES = (10, 20, 40, 80, 160, 320, 640)


def planted(at: float, repetitions: int, spread: float, rng: Rng, steep: float = 0.02) -> torch.Tensor:
    """Differences that grow by ``steep`` with each doubling and are nought at ``at``; noise shared along a row."""
    mean = steep * torch.tensor([math.log2(n / at) for n in SIZES], dtype=torch.float64)
    own = rng("own").normal((repetitions, len(SIZES)), dtype=torch.float64)
    shared = rng("shared").normal((repetitions, 1), dtype=torch.float64)
    return mean + spread * (0.8 * own + 0.6 * shared)


def test_a_crossing_without_noise_is_found_exactly():
    found = crossing(SIZES, planted(100, 5, 1e-9, Rng(0)), logarithmic=True)
    assert found.verdict == "crosses"
    assert found.place == pytest.approx(100, rel=1e-6)
    assert found.first == (10, 20, 40, 80)
    assert found.second == (160, 320, 640)
    # one fine place on each side
    assert found.interval is not None
    assert found.interval[0] <= 100 <= found.interval[1]
    assert found.interval[1] / found.interval[0] < 2 ** (3 / 64)


def test_the_interval_holds_a_planted_crossing_as_often_as_it_says():
    repetitions, held, made = 400, 0, 0
    for i in range(repetitions):
        found = crossing(SIZES, planted(100, 12, 0.02, Rng(i)), logarithmic=True)
        if found.interval is not None:
            made += 1
            held += found.interval[0] <= 100 <= found.interval[1]
    assert made > 0.95 * repetitions  # it is there to be seen
    # within three standard errors of 95 %; the fine grid and the frame make it hold a little oftener, never seldomer
    assert held / made > 0.95 - 3 * math.sqrt(0.95 * 0.05 / made)
    assert held / made < 0.99


def test_curves_that_do_not_differ_are_rarely_told_apart():
    named = 0
    for i in range(400):
        noise = Rng(i)("nothing").normal((8, len(SIZES)), dtype=torch.float64)
        named += crossing(SIZES, noise).verdict != "neither"
    assert named / 400 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(("at", "verdict"), [(1e9, "first"), (1e-9, "second")])
def test_where_one_is_always_better_no_crossing_is_seen(at: float, verdict: str):
    found = crossing(SIZES, planted(at, 6, 1e-3, Rng(1)), logarithmic=True)
    assert (found.verdict, found.place, found.interval) == (verdict, None, None)


def test_a_crossing_back_mirrors_a_crossing():
    there = planted(100, 8, 0.01, Rng(2))
    one, other = crossing(SIZES, there, logarithmic=True), crossing(SIZES, -there, logarithmic=True)
    assert (one.verdict, other.verdict) == ("crosses", "crosses back")
    assert one.place == pytest.approx(other.place)
    assert one.interval == pytest.approx(other.interval)
    assert (one.first, one.second) == (other.second, other.first)


def test_curves_that_cross_twice_are_not_given_one_place():
    bowl = torch.tensor([1.0, -1.0, 1.0]) + 1e-6 * Rng(0)("x").normal((4, 3))
    assert crossing((1, 2, 3), bowl).verdict == "several"


def test_paired_intervals_hold_the_mean():
    truth, held = 0.3, 0
    for i in range(400):
        values = truth + Rng(i)("x").normal((6, 1), dtype=torch.float64).exp() - math.exp(0.5)  # skewed
        found = band(values)
        held += float(found.low[0]) <= truth <= float(found.high[0])
    # a skewed mean of six holds its truth less often than 95 %; normal ones as often as they say
    assert held / 400 > 0.8
    held = 0
    for i in range(400):
        found = band(truth + Rng(i)("x").normal((6, 1), dtype=torch.float64))
        held += float(found.low[0]) <= truth <= float(found.high[0])
    assert abs(held / 400 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 400)


def test_a_target_is_reached_where_the_curve_goes_below_for_good():
    means = torch.tensor([0.4, 0.2, 0.3, 0.1])
    assert reached((1, 10, 100, 1000), means, 0.2) == pytest.approx(10**2.5)
    assert reached((1, 10, 100, 1000), means, 0.05) is None
    assert reached((1, 10, 100, 1000), means, 0.5) == 1


def test_a_slope_without_noise_is_exact_and_with_noise_held():
    x = torch.arange(12.0, dtype=torch.float64)
    assert slope(x, 3 * x + 1)[0] == pytest.approx(3)
    held = 0
    for i in range(300):
        _, (low, high) = slope(x, 0.5 * x + Rng(i)("e").normal((12,), dtype=torch.float64))
        held += low <= 0.5 <= high
    assert abs(held / 300 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 300)


@pytest.mark.parametrize("places", [(1, 1, 2), (1, 2)])
def test_places_that_do_not_fit_are_refused(places: tuple[float, ...]):
    with pytest.raises(ValueError, match="rising places"):
        crossing(places, torch.zeros(3, 3))
    with pytest.raises(ValueError, match="at least 2"):
        crossing((1, 2), torch.zeros(1, 2))
