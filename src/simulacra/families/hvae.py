"""Hierarchical variational autoencoders: ladders of latent groups, decided from coarse to fine (Child 2021).

Latent groups z_1 .. z_L are drawn one after another on the way down, each given those above it, at resolutions that
double from a few places to half the picture's size; an encoder that runs upwards once tells every group's posterior
about x, which is otherwise made of the same state as the prior (the ladder of Sonderby et al. 2016):

    log p(x) >= E_q [log p(x | z)] - sum_l E_q KL(q(z_l | z_<l, x) || p(z_l | z_<l))      (Sonderby et al. 2016, eq. 5)

What KL costs may be warmed up, or free up to a few bits a group: functions passed in (``mathematics.ladder``). With
labels it is a model of p(x | y) p(y), the classes' share learned by ``fit``.

Codes are the standardised draws, (z_l - mean_l) / scale_l of every group one after another: N(0, I) a priori, like a
VAE's, and ``decode`` makes the groups of them again.

What it cannot do: exact likelihoods, and sequences; elements are independent given all groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.divergences import importance_bound, kl_standard, log_normal
from simulacra.mathematics.ladder import LadderBound, LadderObjective, ladder_elbo
from simulacra.nets import chains
from simulacra.nets.activations import silu
from simulacra.nets.backbones import Activation
from simulacra.nets.embeddings import Embed, class_indicator
from simulacra.nets.heads import Head, Joint, Likelihood, choice_log_probs, elements, natural
from simulacra.nets.initialise import initialise
from simulacra.nets.ladder import Downwards, Pick, Upwards, as_grid, stages
from simulacra.nets.ladder_posterior import LadderPosterior
from simulacra.nets.marginal import LabelMarginal

DRAWS = 16  # codes of an example decoded at a time where a likelihood draws many
ELEMENTS = 1 << 22  # elements of the finest state at a time there: 16 MiB in float32


@dataclass(frozen=True, kw_only=True)
class HVAEConfig:
    """A hierarchical variational autoencoder.

    groups      latent groups at each resolution, finest first: the first has half the picture's sides, each further
                one half of those. Sides of 1 stay, so any size of picture will do, and flat vectors.
    latent      channels of each group.
    width       channels of the networks at the finest resolution, doubled at every further one up to four times.
    blocks      residual blocks of the encoder at each resolution.
    likelihood  which distribution p(x | z) is, as a function of a field (``nets.heads``).
    beta        weight of the KL.
    objective   what is maximised: ``ladder_elbo``, ``LadderWarmup``, ``FreeBits`` (``mathematics.ladder``).
    """

    groups: tuple[int, ...] = (2, 2, 2)
    latent: int = 8
    width: int = 32
    blocks: int = 1
    activation: Activation = silu
    likelihood: Likelihood = natural
    beta: float = 1.0
    objective: LadderObjective = ladder_elbo
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=2e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if not self.groups or min(self.groups) < 0 or self.groups[-1] < 1:
            raise ValueError(f"groups needs numbers of groups, the last at least 1; got {self.groups}")
        if min(self.latent, self.width) < 1 or self.blocks < 0:
            raise ValueError(f"latent, width must be positive; got {self.latent}, {self.width}, blocks {self.blocks}")
        if self.beta < 0:
            raise ValueError(f"beta must not be negative; got {self.beta}")


class HVAE(nn.Module):
    """p(x | y) = integral of p(x | z, y) prod_l p(z_l | z_<l, y) dz, with its encoder q(z_l | z_<l, x, y)."""

    steps_taken: Tensor

    def __init__(self, config: HVAEConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError("an HVAE is conditional on classes only; expected a space whose y is Classes or None")
        self.config, self.space = config, space
        self.classes: Classes | None = space.y
        given = 0 if self.classes is None else len(self.classes)
        self.head, self.embed, self.marginal = Head(space, config.likelihood), Embed(space), LabelMarginal(space.y)
        grid, act = as_grid(self.embed.shape), config.activation
        levels = stages(*grid[1:], [config.width * min(4, 2**i) for i in range(len(config.groups))])
        self.up = Upwards(grid, given, levels, config.blocks, act)
        self.down = Downwards(as_grid(self.head.shape), given, levels, config.groups, config.latent, act)
        self.state = math.prod((levels[0].channels, levels[0].height, levels[0].width))
        self.latent = Space(
            fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(self.down.size,))}, measure="latent codes"
        )
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.int64))
        initialise(self, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Counts the labels."""
        self.marginal.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"hvae": Player(module=self, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="hvae", player="hvae", loss=self.loss, after=self._after)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus the objective of each example, nats; terms: the bound's two halves."""
        bound = self.bound(batch, rng)
        return Loss.of(-self.config.objective(bound), reconstruction=-bound.log_px.detach(), kl=bound.kl.detach())

    def bound(self, batch: Batch, rng: Rng) -> LadderBound:
        """Draws every group of each example's code, and scores the example under it; KLs in closed form."""
        given = self._given(batch.y if self.classes is not None else None)
        kls: list[Tensor] = []

        def pick(j: int, mean: Tensor, log_scale: Tensor) -> Tensor:
            kls.append(kl_standard(mean.flatten(1), log_scale.flatten(1)))
            return mean + log_scale.exp() * self.down.noise(j, len(batch), rng, mean)

        walked = self.down.through(self._encode(batch, given), given, pick)
        log_px = self._joint(walked.raw).log_prob(batch.x, batch.known, batch.length)
        return LadderBound(log_px, torch.stack(kls, 1), self.config.beta, self.steps_taken)

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        self.steps_taken += 1

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.classes, next(self.parameters()).dtype)  # type: ignore[arg-type]

    def _encode(self, batch: Batch, given: Tensor | None) -> list[Tensor]:
        """What the data says to each group's posterior."""
        x = self.embed(batch.x, batch.known, batch.length)
        return self.down.data(self.up(x.reshape(len(x), *as_grid(self.embed.shape)), given))

    def _joint(self, raw: Tensor, lead: tuple[int, ...] = (-1,)) -> Joint:
        """p(x | z) of raw outputs (n, c, h, w), n codes in the leading shape asked for."""
        return self.head(raw.reshape(*lead, *self.head.shape))

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0, noise: float = 1.0
    ) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        temperature  times the standard deviation of every group's prior; below 1 more typical and less varied.
        noise        temperature of p(x | z): 1 draws from it, 0 takes the most typical example of each code.
        """
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        joint = self.likelihood(temperature * self._prior(n, rng("z")), y=y)
        drawn = joint.typical() if noise == 0 else joint.sample(rng("x"), noise)
        return replace(drawn, y=y)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted by ``fit``, each class once more than it was seen."""
        return self.marginal.log_prob()

    def _prior(self, n: int, rng: Rng) -> Tensor:
        like = next(self.parameters())
        return rng.normal((n, self.latent.size), dtype=like.dtype, device=like.device)

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
            nats = self.marginal.sum_out(lambda c: self._importance(replace(batch, y=c), rng, k), len(batch))
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
        """log 1/k sum of the importance weights of k codes, nats (b,); some examples and draws at a time."""
        at_once, found = max(1, ELEMENTS // (min(k, DRAWS) * self.state)), list[Tensor]()
        for first in range(0, len(batch), at_once):
            part = batch.rows(slice(first, first + at_once))
            given = self._given(part.y)
            data = self._encode(part, given)
            draws = [min(DRAWS, k - done) for done in range(0, k, DRAWS)]
            weights = [self._weights(part, given, data, rng.rows(first)("k", i), n) for i, n in enumerate(draws)]
            found.append(importance_bound(torch.cat(weights)))
        return torch.cat(found)

    def _weights(self, batch: Batch, given: Tensor | None, data: Sequence[Tensor], rng: Rng, draws: int) -> Tensor:
        """log p(x, z) - log q(z | x) of several draws, nats (draws, b)."""

        def pick(j: int, mean: Tensor, log_scale: Tensor) -> Tensor:
            return mean + log_scale.exp() * self.down.noise(j, len(batch), rng, mean, draws)

        walked = self.down.through(data, given, pick, draws)
        log_px = self._joint(walked.raw, (draws, -1)).log_prob(batch.x, batch.known, batch.length)
        return log_px + (log_normal(walked.code).sum(1) - walked.log_q).unflatten(0, (draws, -1))

    # -- codes ------------------------------------------------------------------------------------------------------

    def posterior(self, x: Values, *, y: Values | None = None, known: Values | None = None) -> LadderPosterior:
        """q(z | x) of standardised codes: normal in each group given those above it."""
        given = self._given(y)
        return LadderPosterior(self.down, self._encode(Batch(x=x, known=known), given), given)

    def encode(self, x: Values, *, y: Values | None = None, known: Values | None = None) -> Tensor:
        """The posterior's means, each group's given the means above it, (b, latent)."""
        return self.posterior(x, y=y, known=known).mean

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The most typical example of each code: means of continuous fields, modes of categorical ones."""
        return self.likelihood(z, y=y).typical().x

    def likelihood(self, z: Tensor, *, y: Values | None = None) -> Joint:
        """p(x | z), the distribution over examples that each code (b, latent) stands for."""
        return self._joint(self.down.decode(z, self._given(y)))

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
        return self.likelihood(z, y=y).log_prob(x, known, length)

    @torch.no_grad()
    def sample_from(self, z: Tensor, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """One draw from p(x | z) of each code (b, latent)."""
        return replace(self.likelihood(z, y=y).sample(Rng.of(rng)), y=y)

    # -- completion -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def complete(
        self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int, sweeps: int = 50, warm: int = 10
    ) -> Batch:
        """Draws what is unknown given what is known, by ``sweeps`` rounds of code and unknown values in turn.

        See ``nets.chains.complete``: pseudo-Gibbs first, then accepted by Metropolis' rule.
        """
        rng, given = Rng.of(rng), self._given(y)

        def walk(state: Batch, pick: Pick) -> tuple[Tensor, Tensor]:
            """Codes, and log p(x, z) - log q(z | x) of them with the unknown values filled in."""
            walked = self.down.through(self._encode(state, given), given, pick)
            log_px = self._joint(walked.raw).log_prob(state.x)
            return walked.code, log_px + log_normal(walked.code).sum(1) - walked.log_q

        def propose(state: Batch, stream: Rng) -> tuple[Tensor, Tensor]:
            return walk(state, lambda j, m, s: m + s.exp() * self.down.noise(j, len(m), stream, m))

        def weigh(state: Batch, z: Tensor) -> Tensor:
            parts = self.down.parts(z)
            return walk(state, lambda j, m, s: parts[j])[1]

        return chains.complete(
            Batch(x=x, y=y, known=known),
            self._prior(rows(x), rng("start")),
            propose,
            weigh,
            lambda z, stream: self.likelihood(z, y=y).sample(stream),
            sweeps=sweeps,
            warm=warm,
            rng=rng,
        )
