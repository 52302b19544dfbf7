"""The families by name, and a known-good setting of each for the data at hand. The only place that names them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from simulacra.core import optimisers
from simulacra.core.space import Space
from simulacra.families import dcgan, flow, gan, hvae, vae, vqvae
from simulacra.mathematics import adversarial, bounds, ladder
from simulacra.nets import (
    activations,
    autoregressive,
    backbones,
    code_prior,
    codebooks,
    codegrids,
    coupling,
    heads,
    transforms,
)
from simulacra.nets import adversarial as duels
from simulacra.recipes.settings import table
from simulacra.training import settings as training_settings
from simulacra.training.settings import Training

# what a recipe.json may name
SETTINGS = table(
    (
        *(vae, hvae, vqvae, gan, dcgan, flow, optimisers, adversarial, bounds, ladder, activations, backbones, heads),
        *(code_prior, codebooks, codegrids, duels, transforms, coupling, autoregressive, training_settings),
    )
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family as the command line knows it.

    config  its frozen dataclass of settings.
    build   (config, space, rng=) -> the model.
    recipe  (space, number of examples) -> (config, training): a setting that is known to work.
    """

    config: type[Any]
    build: Callable[..., Any]
    recipe: Callable[[Space, int], tuple[Any, Training]]


def vae_recipe(space: Space, examples: int) -> tuple[vae.VAEConfig, Training]:
    """The evidence bound with 16 codes for pictures up to 16 a side and short rows, 32 beyond."""
    steps = passes(examples, 128, epochs=60, low=1_500, high=20_000)
    return vae.VAEConfig(latent=16 if small(space) else 32), Training(steps=steps, batch=128)


def hvae_recipe(space: Space, examples: int) -> tuple[hvae.HVAEConfig, Training]:
    """Three resolutions of latent groups, the KL warmed up over the first tenth."""
    steps = passes(examples, 128, epochs=60, low=1_000, high=20_000)
    config = hvae.HVAEConfig(groups=(2, 3, 2), objective=ladder.LadderWarmup(steps=max(1, steps // 10)))
    if small(space):
        config = replace(config, groups=(1, 1, 1), latent=4, width=24)
    return config, Training(steps=steps, batch=128)


def vqvae_recipe(space: Space, examples: int) -> tuple[vqvae.VQVAEConfig, Training]:
    """A code for every four pixels of pictures up to 16 a side, for every sixteen beyond; rows get eight."""
    steps = passes(examples, 128, epochs=60, low=1_000, high=20_000)
    prior = optimisers.AdamW(lr=2e-3, schedule=optimisers.Warmup(steps=100, decay=0.7))
    config = vqvae.VQVAEConfig(prior_optimiser=prior)
    if small(space):
        config = replace(
            config,
            codebook=codebooks.VQ(k=64, channels=8),
            networks=codegrids.CodesByLayout(grid=codegrids.Grid(width=32, halvings=1, blocks=1)),
            prior=code_prior.CausalPrior(width=64, depth=2),
        )
    return config, Training(steps=steps, batch=128)


def gan_recipe(space: Space, examples: int) -> tuple[gan.GANConfig, Training]:
    """Relativistic pairing with R1 and R2, dense networks."""
    steps = passes(examples, 128, epochs=100, low=3_000, high=20_000)
    return gan.GANConfig(), Training(steps=steps, batch=128)


def dcgan_recipe(space: Space, examples: int) -> tuple[dcgan.DCGANConfig, Training]:
    """Radford et al.'s networks, as wide as the picture is large."""
    steps = passes(examples, 64, epochs=60, low=1_500, high=20_000)
    return dcgan.DCGANConfig(width=32 if small(space) else 64), Training(steps=steps, batch=64)


def flow_recipe(space: Space, examples: int) -> tuple[flow.FlowConfig, Training]:
    """Neural spline couplings; networks twice as wide from 16 dimensions on, which soon know small data by heart."""
    steps = passes(examples, 256, epochs=60, low=500, high=20_000)
    width = 64 if space.size < 16 else 128
    return flow.FlowConfig(transforms=flow.nsf_coupling(hidden=(width, width))), Training(steps=steps, batch=256)


FAMILIES: dict[str, Family] = {
    "vae": Family(config=vae.VAEConfig, build=vae.VAE, recipe=vae_recipe),
    "hvae": Family(config=hvae.HVAEConfig, build=hvae.HVAE, recipe=hvae_recipe),
    "vqvae": Family(config=vqvae.VQVAEConfig, build=vqvae.VQVAE, recipe=vqvae_recipe),
    "gan": Family(config=gan.GANConfig, build=gan.GAN, recipe=gan_recipe),
    "flow": Family(config=flow.FlowConfig, build=flow.flow, recipe=flow_recipe),
    "dcgan": Family(config=dcgan.DCGANConfig, build=dcgan.DCGAN, recipe=dcgan_recipe),
}


def small(space: Space) -> bool:
    """Whether an example is a vector or a sequence, or a picture of at most 16 pixels a side."""
    return space.layout != "grid" or max(space.only.shape[1:]) <= 16


def passes(examples: int, batch: int, *, epochs: float, low: int, high: int) -> int:
    """Steps of that many passes over the data, within [low, high]."""
    return int(min(high, max(low, math.ceil(epochs * examples / batch))))
