"""The families by name, and a known-good setting of each for the data at hand. The only place that names them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulacra.core import optimisers
from simulacra.core.space import Space
from simulacra.families import dcgan, flow, gan, pixelcnn, vae
from simulacra.mathematics import adversarial, bounds
from simulacra.nets import (
    activations,
    autoregressive,
    backbones,
    causal_attention,
    causal_layers,
    causal_network,
    cell_outputs,
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
        vae,
        gan,
        dcgan,
        pixelcnn,
        flow,
        optimisers,
        adversarial,
        bounds,
        activations,
        backbones,
        heads,
        duels,
        causal_attention,
        causal_layers,
        causal_network,
        cell_outputs,
        transforms,
        coupling,
        autoregressive,
        training_settings,
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


def gan_recipe(space: Space, examples: int) -> tuple[gan.GANConfig, Training]:
    """Relativistic pairing with R1 and R2, dense networks."""
    steps = passes(examples, 128, epochs=100, low=3_000, high=20_000)
    return gan.GANConfig(), Training(steps=steps, batch=128)


def dcgan_recipe(space: Space, examples: int) -> tuple[dcgan.DCGANConfig, Training]:
    """Radford et al.'s networks, as wide as the picture is large."""
    steps = passes(examples, 64, epochs=60, low=1_500, high=20_000)
    return dcgan.DCGANConfig(width=32 if small(space) else 64), Training(steps=steps, batch=64)


def pixelcnn_recipe(space: Space, examples: int) -> tuple[pixelcnn.PixelCNNConfig, Training]:
    """Gated layers, a pixel at a time: six of 48 features for pictures up to 16 a side, eight of 64 beyond.

    Few pictures are soon known by heart: below 5,000 a small network, decaying weights and fewer steps.
    """
    few = examples < 5_000
    network = causal_network.gated(layers=6, width=48, first=5) if small(space) else causal_network.gated()
    network = causal_network.gated(layers=4, width=24, first=5) if few else network
    optimiser = optimisers.AdamW(
        lr=4e-3 if few else 2e-3,
        weight_decay=0.3 if few else 0.0,
        schedule=optimisers.Warmup(steps=100, decay=0.6, final=0.02),
    )
    steps = passes(examples, 64, epochs=20, low=400, high=20_000)
    return pixelcnn.PixelCNNConfig(network=network, optimiser=optimiser), Training(steps=steps, batch=64)


def flow_recipe(space: Space, examples: int) -> tuple[flow.FlowConfig, Training]:
    """Neural spline couplings; networks twice as wide from 16 dimensions on, which soon know small data by heart."""
    steps = passes(examples, 256, epochs=60, low=500, high=20_000)
    width = 64 if space.size < 16 else 128
    return flow.FlowConfig(transforms=flow.nsf_coupling(hidden=(width, width))), Training(steps=steps, batch=256)


FAMILIES: dict[str, Family] = {
    "vae": Family(config=vae.VAEConfig, build=vae.VAE, recipe=vae_recipe),
    "gan": Family(config=gan.GANConfig, build=gan.GAN, recipe=gan_recipe),
    "flow": Family(config=flow.FlowConfig, build=flow.flow, recipe=flow_recipe),
    "dcgan": Family(config=dcgan.DCGANConfig, build=dcgan.DCGAN, recipe=dcgan_recipe),
    "pixelcnn": Family(config=pixelcnn.PixelCNNConfig, build=pixelcnn.build, recipe=pixelcnn_recipe),
}


def small(space: Space) -> bool:
    """Whether an example is a vector or a sequence, or a picture of at most 16 pixels a side."""
    return space.layout != "grid" or max(space.only.shape[1:]) <= 16


def passes(examples: int, batch: int, *, epochs: float, low: int, high: int) -> int:
    """Steps of that many passes over the data, within [low, high]."""
    return int(min(high, max(low, math.ceil(epochs * examples / batch))))
