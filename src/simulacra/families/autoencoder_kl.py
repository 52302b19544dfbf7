"""Autoencoders of pictures whose codes are small grids, for other models to learn: Rombach et al. 2022, section 3.1.

A variational autoencoder whose bound weighs the divergence of its codes from N(0, I) next to nothing, so that pictures
come back nearly as they were:

    E_q [-log p(x | z)] + beta KL(q(z | x) || N(0, I)),    beta = 1e-6

A code has a place for every few pixels and keeps where things are, so that convolutions can model it. p(x | z) has one
scale for all elements, learnt (the released code's ``logvar``). The paper's perceptual and adversarial terms are left
out: they need networks trained on other pictures, and a critic.

What it cannot do: draw. At so small a beta its codes do not look like N(0, I); draws are those of a model of the codes
(``fit diffusion DATA --codec RUN``). With labels, they play no part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from simulacra.core.batch import Batch, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.divergences import importance_bound, log_normal
from simulacra.nets.heads import Head, Joint, Likelihood, choice_log_probs, elements, natural
from simulacra.nets.initialise import initialise
from simulacra.nets.picture_coder import Decoder, Encoder, PictureCoder

LOWEST, HIGHEST = -30.0, 20.0  # of a code's log variance, as in the released code


@dataclass(frozen=True, kw_only=True)
class AutoencoderKLConfig:
    """A KL-regularised autoencoder of pictures.

    network     encoder and decoder (``nets.picture_coder``).
    beta        weight of the KL; 1: a variational autoencoder.
    likelihood  which distribution p(x | z) is, as a function of a field (``nets.heads``): one of a centre and a scale,
                or of one number.
    """

    network: PictureCoder = field(default_factory=PictureCoder)
    beta: float = 1e-6
    likelihood: Likelihood = natural
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError(f"beta must not be negative; got {self.beta}")


class Coder(nn.Module):
    """Both networks, and the scale that all elements of a picture share, where they have one."""

    def __init__(self, config: AutoencoderKLConfig, channels: int, *, scaled: bool) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(channels, config.network), Decoder(channels, config.network)
        self.log_scale = nn.Parameter(torch.zeros(())) if scaled else None

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """The scale that the field has; its networks' layers are drawn each for itself."""
        if self.log_scale is not None:
            self.log_scale.zero_()


class AutoencoderKL(nn.Module):
    """p(x, z) = N(z; 0, I) p(x | z) and q(z | x), with z of shape (channels, h / unit, w / unit)."""

    def __init__(self, config: AutoencoderKLConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        if space.layout != "grid" or not isinstance(space.only, Continuous) or space.missing:
            raise ValueError("an autoencoder of grids of codes takes whole pictures; fit vae or vqvae on all else")
        self.config, self.space = config, replace(space, y=None)
        self.head = Head(self.space, config.likelihood)
        channels, *sides = space.only.shape
        each = self.head.outputs // channels
        if each > 2:
            raise ValueError(f"p(x | z) has a centre and one scale; this likelihood needs {each} numbers an element")
        self.sides = (sides[0], sides[1])
        places = [-(-side // config.network.unit) for side in sides]
        codes = Continuous(low=-math.inf, high=math.inf, shape=(config.network.channels, *places))
        self.latent = Space(fields={"z": codes}, measure="latent codes")
        self.coder = Coder(config, channels, scaled=each == 2)
        initialise(self, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def players(self) -> Mapping[str, Player]:
        return {"autoencoder": Player(module=self.coder, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="autoencoder", player="autoencoder", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """-log p(x | z) + beta KL of each example, nats."""
        mean, log_scale = self._moments(batch.x)
        z = mean + log_scale.exp() * rng("z").normal(mean.shape, dtype=mean.dtype, device=mean.device)
        reconstruction = -self.likelihood(z).log_prob(batch.x)
        kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).flatten(1).sum(1)
        return Loss.of(reconstruction + self.config.beta * kl, reconstruction=reconstruction, kl=kl)

    def _moments(self, x: Values) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x), (b, *latent); sides that are not divided go on as they end."""
        assert isinstance(x, Tensor)
        f, (height, width), unit = self.space.only, self.sides, self.config.network.unit
        assert isinstance(f, Continuous)
        x = (x.to(next(self.coder.parameters()).dtype) - f.centre) / f.scale
        if height % unit or width % unit:
            x = F.pad(x, (0, -width % unit, 0, -height % unit), mode="replicate")
        out = self.coder.encoder(x)
        out = out.float() if out.dtype in (torch.bfloat16, torch.float16) else out
        mean, log_variance = out.chunk(2, dim=1)
        return mean, log_variance.clamp(LOWEST, HIGHEST) / 2

    # -- codes ------------------------------------------------------------------------------------------------------

    def posterior(self, x: Values, *, y: Values | None = None) -> Independent:
        """q(z | x): a diagonal normal over (*latent); y does not matter."""
        mean, log_scale = self._moments(x)
        return Independent(Normal(mean, log_scale.exp(), validate_args=False), 3, validate_args=False)

    def encode(self, x: Values, *, y: Values | None = None) -> Tensor:
        """The posterior's mean, (b, *latent)."""
        return self._moments(x)[0]

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The mean of p(x | z) of each code, (b, *event), within the range of the field."""
        x, f = self.likelihood(z).typical().x, self.space.only
        assert isinstance(x, Tensor)
        assert isinstance(f, Continuous)
        return x.clamp(f.low, f.high)

    def likelihood(self, z: Tensor, *, y: Values | None = None) -> Joint:
        """p(x | z), the distribution over examples that each code (..., b, *latent) stands for."""
        lead, (height, width) = z.shape[:-3], self.sides
        raw = self.coder.decoder(z.flatten(0, -4))[..., :height, :width].unflatten(0, lead)
        if self.coder.log_scale is None:
            return self.head(raw)
        return self.head(torch.stack([raw, self.coder.log_scale.to(raw.dtype).expand_as(raw)], dim=-3).flatten(-4, -3))

    def log_prob_given(self, x: Values, z: Tensor, *, y: Values | None = None) -> Tensor:
        """log p(x | z) of each example and its code (b, *latent), nats (b,); differentiable in z."""
        return self.likelihood(z).log_prob(x)

    @torch.no_grad()
    def sample_from(self, z: Tensor, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """One draw from p(x | z) of each code (b, *latent)."""
        return replace(self.likelihood(z).sample(Rng.of(rng)), y=y)

    @torch.no_grad()
    def choice_log_probs(self, z: Tensor, *, y: Values | None = None) -> Tensor:
        """Nats (b, size, k) under p(x | z) of every value that each element can take."""
        return choice_log_probs(self.likelihood(z))

    # -- scoring ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_likelihood(
        self, x: Values, *, y: Values | None = None, rng: Rng | int | None = None, k: int = 1
    ) -> LogLikelihood:
        """A lower bound of log p(x), in expectation over k codes; nats (b,). Loose where beta is small."""
        mean, log_scale = self._moments(x)
        weights: list[Tensor] = []
        noise = Rng.of(rng)("z").normal((len(mean), k, *mean.shape[1:]), dtype=mean.dtype, device=mean.device)
        for part in noise.unbind(1):
            z = mean + log_scale.exp() * part
            apart = log_normal(z) - log_normal(z, mean, log_scale)
            weights.append(self.likelihood(z).log_prob(x) + apart.flatten(1).sum(1))
        return LogLikelihood(
            nats=importance_bound(torch.stack(weights)),
            kind="bound",
            measure=self.head.measure,
            count=elements(self.space, len(mean), None, None),
            method="ELBO, 1 draw" if k == 1 else f"IWAE, k = {k}",
        )
