"""An autoencoder with a Gaussian latent: everything of a variational family but what it maximises.

A latent z ~ N(0, I) is decoded to a distribution over examples, p(x | z); an encoder gives q(z | x) beside it. Drawing,
bounds of the likelihood, codes and completion follow from the two alone, however they were learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from simulacra.core.batch import Batch, Data, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.mathematics.bounds import Bound
from simulacra.mathematics.divergences import importance_bound, log_normal
from simulacra.nets import chains
from simulacra.nets.backbones import Networks
from simulacra.nets.embeddings import Embed, class_indicator
from simulacra.nets.heads import Head, Joint, Likelihood, choice_log_probs, elements
from simulacra.nets.marginal import label_counts

ELEMENTS = 1 << 23  # raw outputs decoded at a time where a likelihood draws many codes: 32 MiB in float32


class Autoencoder(nn.Module):
    """p(x | y) = integral of p(x | z, y) N(z; 0, I) dz, with its encoder q(z | x, y).

    latent      number of latent dimensions.
    networks    encoder and decoder (``nets.backbones``).
    likelihood  which distribution p(x | z) is, as a function of a field (``nets.heads``).

    A family adds players and turns, and draws the first weights. Raises ValueError for a space whose y is no class.
    """

    steps_taken: Tensor
    examples: Tensor
    label_counts: Tensor

    def __init__(self, space: Space, *, latent: int, networks: Networks, likelihood: Likelihood) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError("a VAE is conditional on classes only; expected a space whose y is Classes or None")
        self.space = space
        self.classes: Classes | None = space.y
        self.latent = Space(
            fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(latent,))}, measure="latent codes"
        )
        self.head = Head(space, likelihood)
        given = 0 if self.classes is None else len(self.classes)
        self.embed = Embed(space)
        self.encoder = networks.encoder(self.embed, given, 2 * latent)
        self.decoder = networks.decoder(self.head, latent + given)
        self.lengths = nn.Linear(latent + given, self.head.lengths) if self.head.lengths else None
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("examples", torch.zeros((), dtype=torch.int64))
        self.register_buffer("label_counts", torch.zeros(given, dtype=torch.int64))

    # -- what learning needs ----------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Counts what is learned by counting: the labels, and how many examples there are."""
        self.examples.fill_(len(data))
        if self.classes is None:
            return
        self.label_counts.copy_(label_counts(data, len(self.classes)))

    def bound(
        self,
        batch: Batch,
        rng: Rng,
        *,
        draws: int = 1,
        beta: float = 1.0,
        beside: Callable[[Joint, Batch, Rng], Tensor | float] | None = None,
    ) -> Bound:
        """Draws codes for each example, and scores it under each; beta is what an objective may weigh the KL with.

        beside  log p, nats (draws, b), of what is known beside x of each example under its codes, such as which of it
                is missing (``nets.missingness``).
        """
        given = self._given(batch.y if self.classes is not None else None)
        mean, log_scale = self._encode(batch, given)
        noise = rng("z").normal((len(batch), draws, self._width), dtype=mean.dtype, device=mean.device)
        z = mean + log_scale.exp() * noise.transpose(0, 1)
        joint = self._decode(z, given)
        log_px = joint.log_prob(batch.x, batch.known, batch.length)
        log_px = log_px if beside is None else log_px + beside(joint, batch, rng)
        return Bound(log_px, z, mean, log_scale, beta, self.steps_taken, self.examples)

    def encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x, y) of a batch, (b, latent) each."""
        return self._encode(batch, self._given(batch.y if self.classes is not None else None))

    def coders(self) -> nn.ModuleList:
        """The parts that learn by the bound, for a player of a game that has others too."""
        return nn.ModuleList(m for m in (self.embed, self.encoder, self.decoder, self.lengths) if m is not None)

    @property
    def _width(self) -> int:
        return self.latent.only.shape[0]

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.classes, next(self.parameters()).dtype)  # type: ignore[arg-type]

    def _encode(self, batch: Batch, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x), (b, d) each."""
        out = self.encoder(self.embed(batch.x, batch.known, batch.length), given)
        out = out.float() if out.dtype in (torch.bfloat16, torch.float16) else out
        return out.chunk(2, dim=-1)  # type: ignore[return-value]

    def _decode(self, z: Tensor, given: Tensor | None) -> Joint:
        """p(x | z) of codes (..., b, d)."""
        if given is not None:
            z = torch.cat([z, given.expand(*z.shape[:-1], -1)], dim=-1)
        flat = z.flatten(0, -2)
        raw = self.decoder(flat).unflatten(0, z.shape[:-1])
        return self.head(raw, None if self.lengths is None else self.lengths(flat).unflatten(0, z.shape[:-1]))

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0, noise: float = 1.0
    ) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        temperature  standard deviation of the latent prior; below 1 more typical and less varied.
        noise        temperature of p(x | z): 1 draws from it, 0 takes the most typical example of each code.
        """
        rng = Rng.of(rng)
        like = next(self.parameters())
        if self.classes is not None and y is None:
            y = rng("y").categorical(self.label_log_prob().expand(n, -1))
        z = temperature * rng("z").normal((n, self._width), dtype=like.dtype, device=like.device)
        joint = self._decode(z, self._given(y))
        drawn = joint.typical() if noise == 0 else joint.sample(rng("x"), noise)
        return replace(drawn, y=y)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted by ``fit``, each class once more than it was seen."""
        if self.classes is None:
            raise ValueError("this model knows no classes; fit data with labels")
        counts = self.label_counts.to(torch.get_default_dtype()) + 1
        return (counts / counts.sum()).log()

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
        k: int = 1,
    ) -> LogLikelihood:
        """A lower bound of log p(x), or log p(x | y), in expectation over k codes; nats (b,), of the known part.

        k = 1 is the ELBO with one draw; more give the importance-weighted bound, which tends to log p(x) from below.
        A class-conditional model without y sums over the classes: log sum_y p(y) p(x | y), a bound likewise.
        """
        rng, batch = Rng.of(rng), Batch(x=x, y=y, known=known, length=length)
        if self.classes is not None and y is None:
            one = torch.ones(len(batch), dtype=torch.int64, device=next(self.parameters()).device)
            nats = torch.stack([self._importance(replace(batch, y=c * one), rng, k) for c in range(len(self.classes))])
            nats = torch.logsumexp(nats + self.label_log_prob().to(nats)[:, None], dim=0)
        else:
            nats = self._importance(batch, rng, k)
        return LogLikelihood(
            nats=nats,
            kind="bound",
            measure=self.head.measure,
            count=elements(self.space, len(batch), known, length, x),
            method="ELBO, 1 draw" if k == 1 else f"IWAE, k = {k}",
        )

    def _importance(self, batch: Batch, rng: Rng, k: int) -> Tensor:
        """log 1/k sum of the importance weights of k codes, nats (b,); decoded a part at a time."""
        given = self._given(batch.y)
        mean, log_scale = self._encode(batch, given)
        noise = rng("z").normal((len(batch), k, self._width), dtype=mean.dtype, device=mean.device)
        at_once = max(1, ELEMENTS // (len(batch) * math.prod(self.head.shape)))
        parts: list[Tensor] = []
        for part in noise.transpose(0, 1).split(at_once):
            z = mean + log_scale.exp() * part
            log_px = self._decode(z, given).log_prob(batch.x, batch.known, batch.length)
            parts.append(Bound(log_px, z, mean, log_scale, 1.0, self.steps_taken, self.examples).log_weights)
        return importance_bound(torch.cat(parts))

    # -- codes ------------------------------------------------------------------------------------------------------

    def posterior(
        self, x: Values, *, y: Values | None = None, known: Values | None = None, length: Tensor | None = None
    ) -> Independent:
        """q(z | x): a diagonal normal over (latent,)."""
        mean, log_scale = self._encode(Batch(x=x, known=known, length=length), self._given(y))
        return Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)

    def encode(
        self, x: Values, *, y: Values | None = None, known: Values | None = None, length: Tensor | None = None
    ) -> Tensor:
        """The posterior's mean, (b, latent)."""
        return self._encode(Batch(x=x, known=known, length=length), self._given(y))[0]

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The most typical example of each code: means of continuous fields, modes of categorical ones."""
        return self.likelihood(z, y=y).typical().x

    def likelihood(self, z: Tensor, *, y: Values | None = None) -> Joint:
        """p(x | z), the distribution over examples that each code (b, latent) stands for."""
        return self._decode(z, self._given(y))

    @torch.no_grad()
    def choice_log_probs(self, z: Tensor, *, y: Values | None = None) -> Tensor:
        """Nats (b, size, k) under p(x | z) of every value that each element can take."""
        return choice_log_probs(self.likelihood(z, y=y))

    def log_prob_given(
        self,
        x: Values,
        z: Tensor,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
    ) -> Tensor:
        """log p(x | z) of each example and its code (b, latent), nats (b,), of the known part; differentiable in z."""
        return self._decode(z, self._given(y)).log_prob(x, known, length)

    @torch.no_grad()
    def sample_from(self, z: Tensor, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """One draw from p(x | z) of each code (b, latent)."""
        return replace(self._decode(z, self._given(y)).sample(Rng.of(rng)), y=y)

    # -- completion -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def complete(
        self,
        x: Values,
        known: Values,
        *,
        y: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int,
        sweeps: int = 50,
        warm: int = 10,
    ) -> Batch:
        """Draws what is unknown given what is known, by ``sweeps`` rounds of code and unknown values in turn.

        See ``nets.chains.complete``: pseudo-Gibbs first, then accepted by Metropolis' rule.
        """
        rng, given = Rng.of(rng), self._given(y)
        return chains.complete(
            Batch(x=x, y=y, known=known, length=length),
            self._prior(rows(x), rng("start")),
            lambda state, stream: self._proposed(state, given, stream),
            lambda state, z: self._weight(state, given, z),
            lambda z, stream: self._decode(z, given).sample(stream),
            sweeps=sweeps,
            warm=warm,
            rng=rng,
        )

    def _prior(self, n: int, rng: Rng) -> Tensor:
        like = next(self.parameters())
        return rng.normal((n, self._width), dtype=like.dtype, device=like.device)

    def _proposed(self, state: Batch, given: Tensor | None, rng: Rng) -> tuple[Tensor, Tensor]:
        mean, log_scale = self._encode(state, given)
        z = mean + log_scale.exp() * rng.normal(mean.shape, dtype=mean.dtype, device=mean.device)
        return z, self._weight(state, given, z)

    def _weight(self, state: Batch, given: Tensor | None, z: Tensor) -> Tensor:
        """log p(x, z) - log q(z | x) with the unknown values filled in, nats (b,)."""
        mean, log_scale = self._encode(state, given)
        log_px = self._decode(z, given).log_prob(state.x, None, state.length)
        return log_px + log_normal(z).sum(-1) - log_normal(z, mean, log_scale).sum(-1)
