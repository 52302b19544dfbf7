"""SDEdit and drawing for conditions, with models that can be written down."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.mathematics.solvers import heun
from simulacra.uses.redraw import HIGH, LOW, level_of, redraw
from simulacra.uses.translate import translate

SPREAD = 2.0
LINE = Continuous(low=-math.inf, high=math.inf, shape=(1,), centre=10.0, scale=SPREAD)


class Normals:
    """x ~ N(10 + 2 y', 2^2) with y' = -1 or 1 by its class, or about 10 for no known class (taken as one normal)."""

    space = Space(fields={"x": LINE}, y=Classes(names=("low", "high")), measure="line")

    def denoise(self, x: Any, sigma: float | Tensor, *, y: Any = None) -> Any:
        s2 = torch.as_tensor(sigma).reshape(-1, 1) ** 2
        mean = LINE.centre + (0.0 if y is None else SPREAD * (2.0 * y[:, None] - 1))
        return mean + (x - mean) / (1 + s2)


def test_levels_go_from_none_to_all():
    assert level_of(0.0) == pytest.approx(LOW)
    assert level_of(1.0) == pytest.approx(HIGH)
    assert level_of(0.2) < level_of(0.21)


def test_strength_nought_returns_it_and_one_forgets_it():
    x = torch.linspace(0, 20, 400)[:, None]
    assert redraw(Normals(), x, 0.0) is x
    fresh = redraw(Normals(), x, 1.0, steps=64)
    assert torch.equal(fresh, redraw(Normals(), x.flip(0), 1.0, steps=64)), "nothing is left of it"
    assert abs(float(fresh.mean()) - 10) < 5 * SPREAD / 20
    assert abs(float(fresh.std()) / SPREAD - 1) < 5 / math.sqrt(800) + 0.01


@pytest.mark.parametrize("strength", [0.1, 0.4, 0.7])
def test_between_them_it_is_what_the_flow_makes_of_noise(strength: float):
    """The probability flow of N(m, d^2) only scales: about m, u + s n goes to (u + s n) / sqrt(1 + s^2)."""
    x = torch.full((2000, 1), 14.0, dtype=torch.float64)
    s = level_of(strength)
    found = (redraw(Normals(), x, strength, steps=400, solver=heun) - 10) / SPREAD
    scale = math.sqrt(1 + s**2)
    noise = Rng(0)("redraw").normal((2000, 1), dtype=torch.float64)
    torch.testing.assert_close(found, (2.0 + s * noise) / scale, rtol=0, atol=2e-3)


def test_another_class_pulls_towards_it_and_guidance_further():
    x, high = torch.full((500, 1), 8.0), torch.ones(500, dtype=torch.int64)
    low = redraw(Normals(), x, 0.5, y=1 - high)
    up = redraw(Normals(), x, 0.5, y=high)
    further = redraw(Normals(), x, 0.5, y=high, guidance=3.0)
    assert float(low.mean()) + 1 < float(up.mean()) < float(further.mean()) - 1


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: redraw(Normals(), torch.zeros(1, 1), 1.5), r"strength lies in 0 .. 1; got 1.5"),
        (lambda: redraw(Normals(), torch.zeros(1, 2), 0.5), "must have the shape"),
        (lambda: redraw(object(), torch.zeros(1, 1), 0.5), "redraw needs a Denoiser"),
        (lambda: redraw(Normals(), torch.zeros(1, 1), 0.5, y=torch.tensor([2])), "labels must lie in 0 .. 1"),
        (lambda: translate(Normals(), torch.zeros(1, 1)), "translate needs a ConditionalSampler"),
        (lambda: translate(Doubled(), torch.zeros(2, 3)), "must have the shape"),
        (lambda: translate(Doubled(), torch.zeros(2, 1), draws=0), "draws must be at least 1; got 0"),
    ],
)
def test_refusals(call: Any, told: str):
    with pytest.raises(ValueError, match=told):
        call()


class Doubled:
    """x = 2 y + noise."""

    space = Space(fields={"x": LINE}, y=Space(fields={"y": LINE}), measure="line")

    def sample_given(self, y: Any, *, rng: Any, noise: float = 0.1) -> Batch:
        return Batch(x=2 * y + noise * rng.normal(y.shape), y=y)


def test_each_condition_gets_its_own_draws():
    y = torch.tensor([[1.0], [5.0], [9.0]])
    x = translate(Doubled(), y, draws=4)
    assert x.shape == (4, 3, 1)
    assert float((x - 2 * y).abs().max()) < 1
    assert len(x.unique()) == 12
    assert torch.equal(translate(Doubled(), y, draws=4, options={"noise": 0.0}), (2 * y).expand(4, -1, -1))
