"""A codec and a model of its codes together: nothing lost where the codec does nothing, exact where everything is."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from simulacra import laws
from simulacra.core.batch import Batch
from simulacra.core.capabilities import Codec, Completer, Labelled, Likelihood, Sampler, capabilities
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.diffusion import Diffusion, DiffusionConfig
from simulacra.families.discrete_diffusion import DiscreteDiffusion, DiscreteDiffusionConfig
from simulacra.families.gan import GAN, GANConfig
from simulacra.families.vae import VAE, VAEConfig
from simulacra.families.vqvae import VQVAE, VQVAEConfig
from simulacra.mathematics.divergences import log_normal
from simulacra.modalities.latent import LinearGaussian
from simulacra.nets import denoisers
from simulacra.nets.backbones import Dense
from simulacra.nets.code_prior import CausalPrior
from simulacra.nets.codebooks import VQ
from simulacra.nets.codegrids import CodesByLayout, Places
from simulacra.nets.through import through
from simulacra.nets.tokens import Bidirectional

KINDS = Classes(names=("a", "b", "c"))
PICTURE = Continuous(low=-1, high=1, levels=4, shape=(1, 4, 3))
LABELLED = Space(fields={"picture": PICTURE}, y=KINDS, measure="2-bit pixels")
PLAIN = Space(fields={"picture": PICTURE}, measure="2-bit pixels")
SMALL = denoisers.Dense(width=16, depth=1)


class Identity(nn.Module):
    """Codes are the examples themselves."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = self.latent = space

    def encode(self, x: Tensor, *, y: Any = None) -> Tensor:
        return x

    def decode(self, z: Tensor, *, y: Any = None) -> Tensor:
        return z

    def posterior(self, x: Tensor, *, y: Any = None) -> Independent:
        return Independent(Normal(x, 1e-6), 1)


def test_with_codes_that_are_the_examples_it_is_the_model_itself():
    space = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(3,))}, measure="numbers")
    inner = Diffusion(DiffusionConfig(backbone=SMALL), space, rng=1)
    both = through(Identity(space), inner)
    assert torch.equal(both.sample(5, rng=3, steps=4).x, inner.sample(5, rng=3, steps=4).x)
    assert inspect.signature(both.sample) == inspect.signature(inner.sample)
    x = torch.ones(2, 3)
    assert torch.equal(both.decode(both.encode(x)), x)


class Linear(nn.Module):
    """The codec of a linear-Gaussian world: true posterior, true p(x | z)."""

    def __init__(self, world: LinearGaussian) -> None:
        super().__init__()
        self.world, self.space = world, world.space
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(1,))})

    def posterior(self, x: Tensor, *, y: Any = None) -> Independent:
        exact = self.world.posterior(x)
        return Independent(Normal(exact.mean, exact.variance.sqrt()), 1)

    def encode(self, x: Tensor, *, y: Any = None) -> Tensor:
        return self.posterior(x).mean

    def decode(self, z: Tensor, *, y: Any = None) -> Tensor:
        return z @ self.world.weight.T + self.world.bias

    def log_prob_given(self, x: Tensor, z: Tensor, *, y: Any = None) -> Tensor:
        return self.world.log_joint(x, z) - log_normal(z).sum(1)

    def log_likelihood(self, x: Tensor, *, y: Any = None, known=None, length=None, rng=None) -> LogLikelihood:
        return LogLikelihood(nats=torch.zeros(len(x)), kind="bound", measure="numbers", count=2.0)


class Standard(nn.Module):
    """N(0, 1), or a wider one."""

    def __init__(self, space: Space, deviation: float = 1.0) -> None:
        super().__init__()
        self.space, self.deviation = space, deviation

    def log_likelihood(self, x: Tensor, *, y: Any = None, known=None, length=None, rng=None) -> LogLikelihood:
        nats = Normal(0.0, self.deviation).log_prob(x).sum(1)
        return LogLikelihood(nats=nats, kind="exact", measure="codes", count=1.0)


def test_the_bound_is_log_p_where_posterior_and_prior_are_the_true_ones():
    world = LinearGaussian(torch.tensor([[1.0], [-2.0]]), 0.7)
    codec = Linear(world)
    x = world.draw(64, Rng(0)).double()
    both = through(codec, Standard(codec.latent))
    said = both.log_likelihood(x, rng=1)
    torch.testing.assert_close(said.nats, world.log_prob(x))
    assert (said.kind, said.measure, said.count) == ("bound", "numbers", 2.0)
    wide = through(codec, Standard(codec.latent, deviation=2.0)).log_likelihood(x, rng=1)
    assert wide.mean() < said.mean() - 0.1
    assert not isinstance(both, Sampler), "what the model of the codes cannot, the pair cannot"


def vae_diffusion(space: Space = LABELLED, codec_space: Space = LABELLED) -> Any:
    codec = VAE(VAEConfig(latent=3, networks=Dense(hidden=(8,))), codec_space, rng=1)
    field = Continuous(low=-math.inf, high=math.inf, shape=(3,), centre=0.3, scale=0.8)
    codes = Space(fields={"code": field}, y=space.y, measure="latent codes")
    return through(codec, Diffusion(DiffusionConfig(backbone=SMALL), codes, rng=2))


def vqvae_discrete() -> Any:
    config = VQVAEConfig(
        codebook=VQ(k=5, channels=2),
        networks=CodesByLayout(grid=Places(count=2)),
        prior=CausalPrior(width=8, depth=1, heads=2),
    )
    codec = VQVAE(config, LABELLED, rng=1)
    codes = Space(fields={"code": codec.latent.only}, y=KINDS, measure="codes")
    backbone = Bidirectional(width=8, depth=1, heads=2)
    return through(codec, DiscreteDiffusion(DiscreteDiffusionConfig(backbone=backbone), codes, rng=2))


@pytest.mark.slow
@pytest.mark.parametrize("make", [vae_diffusion, vqvae_discrete])
def test_the_pair_keeps_the_laws(make: Any):
    able = set(capabilities(make()))
    assert {Sampler, Likelihood, Codec, Labelled} <= able
    assert Completer not in able
    results = laws.check(make, rng=0)
    assert not [r for r in results if r.failed], laws.table(results)
    assert sum(r.status == "passed" for r in results) > 12


def test_a_codec_that_learnt_without_labels_serves_a_model_with_them():
    both = vae_diffusion(LABELLED, PLAIN)
    y = torch.tensor([0, 2])
    assert both.space == LABELLED
    drawn = both.sample(2, y=y, rng=0, steps=3)
    assert torch.equal(drawn.y, y)
    levels = (drawn.x + 1) * 1.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-5)
    assert both.log_likelihood(drawn.x, y=y, rng=0).nats.shape == (2,)
    assert torch.equal(both.encode(drawn.x, y=y), both.codec.encode(drawn.x))


def test_rows_of_varying_length_are_drawn_with_their_lengths():
    space = Space(fields={"w": Categorical(k=5, shape=(4,), varying=True)}, measure="letters")
    codec = VAE(VAEConfig(latent=2, networks=Dense(hidden=(8,))), space, rng=1)
    both = through(codec, Diffusion(DiffusionConfig(backbone=SMALL), codec.latent, rng=2))
    drawn = both.sample(6, rng=0, steps=2)
    assert drawn.length.shape == (6,)
    said = both.log_likelihood(drawn.x, length=drawn.length, rng=0)
    assert said.kind == "bound"
    assert said.count.tolist() == drawn.length.double().tolist()


def test_refusals():
    inner = Diffusion(DiffusionConfig(backbone=SMALL), Space(fields={"x": Continuous(low=0, high=1, shape=(2,))}))
    with pytest.raises(ValueError, match="needs a Codec .* GAN is"):
        through(GAN(GANConfig(latent=2, generator=(4,), critic=(4,)), PLAIN), inner)
    with pytest.raises(ValueError, match=r"must model the codec's, of shape \(3,\); got one of \[\(2,\)\]"):
        through(VAE(VAEConfig(latent=3, networks=Dense(hidden=(4,))), PLAIN), inner)
    words = Space(fields={"w": Categorical(k=5, shape=(4,), varying=True)}, measure="letters")
    config = VQVAEConfig(codebook=VQ(k=5, channels=2), networks=CodesByLayout(other=Places(count=2)))
    codec = VQVAE(config, words)
    model = DiscreteDiffusion(DiscreteDiffusionConfig(backbone=Bidirectional(width=8, heads=2)), codec.latent)
    with pytest.raises(ValueError, match="VQVAE does not draw lengths; take a codec that does"):
        through(codec, model)


def test_what_is_drawn_from_a_batch_carries_its_labels():
    drawn = vqvae_discrete().sample(4, rng=0, steps=2)
    assert isinstance(drawn, Batch)
    assert drawn.x.shape == (4, 1, 4, 3)
    assert drawn.y.shape == (4,)
