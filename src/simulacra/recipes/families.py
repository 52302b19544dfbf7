"""The families by name, and a known-good setting of each for the data at hand. The only place that names them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulacra.core import optimisers
from simulacra.core.space import Space
from simulacra.families import dcgan, diffusion, gan, vae
from simulacra.mathematics import adversarial, bounds, flow_likelihood, paths, preconditioning, solvers
from simulacra.nets import activations, backbones, denoisers, heads
from simulacra.nets import adversarial as duels
from simulacra.recipes.settings import table
from simulacra.training import settings as training_settings
from simulacra.training.settings import Training

# what a recipe.json may name
SETTINGS = table((
    vae, gan, dcgan, diffusion,
    optimisers, adversarial, bounds, flow_likelihood, paths, preconditioning, solvers,
    activations, backbones, denoisers, heads, duels, training_settings,
))  # fmt: skip


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


def gan_recipe(space: Space, examples: int) -> tuple[gan.GANConfig, Training]:
    """Relativistic pairing with R1 and R2, dense networks."""
    steps = passes(examples, 128, epochs=100, low=3_000, high=20_000)
    return gan.GANConfig(), Training(steps=steps, batch=128)


def dcgan_recipe(space: Space, examples: int) -> tuple[dcgan.DCGANConfig, Training]:
    """Radford et al.'s networks, as wide as the picture is large."""
    steps = passes(examples, 64, epochs=60, low=1_500, high=20_000)
    return dcgan.DCGANConfig(width=32 if small(space) else 64), Training(steps=steps, batch=64)


def diffusion_recipe(space: Space, examples: int) -> tuple[diffusion.DiffusionConfig, Training]:
    """EDM's preconditioning, weights and noise levels; a U-Net for pictures, dense layers for rows."""
    steps = passes(examples, 64, epochs=60, low=1_500, high=20_000)
    return diffusion.DiffusionConfig(), Training(steps=steps, batch=64)


FAMILIES: dict[str, Family] = {
    "vae": Family(config=vae.VAEConfig, build=vae.VAE, recipe=vae_recipe),
    "gan": Family(config=gan.GANConfig, build=gan.GAN, recipe=gan_recipe),
    "dcgan": Family(config=dcgan.DCGANConfig, build=dcgan.DCGAN, recipe=dcgan_recipe),
    "diffusion": Family(config=diffusion.DiffusionConfig, build=diffusion.Diffusion, recipe=diffusion_recipe),
}


def small(space: Space) -> bool:
    """Whether an example is a vector or a sequence, or a picture of at most 16 pixels a side."""
    return space.layout != "grid" or max(space.only.shape[1:]) <= 16


def passes(examples: int, batch: int, *, epochs: float, low: int, high: int) -> int:
    """Steps of that many passes over the data, within [low, high]."""
    return int(min(high, max(low, math.ceil(epochs * examples / batch))))
