"""Encoder-decoder transformer: a sequence given another one, as a translation is (Vaswani et al. 2017).

    log p(x | y) = sum_t log p(x_t | x_1 .. x_{t-1}, y)

y, the source, is a sequence of categories of which 0 stands beyond its end; x, the target, has an end that is one
decision more, unless the longest length leaves no choice: the probabilities of all targets of all lengths sum to one
for every source. Learning smooths the labels (Szegedy et al. 2016, section 7); likelihoods are of the plain model.

Likelihoods are exact, of whole targets and of their beginnings; targets are drawn, or searched for by a beam, with the
source's keys and values computed once (``nets.encoder_decoder_steps``). What it cannot do: draw a target without a
source, for it has no model of sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.batch import Batch, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.prompts import Generated, Steps
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.decoding import Change, chosen
from simulacra.nets.conditions import in_parts
from simulacra.nets.embeddings import pick
from simulacra.nets.encoder_decoder import EncoderDecoder, PairNetwork
from simulacra.nets.encoder_decoder_steps import CachedPairs, PairSteps
from simulacra.nets.endings import decisions, known_decisions, used
from simulacra.nets.generation import beam, generate, uniforms
from simulacra.nets.heads import elements
from simulacra.nets.initialise import initialise
from simulacra.nets.ladder import wide

ROWS = 128  # targets drawn or searched for at a time


def falling() -> Optimiser:
    """AdamW with GPT-3's second momentum, its rate falling over the last half."""
    return AdamW(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, schedule=Warmup(steps=100, decay=0.5, final=0.02))


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """An encoder-decoder transformer; network.depth is the dial that sets its size.

    smoothing  the share of a target's probability that learning spreads evenly over all outputs, in [0, 1).
    """

    network: EncoderDecoder = field(default_factory=EncoderDecoder)
    smoothing: float = 0.1  # Vaswani et al. 2017, section 5.4
    optimiser: Optimiser = field(default_factory=falling)

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1); got {self.smoothing}")


class Seq2Seq(nn.Module):
    """p(x | y) of a sequence of categories given another one; ``end`` is the output that ends a target."""

    def __init__(self, config: Seq2SeqConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        x, y = _sequence(space, "examples"), _sequence(space.y, "conditions")
        if not x.varying:
            raise ValueError("seq2seq learns targets that end; expected a field up to a length, got a fixed one")
        self.config, self.space = config, space
        self.end, self.longest, self.sources = x.k, x.shape[0], y.shape[0]
        self.network = PairNetwork(y.k, x.k + 1, (self.sources, self.longest), config.network)
        initialise(self, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def players(self) -> Mapping[str, Player]:
        return {"seq2seq": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="seq2seq", player="seq2seq", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Cross-entropy against smoothed targets, nats; its mean is of a token, ends included."""
        assert batch.length is not None
        x, target, decided = decisions(pick(batch.x, self.name), batch.length, self.end)
        y, y_length = self._source(batch.y, batch.y_length)
        logits, at = self.network(x, decided, y, y_length, rng=rng if self.training else None)
        # a list that holds all places has some without a decision; -100 is left out
        wanted = at.listed(torch.where(decided, target, -100))
        total = F.cross_entropy(
            wide(logits), wanted, reduction="sum", ignore_index=-100, label_smoothing=self.config.smoothing
        )
        return Loss(total, decided.sum().to(total.dtype))

    @property
    def name(self) -> str:
        """The target's field."""
        return next(iter(self.space.fields))

    # -- drawing and searching --------------------------------------------------------------------------------------

    def steps(self, y: Values, *, y_length: Tensor | None = None, along: PairSteps = CachedPairs) -> Steps:
        """The distributions of one token after another, a row for each source; the end is the last output.

        along  ``CachedPairs``, or ``RecomputedPairs`` for a whole pass of the networks for every token.
        """
        return along(self.network, *self._source(y, y_length))

    @torch.no_grad()
    def sample_given(
        self,
        y: Values,
        *,
        y_length: Tensor | None = None,
        rng: Rng | int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition: float = 1.0,
        changes: Sequence[Change] = (),
        along: PairSteps = CachedPairs,
    ) -> Batch:
        """A target drawn for each source y (n, s); y_length (n,), None: each goes up to its last token that is not 0.

        temperature  below 1 the likely is likelier still, at 0 only the likeliest is drawn.
        top_k, top_p, min_p  which tokens are left to draw from: the k likeliest; the fewest that hold probability p;
                     those at least so many times as likely as the likeliest.
        repetition   at least 1: the power to which probabilities of tokens that are there already are raised.
        changes      further ones to the distributions that are drawn from, after those.
        """
        usual = chosen(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition=repetition)
        y, y_length = self._source(y, y_length)
        parts: list[Generated] = []
        for n, part, size, draw in in_parts(len(y), ROWS, y, y_length, Rng.of(rng)("x"), self._device):
            assert part is not None
            steps = self.steps(part, y_length=size, along=along)
            u = uniforms(n, self.longest, draw, self._device)
            parts.append(generate(steps, u, changes=(*usual, *changes), end=self.end))
        return Batch(x=torch.cat([p.tokens for p in parts]), y=y, length=torch.cat([p.length for p in parts]))

    @torch.no_grad()
    def search(self, y: Values, *, y_length: Tensor | None = None, width: int = 5, alpha: float = 1.0) -> Generated:
        """The target that a beam search finds for each source, by log p / ((5 + length) / 6)^alpha.

        width  lanes of the beam; 1 follows the likeliest token alone. See ``nets.generation.beam``.
        """
        y, y_length = self._source(y, y_length)
        parts: list[Generated] = []
        for n, part, size, _ in in_parts(len(y), ROWS, y, y_length, Rng(0), self._device):
            assert part is not None
            steps = self.steps(part, y_length=size)
            parts.append(beam(steps, n, self.longest, width=width, alpha=alpha, end=self.end))
        return Generated(
            tokens=torch.cat([p.tokens for p in parts]),
            length=torch.cat([p.length for p in parts]),
            log_prob=torch.cat([p.log_prob for p in parts]),
            ended=torch.cat([p.ended for p in parts]),
        )

    @property
    def _device(self) -> torch.device:
        return self.network.source.weight.device

    # -- scoring ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        y_length: Tensor | None = None,
        rng: Rng | int | None = None,
    ) -> LogLikelihood:
        """log p(x | y), exact, nats (b,); y is required.

        length  of each target; None: all of it. With ``known`` of the known part, which must be the beginning of each.
        """
        tokens, mask = pick(x, self.name), pick(known, self.name)
        self._check(tokens)
        if length is None:
            length = torch.full((len(tokens),), self.longest, device=tokens.device)
        seen, target, decided = decisions(tokens, length, self.end)
        logits, at = self.network(seen, decided, *self._source(y, y_length))
        each = wide(logits).log_softmax(-1).gather(1, at.listed(target)[:, None])[:, 0]
        if mask is not None:
            decided = known_decisions(decided, mask, length, "seq2seq")
        nats = torch.where(decided, at.rows(each), 0.0).sum(1)
        return LogLikelihood(
            nats=nats,
            kind="exact",
            measure=self.space.measure,
            count=elements(self.space, len(nats), known, length, x),
            choices=decided.sum(1).to("cpu", torch.float64),
        )

    @torch.no_grad()
    def attention(self, x: Tensor, length: Tensor, *, y: Values, y_length: Tensor | None = None) -> Tensor:
        """How much each decision of targets looks at each place of its source, mean over blocks and heads: (b, t, s).

        Place 0 of the source stands before its first token; the last decision of a target is its end.
        """
        seen, _, decided = decisions(x, length, self.end)
        shares: list[Tensor] = []
        self.network(seen, decided, *self._source(y, y_length), shares=shares)
        return torch.stack(shares).mean((0, 2))

    def _source(self, y: Values | None, length: Tensor | None) -> tuple[Tensor, Tensor]:
        """Source tokens int64 (b, s) and their lengths, checked."""
        assert isinstance(self.space.y, Space)
        tokens = None if y is None else pick(y, next(iter(self.space.y.fields)))
        if tokens is None or tokens.ndim != 2 or tokens.shape[1] != self.sources:
            got = "none" if tokens is None else str(tuple(tokens.shape))
            raise ValueError(f"seq2seq is given a source, y of shape (b, {self.sources}), for each target; got {got}")
        _within(tokens, self.network.source.num_embeddings, "source tokens")
        return tokens.long(), used(tokens) if length is None else length

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.longest:
            raise ValueError(f"x must hold targets (b, {self.longest}); got {tuple(x.shape)}")
        _within(x, self.end, "target tokens")


def _sequence(space: object, what: str) -> Categorical:
    """The one field of a space of sequences of categories; ValueError for anything else."""
    f = next(iter(space.fields.values())) if isinstance(space, Space) and len(space.fields) == 1 else None
    if not isinstance(f, Categorical) or len(f.shape) != 1 or (isinstance(space, Space) and space.missing):
        raise ValueError(
            f"seq2seq learns pairs of sequences; expected {what} that are one sequence of categories, known whole,"
            " such as line-aligned sentences"
        )
    return f


def _within(tokens: Tensor, k: int, what: str) -> None:
    # looked at only where looking does not make a device wait
    if tokens.device.type == "cpu" and tokens.numel() and not (int(tokens.min()) >= 0 and int(tokens.max()) < k):
        raise ValueError(f"{what} must lie in 0 .. {k - 1}; got {int(tokens.min())} .. {int(tokens.max())}")
