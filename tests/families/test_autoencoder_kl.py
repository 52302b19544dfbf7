"""The KL-regularised autoencoder: its bound, its codes' places, what it learns. Laws: tests/laws/test_families.py."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.families.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from simulacra.nets.heads import Mixture
from simulacra.nets.picture_coder import PictureCoder

NETWORK = PictureCoder(widths=(8, 8, 8), channels=2, groups=4)


def pictures(channels: int = 1, height: int = 8, width: int = 8) -> Space:
    field = Continuous(low=-1, high=1, levels=256, shape=(channels, height, width))
    return Space(fields={"picture": field}, measure="8-bit pixels")


def stirred(space: Space, **settings) -> AutoencoderKL:
    """A model whose layers all say something."""
    model = AutoencoderKL(AutoencoderKLConfig(network=NETWORK, **settings), space, rng=1)
    with torch.no_grad():
        for name, p in model.coder.named_parameters():
            p.add_(0.2 * Rng(2)(name).normal((p.numel(),)).view_as(p))
    return model.eval()


@pytest.mark.parametrize("sides", [(8, 8), (9, 12), (5, 7)])
def test_codes_have_a_place_for_every_four_pixels_a_side_and_pictures_their_own_size(sides):
    model = stirred(pictures(3, *sides))
    places = (2, -(-sides[0] // 4), -(-sides[1] // 4))
    x = 2 * Rng(0).uniform((2, 3, *sides)) - 1
    assert model.latent.only.shape == places
    assert model.encode(x).shape == (2, *places)
    assert model.decode(model.encode(x)).shape == x.shape


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_loss_is_minus_log_p_and_so_much_of_the_divergence(beta):
    model = stirred(pictures(), beta=beta)
    x = Rng(0).integers(256, (3, 1, 8, 8)) / 127.5 - 1
    loss = model.loss(Batch(x=x), Rng(5))
    q = model.posterior(x)
    z = q.mean + q.stddev * Rng(5)("z").normal(q.mean.shape)
    prior = Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
    kl = kl_divergence(q.base_dist, prior).flatten(1).sum(1)
    expected = (-model.log_prob_given(x, z) + beta * kl).sum()
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-3)


def test_neighbouring_codes_paint_neighbouring_pixels():
    """Without attention a code far away says little of a pixel: what it still says, it says through the norms."""
    network = PictureCoder(widths=(8, 8), channels=2, groups=8, attention=False)
    model = AutoencoderKL(AutoencoderKLConfig(network=network), pictures(1, 32, 32), rng=1).double()
    z = Rng(0).normal((1, 2, 16, 16), dtype=torch.float64).requires_grad_()
    raw = model.coder.decoder(z)
    (slope,) = torch.autograd.grad(raw[0, 0, 4, 4], [z])
    size = slope[0].abs().sum(0)
    assert size[:8, :8].sum() > 5 * size[8:, 8:].sum()


def test_a_little_learning_brings_pictures_back():
    space, (height, width) = pictures(), (8, 8)
    config = AutoencoderKLConfig(network=NETWORK)
    model = AutoencoderKL(config, space, rng=1)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def batch(seed: int, n: int) -> torch.Tensor:
        at = Rng(seed).uniform((n, 2, 1, 1)) * 8
        return torch.where((rows - at[:, 0]) ** 2 + (columns - at[:, 1]) ** 2 < 6, 1.0, -1.0)[:, None]

    held = batch(0, 64)
    before = (model.decode(model.encode(held)) - held).square().mean()
    (optimiser,) = config.optimiser.build(model.coder)
    for step in range(150):
        optimiser.zero_grad()
        loss = model.loss(Batch(x=batch(step + 1, 32)), Rng(step))
        (loss.total / loss.weight).backward()
        optimiser.step()
    after = (model.decode(model.encode(held)) - held).square().mean()
    assert after < 0.3 * before


def test_what_it_cannot_take_is_refused():
    words = Space(fields={"word": Categorical(k=5, shape=(4,))}, measure="letters")
    with pytest.raises(ValueError, match="takes whole pictures; fit vae"):
        AutoencoderKL(AutoencoderKLConfig(), words)
    with pytest.raises(ValueError, match="needs 15 numbers an element"):
        AutoencoderKL(AutoencoderKLConfig(likelihood=Mixture(components=5)), pictures())
    with pytest.raises(ValueError, match="groups must divide every width; got 8 and 12"):
        PictureCoder(widths=(8, 12))
    with pytest.raises(ValueError, match="beta must not be negative"):
        AutoencoderKLConfig(beta=-1)
