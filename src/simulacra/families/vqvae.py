"""VQ-VAE: examples as grids of discrete codes, and an autoregressive model of those (van den Oord et al. 2017).

An encoder gives a vector for each place of a small grid, a codebook the nearest of its k codes, and a decoder the
distribution p(x | codes). The codebook is passed in (``nets.codebooks``): vectors that follow the data, or rounded
coordinates. Beside the autoencoder a prior learns p(codes | y), in a turn of its own on the codes as they are. The
encoder is deterministic, so that one term of the sum over all codes bounds it:

    log p(x | y) = log sum_c p(x | c) p(c | y) >= log p(x | c(x)) + log p(c(x) | y)

With labels it is a model of p(x | y) p(y): only the prior sees the label, the codes are those of the example alone.

What it cannot do: exact likelihoods, a gradient in the code, walks between codes: they have no order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.distributions import Categorical as Choice
from torch.distributions import Independent

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Space
from simulacra.core.turns import Player, Turn
from simulacra.nets.code_prior import CausalPrior
from simulacra.nets.codebooks import VQ, Codebook
from simulacra.nets.codegrids import CodeNetworks, CodesByLayout
from simulacra.nets.embeddings import Embed, class_indicator
from simulacra.nets.heads import Head, Joint, Likelihood, elements, natural
from simulacra.nets.initialise import initialise
from simulacra.nets.marginal import LabelMarginal


def steady() -> Optimiser:
    """AdamW, its rate falling over the second half."""
    return AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5))


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig:
    """A vector-quantised autoencoder with a learned prior.

    codebook         ``VQ`` or ``FSQ`` (``nets.codebooks``).
    networks         encoder and decoder (``nets.codegrids``): by the space's layout, or ``Grid``, ``Places``.
    prior            the model of the codes (``nets.code_prior``).
    likelihood       which distribution p(x | codes) is, as a function of a field (``nets.heads``).
    optimiser, prior_optimiser  of the two players.
    """

    codebook: Codebook = field(default_factory=VQ)
    networks: CodeNetworks = field(default_factory=CodesByLayout)
    prior: CausalPrior = field(default_factory=CausalPrior)
    likelihood: Likelihood = natural
    optimiser: Optimiser = field(default_factory=steady)
    prior_optimiser: Optimiser = field(default_factory=steady)


class Autoencoder(nn.Module):
    """Examples -> vectors at places -> codes -> p(x | codes)."""

    def __init__(self, config: VQVAEConfig, space: Space) -> None:
        super().__init__()
        self.embed, self.head, self.codebook = Embed(space), Head(space, config.likelihood), config.codebook.build()
        self.places, channels = config.networks.places(self.embed), config.codebook.channels
        self.encoder = config.networks.encoder(self.embed, channels)
        self.decoder = config.networks.decoder(self.embed, self.head, channels)
        size = math.prod(self.places) * channels
        self.lengths = nn.Linear(size, self.head.lengths) if self.head.lengths else None

    def encode(self, batch: Batch) -> Tensor:
        """The vectors before they are made discrete, (b, places, channels)."""
        return self.encoder(self.embed(batch.x, batch.known, batch.length))

    def decode(self, vectors: Tensor) -> Joint:
        """p(x | codes) of the codes' vectors (b, places, channels)."""
        lengths = None if self.lengths is None else self.lengths(vectors.flatten(1))
        return self.head(self.decoder(vectors), lengths)


class VQVAE(nn.Module):
    """p(x | y) = sum over codes of p(x | codes) p(codes | y), with a deterministic encoder of codes."""

    def __init__(self, config: VQVAEConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError("a VQ-VAE is conditional on classes only; expected a space whose y is Classes or None")
        self.config, self.space = config, space
        self.classes: Classes | None = space.y
        self.marginal = LabelMarginal(space.y)
        self.autoencoder = Autoencoder(config, space)
        k, shape = config.codebook.k, self.autoencoder.places
        self.latent = Space(fields={"codes": Categorical(k=k, shape=shape)}, measure="codes")
        self.prior = config.prior.build(k, self.latent.size, self.marginal.classes)
        initialise(self, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Counts the labels."""
        self.marginal.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {
            "autoencoder": Player(module=self.autoencoder, optimiser=self.config.optimiser),
            "prior": Player(module=self.prior, optimiser=self.config.prior_optimiser),
        }

    def turns(self) -> Sequence[Turn]:
        return [
            Turn(name="autoencoder", player="autoencoder", loss=self.loss, after=self._after),
            Turn(name="prior", player="prior", loss=self.prior_loss),
        ]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """-log p(x | codes) and the commitment of each example (van den Oord et al. 2017, eq. 3), nats."""
        codebook = self.autoencoder.codebook
        e = self.autoencoder.encode(batch)
        found = codebook(e)
        codebook.observe(e.detach(), found.index, rng)
        reconstruction = -self.autoencoder.decode(found.vectors).log_prob(batch.x, batch.known, batch.length)
        return Loss.of(reconstruction + found.commitment, reconstruction=reconstruction, commitment=found.commitment)

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        self.autoencoder.codebook.update()

    def prior_loss(self, batch: Batch, rng: Rng) -> Loss:
        """-log p(codes | y) of each example's codes as they are now, nats."""
        with torch.no_grad():
            index = self._codes(batch)
        return Loss.of(-self.prior(index, self._given(batch.y if self.classes is not None else None)))

    def _codes(self, batch: Batch) -> Tensor:
        """int64 (b, places)."""
        return self.autoencoder.codebook(self.autoencoder.encode(batch)).index

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.classes, next(self.parameters()).dtype)  # type: ignore[arg-type]

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0, noise: float = 1.0
    ) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        temperature  of the codes' prior; below 1 more typical and less varied, 0 the likeliest code at each place.
        noise        temperature of p(x | codes): 1 draws from it, 0 takes the most typical example of the codes.
        """
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        index = self.prior.sample(n, self._given(y), rng("codes"), temperature)
        joint = self.likelihood(index.reshape(n, *self.latent.only.shape))
        drawn = joint.typical() if noise == 0 else joint.sample(rng("x"), noise)
        return replace(drawn, y=y)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted by ``fit``, each class once more than it was seen."""
        return self.marginal.log_prob()

    # -- scoring ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
    ) -> LogLikelihood:
        """A lower bound of log p(x), or log p(x | y): that of the encoder's codes alone; nats (b,), of the known part.

        A class-conditional model without y sums over the classes: log sum_y p(y) p(x, codes | y), a bound likewise.
        """
        batch = Batch(x=x, known=known, length=length)
        index = self._codes(batch)
        if self.classes is not None and y is None:
            log_prior = self.marginal.sum_out(lambda c: self.prior(index, self._given(c)), len(batch))
        else:
            log_prior = self.prior(index, self._given(y))
        joint = self.autoencoder.decode(self.autoencoder.codebook.vectors(index))
        return LogLikelihood(
            nats=joint.log_prob(x, known, length) + log_prior,
            kind="bound",
            measure=self.autoencoder.head.measure,
            count=elements(self.space, len(batch), known, length, x),
            method="the encoder's codes alone",
        )

    # -- codes ------------------------------------------------------------------------------------------------------

    def posterior(
        self, x: Values, *, y: Values | None = None, known: Values | None = None, length: Tensor | None = None
    ) -> Independent:
        """All its probability on the encoder's codes, over (*latent)."""
        index = self.encode(x, known=known, length=length)
        here = torch.arange(self.config.codebook.k, device=index.device) == index[..., None]
        logits = torch.where(here, 0.0, -torch.inf)
        return Independent(Choice(logits=logits, validate_args=False), index.ndim - 1, validate_args=False)

    def encode(
        self, x: Values, *, y: Values | None = None, known: Values | None = None, length: Tensor | None = None
    ) -> Tensor:
        """The codes, int64 (b, *latent); y does not matter."""
        with torch.no_grad():
            index = self._codes(Batch(x=x, known=known, length=length))
        return index.reshape(len(index), *self.latent.only.shape)

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The most typical example of codes int64 (b, *latent); y does not matter."""
        return self.likelihood(z).typical().x

    def log_prob_given(
        self,
        x: Values,
        z: Tensor,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
    ) -> Tensor:
        """log p(x | codes) of each example and its codes int64 (b, *latent), nats (b,), of the known part."""
        return self.likelihood(z).log_prob(x, known, length)

    def likelihood(self, z: Tensor, *, y: Values | None = None) -> Joint:
        """p(x | codes) of codes int64 (b, *latent); ValueError for codes that do not exist."""
        k = self.config.codebook.k
        if z.is_floating_point():
            raise ValueError(f"codes are whole numbers in 0 .. {k - 1}; got {z.dtype}, encode an example first")
        if z.device.type == "cpu" and z.numel() and not (int(z.min()) >= 0 and int(z.max()) < k):
            raise ValueError(f"codes must lie in 0 .. {k - 1}; got {int(z.min())} .. {int(z.max())}")
        return self.autoencoder.decode(self.autoencoder.codebook.vectors(z.flatten(1)))
