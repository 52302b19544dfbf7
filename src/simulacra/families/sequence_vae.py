"""A variational autoencoder of sequences: a code of the whole, and tokens that follow one another given it.

    log p(x) >= E_q [sum_t log p(x_t | x_<t, z)] - KL(q(z | x) || N(0, I))         (Bowman et al. 2016, "Generating
                                                                                    sentences from a continuous space")
A decoder that sees all tokens so far can do without the code, and then its posterior collapses to the prior. Remedies
of that paper and of Kingma et al. 2016 stand against it: some of the tokens that the decoder sees are left out
(``dropped``), the KL of each latent dimension counts only beyond some free nats, and it is brought in slowly
(``mathematics.bounds.FreeNats``). Where lengths vary an end is one token more, as in ``families.transformer``.

Codes are N(0, I) a priori, so that they can be searched: what is near in them is alike (Gomez-Bombarelli et al. 2018).
What it cannot do: exact likelihoods (a bound is all it gives).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.prompts import Steps
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.bounds import Bound, FreeNats, Objective
from simulacra.mathematics.decoding import Temperature
from simulacra.mathematics.divergences import importance_bound
from simulacra.nets.causal_rows import OverTime, Recurrent, RowSteps
from simulacra.nets.cell_outputs import wide
from simulacra.nets.embeddings import class_indicator, pick
from simulacra.nets.endings import decisions, known_decisions
from simulacra.nets.generation import generate, uniforms
from simulacra.nets.heads import elements
from simulacra.nets.initialise import initialise
from simulacra.nets.marginal import LabelMarginal

ROWS = 512  # sequences drawn at a time


@dataclass(frozen=True, kw_only=True)
class SequenceVAEConfig:
    """A variational autoencoder of sequences.

    latent            number of latent dimensions.
    encoder, decoder  networks over time (``nets.causal_rows``): ``Recurrent``, ``Attending``.
    dropped           share of the tokens that the decoder is not shown while it learns, below 1.
    objective         what is maximised (``mathematics.bounds``): ``FreeNats()``, ``elbo`` ...
    beta              weight of the KL.
    """

    latent: int = 32
    encoder: OverTime = field(default_factory=lambda: Recurrent(width=192))
    decoder: OverTime = field(default_factory=lambda: Recurrent(width=256))
    dropped: float = 0.2
    objective: Objective = field(default_factory=FreeNats)
    beta: float = 1.0
    optimiser: Optimiser = field(
        default_factory=lambda: AdamW(lr=2e-3, schedule=Warmup(steps=100, decay=0.7, final=0.02))
    )

    def __post_init__(self) -> None:
        if self.latent < 1 or not 0 <= self.dropped < 1 or self.beta < 0:
            raise ValueError(
                "latent must be at least 1, dropped in [0, 1), beta not negative; got"
                f" {self.latent}, {self.dropped} and {self.beta}"
            )


class CodedSequences(nn.Module):
    """The two networks: tokens -> q(z | x), and a code and tokens so far -> logits of what comes next.

    given  how many classes both are told of.
    """

    def __init__(self, c: SequenceVAEConfig, k: int, outputs: int, longest: int, given: int) -> None:
        super().__init__()
        self.missing = k  # the embedding that stands for a token which is not shown
        self.read = nn.Embedding(k, c.encoder.width)
        self.encoder = c.encoder.build(longest)
        self.code = nn.Linear(c.encoder.width + given, 2 * c.latent)
        self.tokens = nn.Embedding(k + 1, c.decoder.width)
        self.start = nn.Linear(c.latent + given, c.decoder.width)
        self.lift = nn.Linear(c.latent + given, c.decoder.width)
        self.decoder = c.decoder.build(longest + 1)
        self.out = nn.Linear(c.decoder.width, outputs)

    def posterior(self, x: Tensor, length: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log scale (b, latent) of tokens (b, t), of which ``length`` of each row are there."""
        h = self.encoder(self.read(x))
        there = (torch.arange(x.shape[1], device=x.device) < length[:, None]).to(h.dtype)
        h = (h * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        out = wide(self.code(h if given is None else torch.cat([h, given], dim=1)))
        mean, log_scale = out.chunk(2, dim=1)
        return mean, log_scale

    def forward(self, z: Tensor, seen: Tensor) -> Tensor:
        """Codes (b, latent + given), tokens int64 (b, t - 1) -> logits (b, t, outputs)."""
        rows = torch.cat([self.start(z)[:, None], self.tokens(seen) + self.lift(z)[:, None]], dim=1)
        return wide(self.out(self.decoder(rows)))


class CodedSteps:
    """Tokens one after another, of codes (n, latent + given)."""

    def __init__(self, network: CodedSequences, z: Tensor) -> None:
        self.network, self.row, self.lift = network, network.start(z).detach(), network.lift(z).detach()
        self.body: RowSteps = network.decoder.steps()  # type: ignore[operator]
        self.found: Tensor | None = None

    @torch.no_grad()
    def log_probs(self) -> Tensor:
        if self.found is None:
            self.found = wide(self.network.out(self.body.step(self.row))).log_softmax(-1)
        return self.found

    @torch.no_grad()
    def take(self, token: Tensor) -> None:
        self.log_probs()
        self.row, self.found = self.network.tokens(token) + self.lift, None

    def keep(self, rows: Tensor) -> None:
        self.body.keep(rows)
        self.row, self.lift = self.row[rows], self.lift[rows]
        self.found = None if self.found is None else self.found[rows]


class SequenceVAE(nn.Module):
    """p(x | y) = integral of N(z; 0, I) prod_t p(x_t | x_<t, z, y) dz, with its encoder q(z | x, y)."""

    steps_taken: Tensor
    examples: Tensor

    def __init__(self, config: SequenceVAEConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        f = space.only
        if not isinstance(f, Categorical) or len(f.shape) != 1 or space.missing:
            raise ValueError(
                f"a sequence VAE learns one sequence of categories, known whole; got {type(f).__name__} {f.shape}"
            )
        if isinstance(space.y, Space):
            raise ValueError("a sequence VAE is conditional on classes; expected a y of Classes or None")
        self.config, self.space, self.k, self.longest = config, space, f.k, f.shape[0]
        self.name, self.end = next(iter(space.fields)), f.k if f.varying else None
        self.latent = Space(
            fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(config.latent,))}, measure="latent codes"
        )
        self.marginal = LabelMarginal(space.y)
        outputs = self.k + (self.end is not None)
        self.network = CodedSequences(config, self.k, outputs, self.longest, self.marginal.classes)
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("examples", torch.zeros((), dtype=torch.int64))
        initialise(self, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Counts the labels, and how many examples there are."""
        self.examples.fill_(len(data))
        self.marginal.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"vae": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="vae", player="vae", loss=self.loss, after=self._after)]

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        self.steps_taken += 1

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus the objective of each example, nats; terms: the bound's two halves."""
        given = self._given(batch.y if self.marginal.classes else None)
        x = pick(batch.x, self.name)
        mean, log_scale = self._encode(x, batch.length, given)
        z = mean + log_scale.exp() * rng("z").normal(mean.shape, dtype=mean.dtype, device=mean.device)
        left_out = rng("dropped").bernoulli(torch.full(x.shape, self.config.dropped)).to(x.device)
        log_px = self._decoded(x, batch.length, z, given, left_out)
        bound = Bound(log_px[None], z[None], mean, log_scale, self.config.beta, self.steps_taken, self.examples)
        return Loss.of(-self.config.objective(bound), reconstruction=-log_px.detach(), kl=bound.kl.detach())

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.space.y, self.network.start.weight.dtype)  # type: ignore[arg-type]

    def _encode(self, x: Tensor, length: Tensor | None, given: Tensor | None) -> tuple[Tensor, Tensor]:
        length = torch.full((len(x),), self.longest, device=x.device) if length is None else length
        return self.network.posterior(x.long(), length, given)

    def _decoded(
        self,
        x: Tensor,
        length: Tensor | None,
        z: Tensor,
        given: Tensor | None,
        left_out: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """log p(x | z), nats (b,), of the known beginning; tokens that are left out, bool like x, are not shown."""
        seen, target, decided = decisions(x, length, self.end)
        if known is not None:
            decided = known_decisions(decided, known, length, "a sequence VAE")
        shown = seen if left_out is None else torch.where(left_out[:, : seen.shape[1]], self.network.missing, seen)
        z = z if given is None else torch.cat([z, given], dim=1)
        logits = self.network(z, shown[:, :-1])
        nats = -F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
        return torch.where(decided, nats, 0.0).sum(1)

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
        """A lower bound of log p(x), or log p(x | y), in expectation over k codes; nats (b,).

        Of the known part where there is one, which must be the beginning of each sequence: ValueError for gaps.
        """
        tokens, mask, rng = pick(x, self.name), pick(known, self.name), Rng.of(rng)

        def score(label: Values | None) -> Tensor:
            return self._importance(tokens, length, self._given(label), mask, rng, k)

        summed = self.marginal.classes and y is None
        return LogLikelihood(
            nats=self.marginal.sum_out(score, len(tokens)) if summed else score(y),
            kind="bound",
            measure=self.space.measure,
            count=elements(self.space, len(tokens), known, length, x),
            method="ELBO, 1 draw" if k == 1 else f"IWAE, k = {k}",
        )

    def _importance(
        self, x: Tensor, length: Tensor | None, given: Tensor | None, known: Tensor | None, rng: Rng, k: int
    ) -> Tensor:
        # what is not known must not be looked at by the encoder either
        seen = length if known is None else known.sum(1) if length is None else torch.minimum(length, known.sum(1))
        x = x if known is None else torch.where(known, x, 0)
        mean, log_scale = self._encode(x, seen, given)
        noise = rng("z").normal((len(x), k, mean.shape[1]), dtype=mean.dtype, device=mean.device)
        weights: list[Tensor] = []
        for draw in noise.unbind(1):
            z = mean + log_scale.exp() * draw
            log_px = self._decoded(x, length, z, given, known=known)
            bound = Bound(log_px[None], z[None], mean, log_scale, 1.0, self.steps_taken, self.examples)
            weights.append(bound.log_weights)
        return importance_bound(torch.cat(weights))

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
        return self._decoded(pick(x, self.name), length, z, self._given(y), known=pick(known, self.name))

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted by ``fit``, each class once more than it was seen."""
        return self.marginal.log_prob()

    # -- codes ------------------------------------------------------------------------------------------------------

    def posterior(self, x: Values, *, y: Values | None = None, length: Tensor | None = None) -> Independent:
        """q(z | x): a diagonal normal over (latent,)."""
        mean, log_scale = self._encode(pick(x, self.name), length, self._given(y))
        return Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)

    def encode(self, x: Values, *, y: Values | None = None, length: Tensor | None = None) -> Tensor:
        """The posterior's mean, (b, latent)."""
        return self._encode(pick(x, self.name), length, self._given(y))[0]

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The sequence of each code in which every token is the likeliest after those before it."""
        return self.sample_from(z, y=y, rng=0, temperature=0.0).x

    # -- drawing ----------------------------------------------------------------------------------------------------

    def steps(self, z: Tensor, *, y: Values | None = None) -> Steps:
        """The distributions of one token after another, of each code (n, latent)."""
        given = self._given(y)
        return CodedSteps(self.network, z if given is None else torch.cat([z, given], dim=1))

    @torch.no_grad()
    def sample_from(self, z: Tensor, *, y: Values | None = None, rng: Rng | int, temperature: float = 1.0) -> Batch:
        """One draw from p(x | z) of each code (b, latent); temperature 0: the likeliest token every time."""
        u = uniforms(len(z), self.longest, Rng.of(rng)("x"), z.device)
        changes = () if temperature == 1 else (Temperature(value=temperature),)
        drawn = generate(self.steps(z, y=y), u, changes=changes, end=self.end)
        return Batch(x=drawn.tokens, y=y, length=None if self.end is None else drawn.length)

    @torch.no_grad()
    def sample(
        self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0, noise: float = 1.0
    ) -> Batch:
        """n sequences; y (n,) classes, None: drawn from their learned marginal.

        temperature  standard deviation of the latent prior; below 1 more typical and less varied.
        noise        temperature of the tokens given a code: at 0 each is the likeliest.
        """
        rng, like = Rng.of(rng), self.network.start.weight
        y = self.marginal.draw(n, rng("y")) if y is None else y
        z = temperature * rng("z").normal((n, self.config.latent), dtype=like.dtype, device=like.device)
        parts: list[Batch] = []
        for first in range(0, max(n, 1), ROWS):
            at = slice(first, first + ROWS)
            label = None if y is None else y[at]
            parts.append(self.sample_from(z[at], y=label, rng=rng("x").rows(first), temperature=noise))
        length = None if self.end is None else torch.cat([p.length for p in parts])  # type: ignore[misc]
        return Batch(x=torch.cat([p.x for p in parts]), y=y, length=length)  # type: ignore[misc]
