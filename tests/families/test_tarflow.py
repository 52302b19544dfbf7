"""TarFlow: a triangular bijection, undone from a cache as without one, guided as said, and denoised as Tweedie does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.tarflow import Autoregression, TarFlow, TarFlowConfig
from simulacra.laws.examples import drawn
from simulacra.nets.dequantise import Standardised
from simulacra.nets.spreading import Noisy
from simulacra.nets.transformer import learned, rotary
from simulacra.training.loop import train
from simulacra.training.settings import Training

F64 = torch.float64
KINDS = Classes(names=("a", "b"))


def pictures(
    shape: tuple[int, int, int], *, levels: int | None = 8, y: Classes | None = KINDS, scale: float = 1.0
) -> Space:
    low = -math.inf if levels is None else -1.0
    f = Continuous(low=low, high=-low, levels=levels, shape=shape, scale=scale)
    return Space(fields={"picture": f}, y=y, measure="pixels")


def tarflow(space: Space, *, size: float = 0.3, **settings) -> TarFlow:
    """A small TarFlow with no weight at its start, in float64."""
    config = TarFlowConfig(**{"patch": 2, "blocks": 3, "depth": 1, "width": 16, **settings})
    model = TarFlow(config, space, rng=1).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(size * Rng(2)(name).normal(p.shape, dtype=F64))
    return model


def batch(space: Space, n: int = 4) -> Batch:
    return (
        drawn(space, n, Rng(3)).batch(torch.arange(n), Rng(0)).map(lambda t: t.double() if t.is_floating_point() else t)
    )


def block(given: int = 2, **settings) -> Autoregression:
    return tarflow(pictures((1, 4, 6)), **settings).flow.bijection.blocks[0]


@pytest.mark.parametrize("positions", [learned, rotary])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 2, 4)])
def test_the_log_determinant_is_autograds(shape, positions):
    space = pictures(shape, levels=None)
    model, x, y = tarflow(space, positions=positions), batch(space).x[:1], torch.tensor([1])  # pyright: ignore
    _, log_det = model.to_latent(x, y=y)
    jacobian = torch.autograd.functional.jacobian(lambda v: model.to_latent(v, y=y)[0][0], x)
    size = math.prod(shape)
    assert torch.allclose(torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet, log_det[0], atol=1e-8)


def test_a_block_is_triangular_and_two_of_them_see_everything():
    one, x, given = block(), Rng(4)("x").normal((1, 6, 4), dtype=F64), torch.eye(2, dtype=F64)[:1]
    jacobian = torch.autograd.functional.jacobian(lambda x: one(x, given)[0][0], x)[:, :, 0]  # (t, d, t, d)
    sees = jacobian.abs().sum((1, 3)) > 0
    assert torch.equal(sees, torch.ones(6, 6, dtype=torch.bool).tril())
    for t in range(6):
        own = jacobian[t, :, t]
        assert torch.equal(own, torch.diag(own.diagonal()))
    space = pictures((1, 4, 6), levels=None)
    model = tarflow(space, blocks=2)
    whole = torch.autograd.functional.jacobian(
        lambda x: model.to_latent(x, y=torch.tensor([0]))[0][0],
        batch(space).x[:1],  # pyright: ignore
    )
    assert (whole != 0).any(0).all()
    assert ((whole.reshape(24, 24) != 0).sum(1) >= 21).all()  # all other patches, and itself on the way


@pytest.mark.parametrize("positions", [learned, rotary])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_inversion_from_a_cache_is_that_without_one(positions, guidance):
    one, z = block(positions=positions), Rng(4)("z").normal((3, 6, 4), dtype=F64)
    given = torch.eye(2, dtype=F64)[[0, 1, 1]]
    x = torch.zeros_like(z)
    for t in range(6):  # the whole pass anew for every token
        mu, alpha = one.affine(x[:, :-1], given, 3)
        free_mu, free_alpha = one.affine(x[:, :-1], 0 * given, 3)
        mu, alpha = mu + guidance * (mu - free_mu), alpha + guidance * (alpha - free_alpha)
        x[:, t] = z[:, t] * alpha[:, t].exp() + mu[:, t]
    assert torch.allclose(one.inverse(z, given, guidance), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 4, 6), (4, 2, 4)])
def test_there_and_back(shape):
    space = pictures(shape, levels=None)
    model, given = tarflow(space), batch(space)
    z, _ = model.to_latent(given.x, y=given.y)
    assert torch.allclose(model.from_latent(z, y=given.y), given.x, rtol=0, atol=1e-8)  # pyright: ignore


def test_guidance_by_minus_one_forgets_the_label():
    space = pictures((1, 4, 4), levels=None)
    model, z = tarflow(space).flow.bijection, Rng(4)("z").normal((3, 16), dtype=F64)
    given = torch.eye(2, dtype=F64)[[0, 1, 1]]
    assert torch.allclose(model.inverse(z, given, -1.0), model.inverse(z, 0 * given), atol=1e-10)
    assert not torch.allclose(model.inverse(z, given, 0.0), model.inverse(z, 0 * given), atol=1e-3)


def test_labels_are_left_out_as_often_as_said():
    """Where all are left out the label changes no loss; where none is, it does."""
    space = pictures((1, 4, 4))
    given = batch(space, 32)
    other = Batch(x=given.x, y=1 - given.y)  # pyright: ignore
    for unlabelled, share in ((0.0, 0.0), (0.25, 0.25)):
        model = tarflow(space, unlabelled=unlabelled, blocks=1)
        losses = [[float(model.loss(b.rows(slice(r, r + 1)), Rng(7).rows(r)).total.detach()) for r in range(32)]
                  for b in (given, other)]  # fmt: skip
        same = sum(a == b for a, b in zip(*losses, strict=True)) / 32
        assert abs(same - share) <= 4 * math.sqrt(share * (1 - share) / 32)


def test_noise_is_taken_out_by_tweedies_formula():
    """Where a model stands at its start, v is normal around the centre, and E[x | v] is a shrinkage towards it."""
    sigma, space = 0.4, pictures((1, 4, 4), levels=100_001, y=None, scale=0.2)
    config = TarFlowConfig(blocks=2, depth=1, width=16, dequantise=Noisy(sigma=sigma), chart=Standardised)
    model = TarFlow(config, space).double()
    noisy, half, clean = (model.sample(8, rng=1, denoise=d).x for d in (0.0, 0.5, 1.0))
    inside = noisy.abs() < 1  # what lies outside the range is cut off
    for d, x in ((0.5, half), (1.0, clean)):
        assert torch.allclose(x[inside], (noisy * (1 - d * sigma**2 / 0.2**2)).clamp(-1, 1)[inside], atol=1e-4)


@pytest.mark.parametrize("size", [0.3, 3.0])
def test_extreme_pictures_are_finite_whatever_the_weights(size):
    space = pictures((1, 8, 8), levels=256)
    model = tarflow(space, size=size, blocks=8).float()
    x = torch.ones(4, 1, 8, 8) * torch.tensor([-1.0, 1.0, 1.0, -1.0])[:, None, None, None]
    x[2, :, ::2, ::2], x[3, :, 3, 3] = -1, 1
    assert model.log_likelihood(x, y=torch.tensor([0, 1, 0, 1]), rng=0).nats.isfinite().all()


def test_no_bits_are_won_from_noise():
    space = pictures((1, 4, 4), levels=4, y=None)
    config = TarFlowConfig(blocks=2, depth=1, width=16)
    trained = train(TarFlow(config, space), drawn(space, 512, Rng(5)), Training(steps=30, batch=64, save_seconds=None))
    new = drawn(space, 2000, Rng(6)).batch(torch.arange(2000), Rng(0))
    said = trained.model.log_likelihood(new.x, rng=0)
    error = said.standard_error() / (16 * math.log(2))
    assert 2 - 5 * error < said.bits_per_element() < 3


def test_users_mistakes():
    with pytest.raises(ValueError, match=r"patch must divide .* got 3 for 8 x 8"):
        TarFlow(TarFlowConfig(patch=3), pictures((1, 8, 8)))
    with pytest.raises(ValueError, match="and be smaller"):
        TarFlow(TarFlowConfig(patch=2), pictures((1, 2, 2)))
    with pytest.raises(ValueError, match="unlabelled is a share"):
        TarFlowConfig(unlabelled=1.0)
    for space, unlabelled in ((pictures((1, 4, 4), y=None), 0.1), (pictures((1, 4, 4)), 0.0)):
        with pytest.raises(ValueError, match="guidance needs classes"):
            tarflow(space, unlabelled=unlabelled).sample(2, rng=0, guidance=1.0)


def test_samples_are_what_the_codes_stand_for():
    space = pictures((1, 4, 4))
    model, y = tarflow(space), torch.tensor([0, 1, 1])
    z = Rng(9)("z").normal((3, 16), dtype=F64)
    expected = model.flow.reals.settled(model.from_latent(0.5 * z, y=y))
    found = model.sample(3, y=y, rng=9, temperature=0.5).x
    assert isinstance(expected, Tensor)
    assert torch.equal(found, expected)
