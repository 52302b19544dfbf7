"""Features of notes that can be counted by hand, and areas with closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.tunes import (
    intervals_between,
    out_of_key,
    overlapping_area,
    pitch_classes,
    repeated,
    self_similarity,
)

C_MAJOR = torch.tensor([60, 62, 64, 65, 67, 69, 71, 72])


def test_pitch_classes_and_intervals_by_hand():
    assert pitch_classes(C_MAJOR)[0] == 2 / 8  # both c
    assert float(pitch_classes(C_MAJOR).sum()) == 1.0
    steps = intervals_between(C_MAJOR)
    assert (float(steps[12 + 2]), float(steps[12 + 1])) == (5 / 7, 2 / 7)
    assert float(intervals_between(torch.tensor([20, 90, 30]))[[0, 24]].sum()) == 1.0  # wide ones are octaves
    assert float(intervals_between(torch.tensor([20])).sum()) == 0.0


@pytest.mark.parametrize("shift", range(12))
def test_a_scale_is_in_key_wherever_it_begins(shift):
    assert out_of_key(C_MAJOR + shift) == pytest.approx(0.0, abs=1e-12)
    harmonic = torch.tensor([57, 59, 60, 62, 64, 65, 68, 69]) + shift
    assert out_of_key(harmonic) == pytest.approx(0.0, abs=1e-12)
    # of the twelve classes seven are in any key
    assert out_of_key(torch.arange(48, 60) + shift) == pytest.approx(5 / 12)
    assert out_of_key(torch.tensor([], dtype=torch.int64)) == 0.0


def test_bars_that_come_again():
    bars = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    found = self_similarity(bars)
    half = math.sqrt(0.5)
    assert torch.allclose(found[0], torch.tensor([1.0, 0.0, 1.0, half], dtype=torch.float64))
    assert repeated(bars) == pytest.approx((1 + half + 1 + half) / 4)
    assert math.isnan(repeated(bars[:1]))


def test_equal_sets_overlap_and_far_ones_do_not():
    x = lambda i, n: Rng(i)("x").normal((n, 3))  # noqa: E731
    assert overlapping_area(x(1, 120), x(2, 120)) > 0.95
    assert overlapping_area(x(1, 60) + 100, x(2, 60)) < 1e-6
    near = [overlapping_area(x(1, 60) + shift, x(2, 60)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert near == sorted(near, reverse=True)


def test_the_area_is_that_of_two_kernels_by_quadrature():
    fake, real = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0], [3.0]])
    between, among = torch.tensor([0.0, 1, 3, 1, 0, 2]).double(), torch.tensor([1.0, 3, 2]).double()
    at = torch.linspace(-20, 20, 400_001, dtype=torch.float64)

    def density(x):
        width = x.std() * len(x) ** -0.2
        return sum(torch.exp(-0.5 * ((at - v) / width) ** 2) for v in x) / (len(x) * width * math.sqrt(2 * math.pi))

    exact = float(torch.trapezoid(torch.minimum(density(between), density(among)), at))
    assert overlapping_area(fake, real) == pytest.approx(exact, abs=1e-3)


def test_areas_of_what_does_not_vary():
    same = torch.ones(5, 2)
    assert overlapping_area(same, same) == 1.0
    assert overlapping_area(same + 1, same) == 0.0
    assert overlapping_area(Rng(0)("x").normal((5, 2)), same) == 0.0
    with pytest.raises(ValueError, match="got 1 and 5"):
        overlapping_area(same[:1], same)
