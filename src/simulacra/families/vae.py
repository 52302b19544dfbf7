"""Variational autoencoders: VAE (Kingma & Welling 2013), beta-VAE (Higgins et al. 2017) and their bounds.

A latent z ~ N(0, I) is decoded to a distribution over examples, p(x | z). An encoder learns the posterior q(z | x)
beside it, by maximising a lower bound of log p(x):

    log p(x) >= E_q [log p(x | z)] - KL(q(z | x) || p(z))                     (Kingma & Welling 2013, eq. 3)

Other objectives over the same networks are functions passed in: the importance-weighted bound of Burda et al. 2016,
which on rows with gaps is MIWAE's (Mattei & Frellsen 2019, eq. 6), the total-correlation penalty of Chen et al. 2018,
the capacity schedule of Burgess et al. 2018. What is missing not at random needs a model of why (``missingness``); its
completions are those of values that do not hide. With labels it is a model of p(x | y) p(y), the classes' share learned
by ``fit``. What it can do once it has learned follows from its two networks (``nets.autoencoder``).

What it cannot do: exact likelihoods (a bound is all it gives), and sharp pictures from small networks: elements
are independent given z, so whatever z does not say is averaged over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from simulacra.core.batch import Batch, Loss
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.bounds import Objective, elbo
from simulacra.nets.autoencoder import Autoencoder
from simulacra.nets.backbones import ByLayout, Networks
from simulacra.nets.heads import Likelihood, natural
from simulacra.nets.initialise import initialise
from simulacra.nets.missingness import Missingness, at_random


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """A variational autoencoder.

    latent      number of latent dimensions.
    networks    encoder and decoder (``nets.backbones``): by the space's layout, or ``Dense``, ``Convolutional`` ...
    likelihood  which distribution p(x | z) is, as a function of a field (``nets.heads``).
    beta        weight of the KL; above 1 it is a beta-VAE.
    objective   what is maximised: ``elbo``, ``iwae``, ``beta_tc`` ... (``mathematics.bounds``).
    draws       codes drawn for each example at each step; ``iwae`` needs more than 1 to differ from ``elbo``.
    missingness  why entries are missing (``nets.missingness``): ``at_random``, or a model such as ``SelfMasking``,
                whose log p(mask | x) becomes part of the bound: not-MIWAE's (Ipsen et al. 2021) with ``iwae``.
    """

    latent: int = 32
    networks: Networks = field(default_factory=ByLayout)
    likelihood: Likelihood = natural
    beta: float = 1.0
    objective: Objective = elbo
    draws: int = 1
    missingness: Missingness = at_random
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if self.latent < 1 or self.draws < 1:
            raise ValueError(f"latent and draws must be at least 1; got {self.latent} and {self.draws}")
        if self.beta < 0:
            raise ValueError(f"beta must not be negative; got {self.beta}")


class VAE(Autoencoder):
    """An autoencoder with a Gaussian latent that learns by maximising one bound."""

    def __init__(self, config: VAEConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__(space, latent=config.latent, networks=config.networks, likelihood=config.likelihood)
        self.config = config
        self.missingness = config.missingness(space)
        initialise(self, Rng.of(rng)("weights"))

    def players(self) -> Mapping[str, Player]:
        return {"vae": Player(module=self, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="vae", player="vae", loss=self.loss, after=self._after)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus the objective of each example, nats; terms: the one-sample bound's two halves."""
        bound = self.bound(batch, rng, draws=self.config.draws, beta=self.config.beta, beside=self.missingness)
        objective = self.config.objective(bound)
        return Loss.of(-objective, reconstruction=-bound.log_px.detach().mean(0), kl=bound.kl.detach())

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        self.steps_taken += 1
