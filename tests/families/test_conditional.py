"""Diffusion and flow matching given a y that is a space: against a linear-Gaussian world where p(x | y) is known."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Stored
from simulacra.core.capabilities import ConditionalSampler, Sampler
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families import diffusion, flow_matching
from simulacra.families.diffusion import DiffusionConfig, DiffusionGiven
from simulacra.families.flow_matching import FlowMatchingConfig, FlowMatchingGiven
from simulacra.mathematics.couplings import optimal_transport
from simulacra.mathematics.preconditioning import edm
from simulacra.nets import denoisers
from simulacra.nets.text_encoder import Convolved
from simulacra.training.loop import train
from simulacra.training.settings import Training

SLOPE, SPREAD = 1.5, 0.5  # x | y ~ N(SLOPE y, SPREAD^2), y ~ N(0, 1), each pixel by itself
INFINITE = math.inf
SMALL = denoisers.ByShape(grid=denoisers.Convolutional(width=8, blocks=1), vector=denoisers.Dense(width=32, depth=1))


def grids(*shape: int) -> Continuous:
    return Continuous(low=-INFINITE, high=INFINITE, shape=shape)


WORLD = Space(fields={"x": grids(1, 8, 9)}, y=Space(fields={"y": grids(1, 8, 9)}), measure="pixels")


def believed(beside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x for what a network is told: y and a 1, or zeros where it is told nothing."""
    y, told = beside[:, :1], beside[:, 1:]
    return SLOPE * y, SPREAD**2 + (1 - told) * SLOPE**2


class RightDenoiser(nn.Module):
    """What the world's own denoiser answers in EDM's coefficients, for data of deviation 1."""

    def forward(self, into: Tensor, noise: Tensor, beside: Tensor, given: Tensor | None) -> Tensor:
        s = (4 * noise).exp().reshape(-1, 1, 1, 1)
        c = edm(s, torch.ones_like(s))
        x, (mean, variance) = into / c.into, believed(beside)
        return (mean + (x - mean) * variance / (variance + s**2) - c.skip * x) / c.out


class RightVelocity(nn.Module):
    """E[n - x_0 | x_t] of the world on the straight path."""

    def __init__(self) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))  # a family asks its network for type and device

    def forward(self, x: Tensor, t: Tensor, beside: Tensor, given: Tensor | None) -> Tensor:
        t, (mean, variance) = t.reshape(-1, 1, 1, 1), believed(beside)
        left = (x - (1 - t) * mean) / ((1 - t) ** 2 * variance + t**2)
        return t * left - (mean + (1 - t) * variance * left)


def right(family: Any) -> Any:
    """A model whose network knows the world."""
    if family is diffusion:
        model: Any = diffusion.build(DiffusionConfig(backbone=SMALL), WORLD)
        model.network = RightDenoiser()
    else:
        model = flow_matching.build(FlowMatchingConfig(backbone=SMALL), WORLD)
        model.network = RightVelocity()
    return model.double()


FAMILIES = pytest.mark.parametrize("family", [diffusion, flow_matching], ids=["diffusion", "flow matching"])


@FAMILIES
def test_draws_given_a_picture_follow_the_known_conditional(family: Any):
    model, y = right(family), Rng(0)("y").normal((40, 1, 8, 9), dtype=torch.float64)
    x = model.sample_given(y, rng=1, steps=64).x
    assert isinstance(x, Tensor)
    off = (x - SLOPE * y) / SPREAD
    n = off.numel()
    assert abs(float(off.mean())) < 5 / math.sqrt(n)
    assert abs(float(off.std()) - 1) < 5 / math.sqrt(2 * n) + 0.02  # and the error of 64 steps
    # told nothing, they follow the marginal, whatever y is
    free = model.sample_given(y, rng=1, steps=64, guidance=0.0).x
    assert torch.equal(free, model.sample_given(-y, rng=1, steps=64, guidance=0.0).x)
    whole = math.hypot(SLOPE, SPREAD)
    assert abs(float(free.std()) / whole - 1) < 5 / math.sqrt(2 * n) + 0.02
    assert abs(float((free * y).mean())) < 5 * whole / math.sqrt(n)
    assert torch.equal(x, model.sample_given(y, rng=1, steps=64, guidance=1.0).x), "guidance 1 is the conditional"


@FAMILIES
def test_scores_given_a_picture_are_those_of_the_known_conditional(family: Any):
    model, y = right(family), Rng(0)("y").normal((30, 1, 8, 9), dtype=torch.float64)
    x = SLOPE * y + SPREAD * Rng(0)("x").normal(y.shape, dtype=torch.float64)
    truth = torch.distributions.Normal(SLOPE * y, SPREAD).log_prob(x).flatten(1).sum(1)
    how: Any = {"draws": 200} if family is diffusion else {}  # the Jacobian is diagonal: Hutchinson's trace is exact
    found = model.log_likelihood(x, y=y, rng=1, **how).nats
    gap = truth - found
    assert abs(float(gap.mean())) < 5 * float(gap.std()) / math.sqrt(30) + 0.05 * (1 if family is diffusion else 5)
    wrong = model.log_likelihood(x, y=-y, rng=1, **how).nats
    assert float((truth - wrong).mean()) > 10
    with pytest.raises(ValueError, match="conditional on y"):
        model.log_likelihood(x, rng=1)


def test_denoising_without_y_is_of_the_marginal():
    model, y = right(diffusion), torch.ones(2, 1, 8, 9, dtype=torch.float64)
    x = torch.full_like(y, 2.0)
    told, untold = model.denoise(x, 1.0, y=y), model.denoise(x, 1.0)
    torch.testing.assert_close(told, SLOPE * y + (x - SLOPE * y) * SPREAD**2 / (SPREAD**2 + 1))
    variance = SLOPE**2 + SPREAD**2
    torch.testing.assert_close(untold, x * variance / (variance + 1))


def test_masks_that_keep_everything_or_nothing():
    model, y = right(diffusion), Rng(0)("y").normal((64, 1, 8, 9), dtype=torch.float64)
    x, all_of_it = torch.full_like(y, 7.0), torch.ones_like(y, dtype=torch.bool)
    assert torch.equal(model.complete(x, all_of_it, y=y, rng=1, steps=4).x, x)
    short = []
    for steps in (40, 80, 160):
        none = model.complete(x * math.nan, ~all_of_it, y=y, rng=1, steps=steps, rounds=1).x
        off = (none - SLOPE * y) / SPREAD
        assert abs(float(off.mean())) < 5 / math.sqrt(off.numel())
        short.append(1 - float(off.std()))
    # ancestral steps are of first order: what they fall short by halves as they double
    assert short[0] < 0.15
    for more, less in pairwise(short):
        assert less == pytest.approx(more / 2, abs=5 / math.sqrt(2 * off.numel()))


def captioned() -> Stored:
    """Points about 2 for "a high one", about -2 for "low"; lengths beside them."""
    texts = [b"low", b"a high one"]
    y = Rng(0)("y").integers(2, (512,))
    rows = torch.tensor([list(text.ljust(12, b"\0")) for text in texts])
    space = Space(
        fields={"p": grids(1)}, y=Space(fields={"caption": Categorical(k=256, shape=(12,), varying=True)}),
        measure="line",
    )  # fmt: skip
    x = (4.0 * y - 2)[:, None] + 0.3 * Rng(0)("x").normal((512, 1))
    return Stored(space=space, x=x, y=rows[y], y_length=torch.tensor([len(t) for t in texts])[y])


@FAMILIES
@pytest.mark.slow
def test_captions_are_heard(family: Any):
    data, adam = captioned(), AdamW(lr=5e-3, schedule=Warmup(steps=20, decay=0.5))
    kind: Any = DiffusionConfig if family is diffusion else FlowMatchingConfig
    config = kind(backbone=SMALL, optimiser=adam, text=Convolved(width=32, depth=1, heads=4), unlabelled=0.2)
    model = train(family.build(config, data.space), data, Training(steps=300, batch=128, save_seconds=None)).averaged
    low = data.y[data.x[:, 0] < 0][:1]
    high = data.y[data.x[:, 0] > 0][:1]
    by = {w: model.sample_given(high.expand(256, -1), rng=1, steps=12, guidance=w).x for w in (0.0, 1.0, 3.0)}
    assert abs(float(by[1.0].mean()) - 2) < 0.4
    assert abs(float(by[0.0].mean())) < 0.7, "told nothing, of both kinds"
    assert float(by[0.0].std()) > 1.5
    assert float(by[3.0].mean()) > float(by[1.0].mean()) - 0.02
    assert abs(float(model.sample_given(low.expand(256, -1), rng=1, steps=12).x.mean()) + 2) < 0.4


@FAMILIES
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 9, 14), (3, 8, 11), (4, 13, 9)])
def test_pictures_given_pictures_of_any_size(family: Any, shape: tuple[int, int, int]):
    """Odd, oblong, of one to four channels; 8-bit, so that what is drawn must lie on levels."""
    field = Continuous(low=-1, high=1, levels=256, shape=shape)
    y_field = Continuous(low=-1, high=1, shape=(1, shape[1] // 2, shape[2] // 3))
    space = Space(fields={"x": field}, y=Space(fields={"y": y_field}), measure="8-bit pixels")
    kind: Any = DiffusionConfig if family is diffusion else FlowMatchingConfig
    model = family.build(kind(backbone=SMALL), space)
    y = torch.zeros(3, *y_field.shape)
    batch = Batch(x=torch.zeros(3, *shape), y=y)
    assert bool(model.loss(batch, Rng(0)).total.isfinite())
    for steps, guidance in ((1, 1.0), (2, 0.0), (2, 100.0)):
        x = model.sample_given(y, rng=0, steps=steps, guidance=guidance).x
        assert x.shape == (3, *shape)
        torch.testing.assert_close(x, field.value(field.index(x)), rtol=0, atol=1e-6)
        assert float(x.abs().max()) <= 1


def test_optimal_transport_pairs_only_among_equal_conditions():
    seen: list[Tensor | None] = []

    def watched(x: Tensor, noise: Tensor, y: Tensor | None) -> Tensor:
        seen.append(y)
        return optimal_transport(x, noise, y)

    data = captioned()
    model = flow_matching.build(FlowMatchingConfig(backbone=SMALL, coupling=watched), data.space)
    batch = data.batch(torch.arange(16), Rng(0))
    model.loss(batch, Rng(0))
    (alike,) = seen
    assert alike is not None
    assert torch.equal(alike == alike[0], batch.x[:, 0].sign() == batch.x[0, 0].sign())


def test_what_can_be_promised():
    plain = Space(fields=WORLD.fields, measure="pixels")
    for family, given in ((diffusion, DiffusionGiven), (flow_matching, FlowMatchingGiven)):
        kind: Any = DiffusionConfig if family is diffusion else FlowMatchingConfig
        model = family.build(kind(backbone=SMALL), WORLD)
        assert isinstance(model, given)
        assert isinstance(model, ConditionalSampler)
        assert not isinstance(model, Sampler)
        assert isinstance(family.build(kind(backbone=SMALL), plain), Sampler)
        for wrong, space in ((given, plain), (type(family.build(kind(backbone=SMALL), plain)), WORLD)):
            with pytest.raises(ValueError, match="build"):
                wrong(kind(backbone=SMALL), space)


def test_refusals():
    with pytest.raises(ValueError, match="zero terminal signal-to-noise"):
        DiffusionConfig(high=math.inf)
    model = diffusion.build(DiffusionConfig(backbone=SMALL, unlabelled=0.0), WORLD)
    with pytest.raises(ValueError, match="unlabelled > 0 in training; got guidance 2"):
        model.sample_given(torch.zeros(1, 1, 8, 9), rng=0, guidance=2.0)
    labelled = Space(fields=WORLD.fields, y=Classes(names=("a", "b")), measure="pixels")
    with pytest.raises(ValueError, match="each of 3 examples; got 2"):
        diffusion.build(DiffusionConfig(backbone=SMALL), labelled).sample(3, y=torch.zeros(2, dtype=torch.int64), rng=0)
