"""One uniform number a draw: the quantile of a finite distribution."""

from __future__ import annotations

import torch

from simulacra.mathematics.discrete import quantile


def test_evenly_spaced_numbers_give_every_value_its_share():
    p = torch.tensor([0.2, 0.0, 0.5, 0.3], dtype=torch.float64)
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = quantile(p.log().expand(1000, 4), u)
    assert drawn.bincount(minlength=4).tolist() == [200, 0, 500, 300]
    assert bool((drawn.diff() >= 0).all())


def test_the_ends_are_values_that_can_occur():
    for dtype in (torch.float32, torch.float64):
        log_p = torch.full((2, 256), 1.0, dtype=dtype)
        assert quantile(log_p, torch.tensor([0.0, 1 - 2.0**-24])).tolist() == [0, 255]
