"""Generative adversarial networks: a generator learns to fool a critic that learns to tell data from its output.

Goodfellow et al. 2014, over dense networks, for examples of any continuous kind. The game is a setting
(``mathematics.adversarial``); the default pairs each generated example with a real one and keeps the critic smooth
at both (Huang et al. 2024), which is what makes small networks find every mode. It samples in one pass; it has
no likelihood and no encoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.adversarial import Game, Relativistic, r1, r2
from simulacra.mathematics.latent_draws import Draw, independent
from simulacra.nets.activations import Activation, gelu, kaiming_slope
from simulacra.nets.adversarial import NONE, Duel, Regulariser
from simulacra.nets.contest import Contest
from simulacra.nets.continuum import Continuum
from simulacra.nets.dense import mlp
from simulacra.nets.fourier import Fourier
from simulacra.nets.initialise import he_normal, initialise
from simulacra.nets.playing_spaces import class_count
from simulacra.nets.remedies import Remedies

SMOOTH = tuple(Regulariser(penalty=penalty, weight=1.0, final=0.05, steps=2_000) for penalty in (r1, r2))


@dataclass(frozen=True, kw_only=True)
class GANConfig:
    """Settings of ``GAN``.

    latent        number of latent dimensions.
    draw          how a batch of latents is drawn while learning. ``latent_draws.even`` suits few dimensions: shares of
                  modes drift less where no region of the latents is over-represented by chance (docs/results.md).
    generator, critic  widths of the hidden layers.
    activation    between the generator's layers. ``activations.steep_tanh`` suits data in separate clumps: a saturated
                  unit is a plateau and its steepness is learned, where ReLUs would have to cancel (docs/results.md).
    noise         standard deviation, at first, of noise that the generator adds to what it makes of its latents, as a
                  share of the data's spread; it is learned, one for each number of an example. For modes whose
                  width the latents do not give; on the grid it was learnt away (docs/collapse.md). None: no noise.
    features      what the critic sees of an example beside its values: ``Fourier()`` where the data has detail much
                  finer than its spread, which smooth layers of their own learn late (docs/results.md); None: nothing.
    game          what the players minimise.
    regularisers  penalties on the critic.
    remedies      against mode collapse (``nets.remedies``), for games without pairing above all.
    """

    latent: int = 32
    draw: Draw = independent
    generator: tuple[int, ...] = (256, 256, 256)
    critic: tuple[int, ...] = (256, 256, 256)
    activation: Activation = gelu
    noise: float | None = None
    features: Fourier | None = None
    game: Game = field(default_factory=Relativistic)
    regularisers: tuple[Regulariser, ...] = SMOOTH
    remedies: Remedies = NONE
    generator_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=1e-3, betas=(0.0, 0.99)))
    critic_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=1e-3, betas=(0.0, 0.99)))

    def __post_init__(self) -> None:
        if self.latent < 1:
            raise ValueError(f"latent must be at least 1; got {self.latent}")
        if self.noise is not None and not self.noise > 0:
            raise ValueError(f"noise must begin above 0, as it is learned by factors; got {self.noise}, None is none")


class Dense(nn.Module):
    """Linear layers from (b, *into), and y (b, classes) beside it, to (b, *out).

    With GELU unless told otherwise: the generator learns from the critic's slope, and R1 and R2 shape that slope, so
    it had better not be piecewise constant. In short trials on the 25-grid it put more samples into the modes than
    leaky ReLU did.
    """

    alone = True  # as a critic it scores each example by itself

    def __init__(
        self,
        into: Sequence[int],
        widths: Sequence[int],
        out: Sequence[int],
        classes: int,
        *,
        activation: Activation = gelu,
        features: Fourier | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.out = tuple(out)
        # one-hot entries are raised to unit mean square, so that the label starts out as loud as any other input
        self.loudness = self.label_gain(classes)
        self.features = None if features is None else features.build(math.prod(into))
        seen = math.prod(into) if self.features is None else self.features.outputs
        sizes = [seen + classes, *widths, math.prod(out)]
        self.layers = mlp(sizes, activation=activation, bias=bias)

    def label_gain(self, classes: int) -> float:
        """What one-hot labels are multiplied by: their entries get unit mean square."""
        return math.sqrt(classes)

    @torch.no_grad()
    def spread(self, rng: Rng) -> None:
        """Hidden biases from U(-1, 1): at zero every bend of the first layer would lie at the origin. Waves unheard."""
        for i, layer in enumerate([m for m in self.layers if isinstance(m, nn.Linear)][:-1]):
            layer.bias.copy_(2 * rng(i).uniform(layer.bias.shape) - 1)
        if self.features is not None:
            # waves are heard as they are needed: a critic that began with them would begin with slopes like noise
            first = next(m for m in self.layers if isinstance(m, nn.Linear))
            first.weight[:, self.features.size : self.features.outputs] = 0

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = x.flatten(1) if self.features is None else self.features(x.flatten(1))
        x = x if y is None else torch.cat([x, y * self.loudness], dim=1)
        return self.layers(x).reshape(-1, *self.out)


class Noisy(nn.Module):
    """A generator (z, y) -> (b, *event) with noise of its own on top: N(0, s^2) in each number, s = exp(10 e) learned.

    Without an rng there is none: what a code stands for is the mean.
    """

    draws = True  # it is handed an rng
    rate = 10.0  # as of ``SteepTanh``: s is to be found by a factor while the weights move by a little

    def __init__(self, generator: Dense, start: float) -> None:
        super().__init__()
        self.generator, self.start = generator, start
        self.exponent = nn.Parameter(torch.empty(generator.out))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """As it is to start; nothing is drawn."""
        self.exponent.fill_(math.log(self.start) / self.rate)

    def scale(self) -> Tensor:
        """s, (*event)."""
        return (self.rate * self.exponent).exp()

    def forward(self, z: Tensor, y: Tensor | None = None, rng: Rng | None = None) -> Tensor:
        x = self.generator(z, y)
        if rng is None:
            return x
        return x + self.scale() * rng("noise").normal(x.shape, dtype=x.dtype, device=x.device)


class GAN(Contest[GANConfig]):
    """A generator and a critic of linear layers; conditional on the class where the space has classes."""

    def __init__(self, config: GANConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__(config, space)
        event, classes = Continuum.of(space, "a GAN").event, class_count(space)
        generator = Dense((config.latent,), config.generator, event, classes, activation=config.activation)
        # games of differences between scores leave their constant where it is: it would never learn
        told = config.remedies
        critic = Dense(told.event(event), config.critic, (), told.labels(classes), features=config.features, bias=False)
        self.duel = Duel(
            space,
            generator if config.noise is None else Noisy(generator, config.noise),
            told.around(critic),
            latent=config.latent,
            game=config.game,
            regularisers=config.regularisers,
            remedies=config.remedies,
            draw=config.draw,
        )
        rng = Rng.of(rng)
        initialise(self.duel, rng, linear=he_normal(0.0))
        initialise(generator, rng("generator"), linear=he_normal(kaiming_slope(config.activation)))
        generator.spread(rng("generator", "bends"))
        critic.spread(rng("critic", "bends"))
