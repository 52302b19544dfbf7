"""Even latents: each is standard normal, and together they leave nowhere out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.mathematics.latent_draws import Draw, Truncated, even, independent, multipliers

EXACTLY: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}


def test_multipliers_are_the_golden_ratio_and_its_kin():
    assert torch.allclose(multipliers(1), torch.tensor([2 / (1 + math.sqrt(5))], dtype=torch.float64), atol=1e-15)
    for size in (2, 3, 8):
        ratio = float(1 / multipliers(size)[0])
        assert math.isclose(ratio ** (size + 1), ratio + 1, rel_tol=1e-13)
        assert torch.allclose(multipliers(size), ratio ** -torch.arange(1, size + 1, dtype=torch.float64))


def test_gaps_on_a_line_have_at_most_three_lengths():
    # the three-gap theorem (Sos 1958); independent points have as many lengths as gaps
    for n in (5, 64, 500):
        u = torch.special.ndtr(even(Rng(7)(n), (n, 1), **EXACTLY)[:, 0]).sort().values
        gaps = torch.cat([u.diff(), u[:1] + 1 - u[-1:]])
        assert len({round(float(g), 9) for g in gaps}) <= 3
        assert gaps.max() < 3 / n


def test_every_square_of_the_plane_holds_its_share_of_a_batch():
    for step in range(5):
        u = torch.special.ndtr(even(Rng(3)(step), (512, 2), **EXACTLY))
        cell = (u * 8).floor().long()
        held = torch.bincount(cell[:, 0] * 8 + cell[:, 1], minlength=64)
        assert held.double().std() < 1.4  # independent ones: 2.8


@pytest.mark.parametrize("draw", [even, independent, Truncated(0.7)])
def test_rows_do_not_depend_on_how_many_are_drawn(draw: Draw):
    whole = draw(Rng(1)("z"), (100, 3), **EXACTLY)
    assert torch.equal(draw(Rng(1)("z").rows(40), (60, 3), **EXACTLY), whole[40:])
    assert torch.equal(draw(Rng(1)("z"), (40, 3), **EXACTLY), whole[:40])


@pytest.mark.parametrize("draw", [even, independent])
def test_a_row_is_standard_normal_over_draws(draw: Draw):
    u = torch.special.ndtr(torch.stack([draw(Rng(0)(i), (4, 2), **EXACTLY)[3] for i in range(1000)]))
    ranked = u.sort(0).values
    distance = (ranked - torch.linspace(0, 1, 1000, dtype=torch.float64)[:, None]).abs().max()
    assert distance < 1.95 / math.sqrt(1000)  # Kolmogorov: a chance of 1e-3


def test_an_integral_is_met_closer_than_by_chance():
    def error(draw: Draw) -> float:
        errors = [
            draw(Rng(2)(i), (512, 2), **EXACTLY).abs().sum(1).mean() - 2 * math.sqrt(2 / math.pi) for i in range(20)
        ]
        return float(torch.stack(errors).square().mean().sqrt())

    assert error(even) < 0.1 * error(independent)


def test_too_many_dimensions_are_refused():
    with pytest.raises(ValueError, match="at most 8 dimensions; got 9: use independent"):
        even(Rng(0), (1, 9), **EXACTLY)


@pytest.mark.parametrize("bound", [0.04, 0.5, 2.0])
def test_truncated_entries_are_normal_ones_that_lie_inside(bound: float):
    # Brock et al. 2019, section 3.1: those beyond are drawn again, so the law is that of the rest
    x = Truncated(bound)(Rng(0), (4_000, 2), **EXACTLY).flatten()
    assert x.abs().max() < bound
    low, high = (torch.special.ndtr(torch.tensor(s * bound, dtype=torch.float64)) for s in (-1, 1))
    ranked = ((torch.special.ndtr(x) - low) / (high - low)).sort().values
    distance = (ranked - torch.linspace(0, 1, len(x), dtype=torch.float64)).abs().max()
    assert distance < 1.95 / math.sqrt(len(x))  # Kolmogorov: a chance of 1e-3
    with pytest.raises(ValueError, match="must be positive; got 0"):
        Truncated(0.0)
