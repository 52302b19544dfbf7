"""Extrapolation to samples without end: exact on a line, and right for Gaussians whose distance is known."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.extrapolation import extrapolated, straight_line
from simulacra.mathematics.frechet import frechet_distance


def test_a_line_is_found_exactly():
    shares = [0.1, 0.25, 0.5, 1.0]
    line = straight_line(shares, [3 + 0.2 / s for s in shares])
    assert (line.limit, line.slope, line.residual) == pytest.approx((3, 0.2, 0), abs=1e-12)
    bent = straight_line(shares, [3 + 0.2 / s + (s == 0.5) for s in shares])
    assert bent.residual > 0.3


def test_frechet_distance_without_end():
    """N(0, I) against N(0.3, 1.2^2 I) of 10: 0.9 + 0.4; at 400 rows bias is a quarter of it. Mean of 20 draws."""
    d, truth = 10, 10 * (0.09 + 0.04)
    limits, plain = [], []
    for s in range(20):
        x = 1.2 * Rng(s)("x").normal((400, d), dtype=torch.float64) + 0.3
        y = Rng(s)("y").normal((400, d), dtype=torch.float64)
        limits.append(extrapolated(frechet_distance, x, y, rng=Rng(s)("line"), smallest=0.25, points=8).limit)
        plain.append(frechet_distance(x, y))
    error, other = (float(torch.tensor(v).std()) / math.sqrt(20) for v in (limits, plain))
    assert abs(sum(limits) / 20 - truth) < 4 * error
    assert sum(plain) / 20 - truth > 4 * other


def test_it_depends_on_its_seed_alone():
    x, y = (Rng(1)(n).normal((60, 3), dtype=torch.float64) for n in "xy")
    first, again, other = (extrapolated(frechet_distance, x, y, rng=Rng(s), points=4).limit for s in (0, 0, 1))
    assert first == again != other


def test_what_makes_no_line():
    with pytest.raises(ValueError, match="two sizes or more; got 1"):
        straight_line([1.0, 1.0], [2.0, 2.0])
    with pytest.raises(ValueError, match="between 0 and 1; got 1"):
        extrapolated(frechet_distance, torch.ones(9, 2), torch.ones(9, 2), rng=Rng(0), smallest=1)
