"""Glow: one bijection with the slope it says, act-norm that starts from the first batch, and honest bits."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.glow import Glow, GlowConfig
from simulacra.laws.examples import drawn
from simulacra.nets.dequantise import Standardised
from simulacra.nets.invertible import ActNorm
from simulacra.nets.spreading import Noisy, Variational
from simulacra.training.loop import train
from simulacra.training.settings import Training

F64 = torch.float64
KINDS = Classes(names=("a", "b"))


def pictures(shape: tuple[int, int, int], *, levels: int | None = 8, y: Classes | None = KINDS) -> Space:
    low = -math.inf if levels is None else -1.0
    return Space(fields={"picture": Continuous(low=low, high=-low, levels=levels, shape=shape)}, y=y, measure="pixels")


def glow(space: Space, *, size: float = 0.3, **settings) -> Glow:
    """A small Glow with no weight at its start, in float64."""
    model = Glow(GlowConfig(**{"levels": 2, "steps": 2, "width": 8, **settings}), space, rng=1).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(size * Rng(2)(name).normal(p.shape, dtype=F64))
    return model


def batch(space: Space, n: int = 4) -> Batch:
    return (
        drawn(space, n, Rng(3)).batch(torch.arange(n), Rng(0)).map(lambda t: t.double() if t.is_floating_point() else t)
    )


SHAPES = [(1, 4, 4), (3, 4, 2), (1, 3, 5), (2, 5, 4), (4, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_log_determinant_is_autograds(shape):
    space = pictures(shape, levels=None)
    model, x, y = glow(space), batch(space).x[:1], torch.tensor([1])  # pyright: ignore
    z, log_det = model.to_latent(x, y=y)
    jacobian = torch.autograd.functional.jacobian(lambda v: model.to_latent(v, y=y)[0][0], x)
    size = math.prod(shape)
    assert z.shape == (1, size)
    assert torch.allclose(torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet, log_det[0], atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back(shape):
    space = pictures(shape, levels=None)
    model, given = glow(space), batch(space)
    z, _ = model.to_latent(given.x, y=given.y)
    back = model.from_latent(z, y=given.y)
    assert torch.allclose(back, given.x, rtol=0, atol=1e-7)  # pyright: ignore


def test_there_and_back_in_float32():
    space = pictures((1, 8, 8))
    model, given = glow(space).float(), batch(space)
    z, _ = model.to_latent(given.x.float(), y=given.y)  # pyright: ignore
    again, _ = model.to_latent(model.from_latent(z, y=given.y), y=given.y)
    assert (again - z).abs().max() < 1e-3 * (1 + z.abs().max())


@pytest.mark.parametrize("chart", [Standardised, None])
def test_extreme_pictures_are_finite_whatever_the_weights(chart):
    space = pictures((1, 8, 8), levels=256)
    model = glow(space, size=1.0, **({} if chart is None else {"chart": chart})).float()
    rows = torch.ones(3, 1, 8, 8) * torch.tensor([-1.0, 1.0, 0.0])[:, None, None, None]
    x = torch.cat([space.only.value(space.only.index(rows)), torch.ones(1, 1, 8, 8)])  # pyright: ignore
    x[3, :, ::2, ::2] = -1
    assert model.log_likelihood(x, y=torch.tensor([0, 1, 0, 1]), rng=0).nats.isfinite().all()


def test_the_first_batch_starts_act_norm_and_no_other_does():
    space = pictures((1, 4, 4))
    model, given = (
        Glow(GlowConfig(steps=2, width=8), space, rng=1),
        batch(space, 16).map(lambda t: t.float() if t.is_floating_point() else t),
    )
    before = copy.deepcopy(model.state_dict())
    model.log_likelihood(given.x, rng=0)
    model.sample(3, rng=0)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    model.loss(given, Rng(0))
    assert int(model.prepared) == 16
    norms = [m for m in model.modules() if isinstance(m, ActNorm)]
    assert all(bool((norm.log_scale != 0).any()) for norm in norms)
    seen: list[Tensor] = []
    hooks = [norm.register_forward_hook(lambda m, a, out: seen.append(out[0])) for norm in norms]
    model.loss(given, Rng(0))
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(norms)
    for y in seen:
        assert y.flatten(0, 2).mean(0).abs().max() < 1e-4
        assert (y.flatten(0, 2).std(0, correction=0) - 1).abs().max() < 1e-3
    state = copy.deepcopy(model.state_dict())
    other = Glow(GlowConfig(steps=2, width=8), space, rng=2)
    other.load_state_dict(state)
    for saved in (model, other):
        saved.loss(given.map(lambda t: -t if t.is_floating_point() else t), Rng(1))
        assert all(torch.equal(state[name], t) for name, t in saved.state_dict().items())


def test_codes_are_as_many_as_pixels_and_each_matters():
    space = pictures((1, 3, 5), levels=None)
    model = glow(space)
    assert model.latent.only.shape == (15,)
    z = Rng(4)("z").normal((1, 15), dtype=F64)
    jacobian = torch.autograd.functional.jacobian(lambda v: model.from_latent(v, y=torch.tensor([0])), z)
    assert (jacobian.reshape(15, 15).abs().sum(0) > 0).all()


def test_levels_stop_where_the_picture_does():
    for shape, codes in {(1, 8, 8): 3, (1, 4, 4): 2, (1, 2, 2): 1}.items():
        model = Glow(GlowConfig(levels=9, steps=1, width=4), pictures(shape))
        assert len(model.flow.bijection.sizes) == codes


def test_no_bits_are_won_from_noise():
    """Levels drawn uniformly have log2(levels) bits a pixel: no model that is honest about new ones comes below."""
    space = pictures((1, 4, 4), levels=4, y=None)
    data = drawn(space, 512, Rng(5))
    trained = train(Glow(GlowConfig(steps=1, width=8), space), data, Training(steps=15, batch=64, save_seconds=None))
    new = drawn(space, 1000, Rng(6)).batch(torch.arange(1000), Rng(0))
    said = trained.model.log_likelihood(new.x, rng=0)
    assert said.kind == "bound"
    assert said.count == 16
    error = said.standard_error() / (16 * math.log(2))
    assert 2 - 5 * error < said.bits_per_element() < 3


@pytest.mark.slow
def test_it_learns_two_kinds_of_stripes():
    """Class a is striped across, b along, with one random bit a stripe: 4 bits a picture of 16 pixels."""
    space, n = pictures((1, 4, 4), levels=2), 2000
    y = Rng(0)("y").integers(2, (n,))
    bits = (2 * Rng(0)("bits").integers(2, (n, 4)) - 1).float()
    along = bits[:, None, :, None].expand(n, 1, 4, 4)
    x = torch.where((y == 0)[:, None, None, None], along, along.transpose(2, 3))
    data = Stored(space=space, x=space.only.index(x).to(torch.uint8), y=y)  # pyright: ignore
    config = GlowConfig(steps=4, width=16, dequantise=Variational(steps=2, width=8))
    model = train(Glow(config, space), data, Training(steps=250, batch=64, save_seconds=None)).averaged
    bits_per_dim = model.log_likelihood(x[:500], y=y[:500], rng=0).bits_per_element()
    assert 4 / 16 < bits_per_dim < 0.7  # 1 for pixels on their own
    drawn_ = model.sample(200, y=y[:200], rng=1, temperature=0.7).x
    striped = torch.where((y[:200] == 0)[:, None, None, None], drawn_, drawn_.transpose(2, 3))
    assert (striped.std(3) == 0).float().mean() > 0.5  # 1/8 for pixels on their own


def test_users_mistakes():
    with pytest.raises(ValueError, match="at least 2 x 2"):
        Glow(GlowConfig(), pictures((1, 1, 5)))
    with pytest.raises(ValueError, match="levels, steps and width"):
        GlowConfig(steps=0)
    with pytest.raises(ValueError, match="use flow instead"):
        Glow(GlowConfig(), Space(fields={"v": Continuous(low=0, high=1, shape=(4,))}))
    with pytest.raises(ValueError, match="these are of categories"):
        Glow(GlowConfig(), Space(fields={"v": Categorical(k=3, shape=(1, 4, 4))}))
    with pytest.raises(ValueError, match="chart=Standardised"):
        Glow(GlowConfig(dequantise=Noisy()), pictures((1, 4, 4)))
