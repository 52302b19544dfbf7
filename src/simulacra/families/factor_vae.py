"""FactorVAE: a VAE whose second player makes its codes independent (Kim & Mnih 2018, "Disentangling by factorising").

The bound is lowered by gamma times the total correlation of the codes, KL(q(z) || prod_j q(z_j)), where q(z) is the
average of q(z | x) over the data:

    E_q [log p(x | z)] - KL(q(z | x) || p(z)) - gamma KL(q(z) || prod_j q(z_j))             (eq. 2)

Neither density is known, but their ratio is what a discriminator learns that tells codes from codes whose dimensions
were each shuffled over the batch (algorithm 1): its logit is log q(z) / prod_j q(z_j) (eq. 3). beta-VAE weighs the
whole KL instead, and so pays for independence with what the codes know of x; beta-TCVAE
(``mathematics.bounds.beta_tc``) estimates the same penalty from the batch, without a second player.

What it cannot do: the estimate is as good as the discriminator, which lags behind the encoder; if it fails, the
penalty vanishes in silence. Watch ``total_correlation`` beside ``told_apart`` in the log. Otherwise as a VAE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core import across
from simulacra.core.batch import Batch, Loss
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.bounds import elbo
from simulacra.mathematics.divergences import shuffled
from simulacra.nets.activations import leaky_relu
from simulacra.nets.autoencoder import Autoencoder
from simulacra.nets.backbones import Activation, ByLayout, Networks
from simulacra.nets.dense import mlp
from simulacra.nets.heads import Likelihood, natural
from simulacra.nets.initialise import he_normal, initialise


@dataclass(frozen=True, kw_only=True)
class FactorVAEConfig:
    """A FactorVAE.

    latent, networks, likelihood, optimiser  as of a VAE.
    gamma          weight of the total correlation; Kim & Mnih take 10 to 100 and report 35 as best on dSprites.
    discriminator  hidden sizes of the network that tells codes from shuffled codes (theirs: six of 1000).
    discriminator_optimiser  theirs: Adam, 1e-4, betas 0.5 and 0.9.
    """

    latent: int = 32
    networks: Networks = field(default_factory=ByLayout)
    likelihood: Likelihood = natural
    gamma: float = 10.0
    discriminator: tuple[int, ...] = (256, 256, 256)
    activation: Activation = leaky_relu
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))
    discriminator_optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=5e-4, betas=(0.5, 0.9)))

    def __post_init__(self) -> None:
        if self.latent < 2:
            raise ValueError(f"latent must be at least 2, for dimensions to depend on one another; got {self.latent}")
        if self.gamma < 0:
            raise ValueError(f"gamma must not be negative; got {self.gamma}")


class FactorVAE(Autoencoder):
    """An autoencoder with a Gaussian latent, and a discriminator of its codes (b, latent) -> logits (b, 1)."""

    def __init__(self, config: FactorVAEConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__(space, latent=config.latent, networks=config.networks, likelihood=config.likelihood)
        self.config = config
        self.discriminator = mlp((config.latent, *config.discriminator, 1), activation=config.activation)
        rng = Rng.of(rng)
        initialise(self, rng("weights"))
        initialise(self.discriminator, rng("discriminator"), linear=he_normal(0.2))

    def players(self) -> Mapping[str, Player]:
        return {
            "vae": Player(module=self.coders(), optimiser=self.config.optimiser),
            "discriminator": Player(
                module=self.discriminator, optimiser=self.config.discriminator_optimiser, averaged=False
            ),
        }

    def turns(self) -> Sequence[Turn]:
        return [
            Turn(name="vae", player="vae", loss=self.vae_loss, after=self._after),
            Turn(name="discriminator", player="discriminator", loss=self.discriminator_loss),
        ]

    def vae_loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus the bound, plus gamma times the total correlation as the discriminator sees it, nats (eq. 2, 3)."""
        bound = self.bound(batch, rng)
        correlation = self.log_ratio(bound.z[0])
        return Loss.of(
            self.config.gamma * correlation - elbo(bound),
            reconstruction=-bound.log_px.detach()[0],
            kl=bound.kl,
            total_correlation=correlation,
        )

    def discriminator_loss(self, batch: Batch, rng: Rng) -> Loss:
        """Cross-entropy of telling codes from codes shuffled over the batch of all processes (algorithm 2).

        The paper shuffles the codes of a second batch; here they are drawn anew from the same one. ``told_apart`` is
        the share of both kinds that is told right: one half where the dimensions are independent.
        """
        with torch.no_grad():
            mean, log_scale = self.encoded(batch)
            noise = rng("z").normal((len(batch), 2, mean.shape[1]), dtype=mean.dtype, device=mean.device)
            codes, others = (mean[:, None] + log_scale.exp()[:, None] * noise).unbind(1)
            first = across.rank() * len(batch)
            mixed = shuffled(across.gather(others), rng("shuffle"))[first : first + len(batch)]
        on_codes, on_mixed = self.log_ratio(codes), self.log_ratio(mixed)
        right = ((on_codes > 0).to(mean.dtype) + (on_mixed < 0).to(mean.dtype)) / 2
        # Jensen's two halves: at the optimum the logit is log q(z) - sum_j log q(z_j)
        loss = (F.softplus(-on_codes) + F.softplus(on_mixed)) / 2
        return Loss.of(loss, discriminator=loss, told_apart=right)

    def log_ratio(self, z: Tensor) -> Tensor:
        """The discriminator's estimate of log q(z) - sum_j log q(z_j) at codes (b, latent), nats (b,)."""
        return self.discriminator(z).squeeze(-1).to(z.dtype)

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        self.steps_taken += 1
