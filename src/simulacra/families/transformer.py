"""Decoder-only transformer: sequences of tokens, each given all those before it (Radford et al. 2018; nets.decoder).

    log p(x | y) = sum_t log p(x_t | x_1 .. x_{t-1}, y)

What stands before the first token carries the class. Where lengths vary an end is one token more, paid for like the
others, unless the longest length leaves no choice; so the probabilities of all sequences of all lengths sum to one.
Text, SMILES, events of music: any space of one categorical sequence.

Likelihoods are exact, a prefix is completed exactly, and drawing keeps what later tokens need (``nets.decoder_steps``).
What it cannot do: draw all tokens at once, or fill gaps exactly: what comes later is not heeded by what comes before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.prompts import Generated, Prompt, Steps
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.decoding import Change, Legal, chosen
from simulacra.nets.decoder import Decoder
from simulacra.nets.decoder_steps import Cached, StepsOf
from simulacra.nets.embeddings import class_indicator, pick
from simulacra.nets.endings import decisions, known_decisions
from simulacra.nets.generation import StepsWalk, Told, beam, generate, uniforms
from simulacra.nets.heads import elements
from simulacra.nets.initialise import initialise
from simulacra.nets.ladder import wide
from simulacra.nets.marginal import LabelMarginal

ROWS = 256  # sequences drawn at a time


def falling() -> Optimiser:
    """AdamW with GPT-3's second momentum, its rate falling over the last half."""
    return AdamW(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, schedule=Warmup(steps=100, decay=0.5, final=0.02))


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A decoder-only transformer; network.depth is the dial that sets its size (``nets.decoder.Decoder``)."""

    network: Decoder = field(default_factory=Decoder)
    optimiser: Optimiser = field(default_factory=falling)


class Sequences(nn.Module, ABC):
    """What models of sequences of a fixed number of tokens, and of up to that many, have in common."""

    def __init__(self, config: TransformerConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        f = space.only
        if not isinstance(f, Categorical) or len(f.shape) != 1 or space.missing:
            raise ValueError(
                f"a transformer learns one sequence of categories, known whole; got {type(f).__name__} {f.shape}"
            )
        if isinstance(space.y, Space):
            raise ValueError("a transformer is conditional on classes or a prefix; expected a y of Classes or None")
        self.config, self.space, self.longest = config, space, f.shape[0]
        self.k = f.k
        self.classes: Classes | None = space.y
        self.marginal = LabelMarginal(space.y)
        outputs = self.k + (self.end is not None)
        self.network = config.network.build(self.k, outputs, self.longest, self.marginal.classes)
        initialise(self, Rng.of(rng)("weights"))

    @property
    @abstractmethod
    def end(self) -> int | None:
        """The output that ends a sequence; None where all are equally long."""

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Counts the labels."""
        self.marginal.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"transformer": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="transformer", player="transformer", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus log p(x | y), nats; weighed by the number of tokens, ends included: its mean is nats a token."""
        nats, decided = self._each(pick(batch.x, self.name), batch.length, self._given(batch.y, batch))
        return Loss(-nats.sum(), float(decided.numel()) if self.end is None else decided.sum().to(nats.dtype))

    @property
    def name(self) -> str:
        """The sequence's field."""
        return next(iter(self.space.fields))

    def _given(self, y: Values | None, batch: Batch | None = None) -> Tensor | None:
        # a model of data without classes leaves aside whatever labels a batch carries no space for
        y = None if batch is not None and self.classes is None else y
        return class_indicator(y, self.classes, self.network.start.weight.dtype)  # type: ignore[arg-type]

    def _each(self, x: Tensor, length: Tensor | None, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """log p of every decision, nats (b, t), 0 where there is none, and where there is one, bool."""
        x, target, decided = decisions(x, length, self.end)
        logits = wide(self.network(x[:, :-1], given))
        nats = -F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
        return (nats if self.end is None else torch.where(decided, nats, 0.0)), decided

    # -- drawing ----------------------------------------------------------------------------------------------------

    def steps(self, n: int, *, y: Values | None = None, prompt: Prompt | None = None, along: StepsOf = Cached) -> Steps:
        """The distributions of one token after another, of n sequences that begin with a prompt; y as in sample.

        along  ``Cached``, or ``Recomputed`` for a whole pass of the network for every token.
        """
        given = self._given(y)
        if given is not None and len(given) != n:
            raise ValueError(f"y must hold a class for each of {n} sequences; got {len(given)}")
        return along(self.network, n, None if given is None else given.detach(), prompt)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition: float = 1.0,
        changes: Sequence[Change] = (),
        legal: Legal | None = None,
        along: StepsOf = Cached,
    ) -> Batch:
        """n sequences; y (n,) classes, None: drawn from their learned marginal.

        temperature  below 1 the likely is likelier still, at 0 only the likeliest is drawn.
        top_k, top_p, min_p  which tokens are left to draw from: the k likeliest; the fewest that hold probability p;
                     those at least so many times as likely as the likeliest.
        repetition   at least 1: the power to which probabilities of tokens that are there already are raised.
        changes      further ones to the distributions that are drawn from, after those: a mark, say.
        legal        which tokens may come next, all others left out before any change: a grammar.
        """
        rng, usual = Rng.of(rng), chosen(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition=repetition
        )  # fmt: skip
        changes = (*usual, *changes)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        parts: list[Batch] = []
        for first in range(0, max(n, 1), ROWS):
            rows = min(ROWS, n - first)
            given = None if y is None else y[first : first + ROWS]
            u = uniforms(rows, self.longest, rng("x").rows(first), self._device)
            drawn = generate(self.steps(rows, y=given, along=along), u, changes=changes, end=self.end, legal=legal)
            parts.append(Batch(x=drawn.tokens, length=None if self.end is None else drawn.length))
        length = None if self.end is None else torch.cat([p.length for p in parts])  # type: ignore[misc]
        return Batch(x=torch.cat([p.x for p in parts]), y=y, length=length)  # type: ignore[misc]

    def continue_from(
        self,
        prompt: Prompt,
        tokens: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        changes: Sequence[Change] = (),
        legal: Legal | None = None,
        told: Told | None = None,
        along: StepsOf = Cached,
    ) -> Generated:
        """Up to so many tokens that follow each prompt.

        Where lengths vary a sequence ends with the longest at the latest; where they are fixed it goes on beyond that,
        seeing its last tokens by halves (``nets.decoder_steps``).

        changes  to the distributions that are drawn from (``mathematics.decoding``); legal: which tokens may follow.
        told     called with each token as it is drawn.
        """
        n, legal = len(prompt.tokens), self._within(prompt, legal)
        u = uniforms(n, tokens, Rng.of(rng)("x"), self._device)
        steps = self.steps(n, y=y, prompt=prompt, along=along)
        return generate(steps, u, seen=_shown(prompt), changes=changes, end=self.end, legal=legal, told=told)

    def likeliest(
        self,
        prompt: Prompt,
        tokens: int,
        *,
        y: Tensor | None = None,
        width: int = 4,
        alpha: float = 0.0,
        legal: Legal | None = None,
    ) -> Generated:
        """The continuation of up to so many tokens that a beam search finds (``nets.generation.beam``)."""
        n, legal = len(prompt.tokens), self._within(prompt, legal)
        steps = self.steps(n, y=y, prompt=prompt)
        return beam(steps, n, tokens, width=width, alpha=alpha, end=self.end, seen=_shown(prompt), legal=legal)

    def _within(self, prompt: Prompt, legal: Legal | None) -> Legal | None:
        """What may come next: where lengths vary, nothing but an end after the longest."""
        end, longest = self.end, self.longest
        if end is None:
            return legal
        most = int(prompt.lengths().max()) if prompt.tokens.shape[1] else 0
        if most > longest:
            raise ValueError(f"this transformer knows sequences of up to {longest} tokens; got a prompt of {most}")

        def both(seen: Tensor) -> Tensor:
            full = (seen >= 0).sum(1, keepdim=True) >= longest
            ends = torch.arange(end + 1, device=seen.device) == end
            return torch.where(full, ends, True if legal is None else legal(seen))

        return both

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted by ``fit``, each class once more than it was seen."""
        return self.marginal.log_prob()

    @property
    def _device(self) -> torch.device:
        return self.network.start.weight.device

    # -- scoring ----------------------------------------------------------------------------------------------------

    def log_prob_of(self, x: Values, *, y: Values | None = None, length: Tensor | None = None) -> Tensor:
        """log p(x | y), nats (b,), differentiable in the weights; without y the classes are summed out."""
        tokens = pick(x, self.name)

        def score(label: Values | None) -> Tensor:
            return self._each(tokens, length, self._given(label))[0].sum(1)

        return score(y) if self.classes is None or y is not None else self.marginal.sum_out(score, len(tokens))

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
        """log p(x | y), exact, nats (b,); without y the classes are summed out: log sum_y p(y) p(x | y).

        With ``known`` of the known part, which must be the beginning of each sequence: ValueError for gaps.
        """
        tokens, mask = pick(x, self.name), pick(known, self.name)
        self._check(tokens)
        decided = torch.ones(0)

        def score(label: Values | None) -> Tensor:
            nonlocal decided
            nats, decided = self._each(tokens, length, self._given(label))
            if mask is not None:
                decided = known_decisions(decided, mask, length, "a transformer")
                nats = torch.where(decided, nats, 0.0)
            return nats.sum(1)

        nats = self.marginal.sum_out(score, len(tokens)) if self.classes is not None and y is None else score(y)
        return LogLikelihood(
            nats=nats,
            kind="exact",
            measure=self.space.measure,
            count=elements(self.space, len(nats), known, length, x),
            choices=decided.sum(1).to("cpu", torch.float64),
        )

    @torch.no_grad()
    def log_prob_after(
        self, prompt: Prompt, x: Tensor, *, y: Values | None = None, length: Tensor | None = None, ends: bool = False
    ) -> Tensor:
        """log p of continuations x int64 (b, t) given their prompts, nats (b,).

        length  how much of each counts, (b,); None: all of it. ends: whether the sequence is to end there too.
        ValueError where prompt and continuation together are longer than the longest sequence.
        """
        before = prompt.lengths().to(x.device)
        length = torch.full((len(x),), x.shape[1], device=x.device) if length is None else length
        both = before + length
        if len(x) and int(both.max()) > self.longest:
            raise ValueError(
                f"this transformer scores {self.longest} tokens; got {int(both.max())}, prompt included: give less"
            )
        place = torch.arange(self.longest, device=x.device)
        joined = torch.cat([prompt.tokens, x], dim=1)
        at = torch.where(place < before[:, None], place, place - before[:, None] + prompt.tokens.shape[1])
        joined = joined.gather(1, at.clamp(max=joined.shape[1] - 1))
        nats, decided = self._each(joined, None if self.end is None else both, self._given(y))
        place = place[: nats.shape[1]]
        counted = decided & (place >= before[:, None]) & (place < both[:, None] + int(ends and self.end is not None))
        return torch.where(counted, nats, 0.0).sum(1)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.longest:
            raise ValueError(f"x must hold sequences (b, {self.longest}); got {tuple(x.shape)}")
        if x.device.type == "cpu" and x.numel() and not (int(x.min()) >= 0 and int(x.max()) < self.k):
            raise ValueError(f"tokens must lie in 0 .. {self.k - 1}; got {int(x.min())} .. {int(x.max())}")


class Transformer(Sequences):
    """p(x), or p(x | y) p(y), of sequences that are all equally long."""

    @property
    def end(self) -> int | None:
        return None

    def walk(self, n: int, *, y: Values | None = None, along: StepsOf = Cached) -> StepsWalk:
        """The start of a pass over n sequences; y is required where the space has classes."""
        return StepsWalk(self.steps(n, y=y, along=along), self.longest)


class EndingTransformer(Sequences):
    """p(x), or p(x | y) p(y), of sequences of up to a length, each with its end."""

    @property
    def end(self) -> int | None:
        return self.k


def build(config: TransformerConfig, space: Space, rng: Rng | int = 0) -> Transformer | EndingTransformer:
    """The transformer of a space, by whether its sequences vary in length."""
    varying = space.only.varying
    return EndingTransformer(config, space, rng) if varying else Transformer(config, space, rng)


def _shown(prompt: Prompt) -> Tensor:
    """A prompt's tokens, -1 beyond each one's length."""
    there = torch.arange(prompt.tokens.shape[1], device=prompt.tokens.device) < prompt.lengths()[:, None]
    return torch.where(there, prompt.tokens, -1)
