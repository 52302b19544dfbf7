"""Hidden Markov models of sequences: categories or real vectors, emitted by states that follow one another.

    p(x, s) = p(length) pi(s_1) prod_t A(s_t, s_{t+1}) prod_t p(x_t | s_t)          (Rabiner 1989, eqs. 13 to 17)

A step is emitted as a component of a mixture emits: categories by a table, real vectors by a normal of any covariance
(``nets.latent_classes``). Learnt by EM (Baum & Welch) from sequences of any length, with gaps; likelihoods, also of
parts, and completions are exact, by a forward pass and a path drawn backwards. With classes each has states of its own,
so that a sequence is classified by Bayes' rule. ``viterbi`` tells the likeliest states.

What it cannot do: remember more than which of a few states it is in: letters come in likely pairs, words do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics import markov
from simulacra.mathematics.covariances import Covariances, Full
from simulacra.nets.embeddings import class_indicator, pick, within
from simulacra.nets.heads import elements
from simulacra.nets.latent_classes import LatentClasses, nearest_centres
from simulacra.nets.lengths import LengthMarginal
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.mixed import Mixed, Parts, everything, labels_of

NUMBERS = 1 << 22  # states times steps of rows taken at a time
HARD = 0.7  # of a step's first share of its nearest centre; the rest is drawn, so that no two states begin alike


@dataclass(frozen=True, kw_only=True)
class HiddenMarkovConfig:
    """A hidden Markov model.

    states       of each class.
    covariances  of real steps: ``Full``, ``Independent`` ... (``mathematics.covariances``).
    iterations   of EM, at most; it ends where one adds less than ``tolerance`` nats a step.
    rows         sequences learnt from, at most; of more, so many are chosen at random.
    """

    states: int = 16
    covariances: Covariances = field(default_factory=Full)
    iterations: int = 60
    tolerance: float = 1e-4
    rows: int = 5_000

    def __post_init__(self) -> None:
        if min(self.states, self.iterations, self.rows) < 1:
            raise ValueError(
                f"states, iterations and rows must be at least 1; got {self.states}, {self.iterations} and {self.rows}"
            )


class HiddenMarkov(nn.Module):
    """A chain of states, those of one class after those of another, none leading from one class to the next."""

    initial: Tensor
    transition: Tensor

    def __init__(self, config: HiddenMarkovConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        f = space.only
        if not f.shape:
            raise ValueError("a hidden Markov model learns sequences: a field's first extent is time; got shape ()")
        self.config, self.space, self.rng = config, space, Rng.of(rng)("fit")
        self.name, self.steps = next(iter(space.fields)), f.shape[0]
        step = replace(space, fields={self.name: replace(f, shape=f.shape[1:], varying=False)})
        self.mixed = Mixed(step, "a hidden Markov model")
        self.classes = self.mixed.classes
        self.count = 1 if self.classes is None else len(self.classes)
        total = self.count * config.states
        self.marginal = LabelMarginal(self.classes)
        self.lengths = LengthMarginal(f.shape[0] if f.varying else 0, self.marginal.classes)
        self.emission = LatentClasses(total, self.mixed.d, self.mixed.k, self.mixed.cells, config.covariances)
        self.register_buffer("initial", torch.full((total,), 1 / config.states, dtype=torch.float64))
        self.register_buffer("transition", self._blocks() / config.states)

    @property
    def completion(self) -> str:
        """Completions are exact where the values are real or categories: a cell's middle stands for all of it."""
        return "exact" if self.mixed.kind == "exact" else "approximate"

    def _blocks(self) -> Tensor:
        """1 where a state may follow another, (states, states)."""
        one = torch.ones(self.config.states, self.config.states, dtype=torch.float64)
        return torch.block_diag(*[one] * self.count)

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Baum and Welch's EM from clusters of the steps."""
        self.marginal.fit(data)
        self.lengths.fit(data)
        batch = everything(data, self.config.rows, self.rng)
        y, present = labels_of(batch, self.classes), self._present(batch)
        parts = self._parts(batch.x, batch.known)
        there = present.flatten()
        some = parts.rows(there)
        self._begin(some, present, y)
        initial = self._first(y, len(batch))
        nats = -math.inf
        for _ in range(self.config.iterations):
            found = markov.forward(initial, self.transition, self._emitted(parts, len(batch)), present)
            before, nats = nats, float(found.nats.sum())
            gamma, moves = markov.smooth(self.transition, found, present)
            self._maximise(some, gamma, moves, there)
            initial = self._first(y, len(batch))
            if nats - before < self.config.tolerance * int(there.sum()):
                break

    def _begin(self, some: Parts, present: Tensor, y: Tensor | None) -> None:
        """Emissions of clusters of the steps, a little of every state in each; all transitions nearly alike."""
        states, n = self.config.states, len(some)
        near = nearest_centres(some, states, self.rng("centres"))
        share = HARD * near + (1 - HARD) * self.rng("shares").uniform(near.shape, dtype=torch.float64).to(near)
        share = (share / share.sum(1, keepdim=True)).repeat(1, self.count)
        if y is not None:
            row = torch.arange(len(present), device=y.device).repeat_interleave(present.shape[1])
            own = y.to(share.device)[row.to(share.device)[present.flatten()]]
            place = torch.arange(self.count, device=share.device).repeat_interleave(states)
            share = torch.where(own[:, None] == place, share, share * 1e-3)
        if n:
            self.emission.maximise(some, share / share.sum(1, keepdim=True))
        drawn = 1 + self.rng("moves").uniform(self.transition.shape, dtype=torch.float64).to(self.transition)
        self.transition.copy_(_rows(drawn * (self.transition > 0)))

    def _maximise(self, some: Parts, gamma: Tensor, moves: Tensor, there: Tensor) -> None:
        """The M step; of initial states and transitions one is seen of each before the first, shared evenly."""
        states = self.config.states
        if len(some):
            self.emission.maximise(some, gamma.flatten(0, 1)[there])
        first = gamma[:, 0].sum(0).reshape(self.count, states) + 1 / states
        self.initial.copy_(_rows(first).flatten())
        self.transition.copy_(_rows((moves + 1 / states) * (self.transition > 0)))

    # -- sequences --------------------------------------------------------------------------------------------------

    def _present(self, batch: Batch) -> Tensor:
        """Which steps there are, bool (b, t)."""
        there = within(self.space.only, len(batch), batch.length, self.initial.device)
        return there.expand(len(batch), self.steps)

    def _parts(self, x: Values, known: Values | None) -> Parts:
        """All steps one after another, (b t, ...)."""
        value, mask = pick(x, self.name), pick(known, self.name)
        return self.mixed.inward(value.flatten(0, 1), None if mask is None else mask.flatten(0, 1), self.initial)

    def _emitted(self, parts: Parts, n: int) -> Tensor:
        """log p(step | state), (b, t, states)."""
        return (self.emission.given(parts) + parts.log_det.sum(1, keepdim=True)).reshape(n, self.steps, -1)

    def _first(self, y: Tensor | None, n: int, log_prior: Tensor | None = None) -> Tensor:
        """Weights of the first state, (b, states): of the class y, or of all by log p(class) (b, classes)."""
        pi = self.initial.reshape(self.count, -1)
        if y is not None:
            chosen = nn.functional.one_hot(y.to(pi.device), self.count).double()
        elif log_prior is not None:
            chosen = log_prior.exp()
        else:
            chosen = pi.new_ones(n, self.count) / self.count
        return (chosen[:, :, None] * pi).flatten(1)

    def _prior(self, y: Tensor | None, length: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
        """First weights without the length's probability in them, (b, states), and what log p gains by it, (b,)."""
        if y is not None or self.classes is None:
            label = None if y is None else y.to(self.initial.device)
            return self._first(label, n), self.lengths.log_prob(length, label, n).double()
        each = [
            self.lengths.log_prob(length, torch.full((n,), c, device=self.initial.device), n).double() + log_p
            for c, log_p in enumerate(self.marginal.log_prob().double())
        ]
        joint = torch.stack(each, 1)
        total = joint.logsumexp(1)
        return self._first(None, n, joint - total[:, None]), total

    # -- drawing ----------------------------------------------------------------------------------------------------

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted, each class once more than it was seen."""
        return self.marginal.log_prob()

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n sequences; y (n,) classes, None: drawn from their learned marginal."""
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        length = self.lengths.draw(n, y, rng("length"))
        path = markov.draw(self._first(y, n), self.transition, self.steps, rng("path"))
        drawn = [
            self.mixed.outward(*self.emission.draw(path[:, t], rng("step", t))) for t in range(self.steps)
        ]  # fmt: skip
        return self._batch(drawn, y, length, n)

    @torch.no_grad()
    def complete(
        self, x: Values, known: Values, *, y: Values | None = None, length: Tensor | None = None, rng: Rng | int
    ) -> Batch:
        """Draws of what is unknown given what is known: a path of states given all of it, then what is missing."""
        rng, n = Rng.of(rng), len(pick(x, self.name))
        self._check(y)
        label = y if isinstance(y, Tensor) else None
        parts, present = self._parts(x, known), self._present(Batch(x=x, length=length))
        first, _ = self._prior(label, length, n)
        found = markov.forward(first, self.transition, self._emitted(parts, n), present)
        path = markov.draw_back(self.transition, found, present, rng("path"))
        at = torch.arange(n, device=path.device) * self.steps
        drawn = [
            self.mixed.outward(*self.emission.complete(parts.rows(at + t), path[:, t], rng("step", t)))
            for t in range(self.steps)
        ]
        label = label if label is not None or self.classes is None else path[:, 0] // self.config.states
        made = self._batch(drawn, label, length, n)
        value = pick(x, self.name)
        filled = torch.where(pick(known, self.name), value, made.x.to(value))  # type: ignore[union-attr]
        return replace(made, x=filled)

    def _batch(self, drawn: list[Values], y: Tensor | None, length: Tensor | None, n: int) -> Batch:
        """Steps as sequences, zero beyond their length."""
        x = torch.stack([pick(step, self.name) for step in drawn], 1)
        present = within(self.space.only, n, length, x.device).expand(n, self.steps)
        return Batch(x=x * present.reshape(n, self.steps, *[1] * (x.ndim - 2)), y=y, length=length)

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
        """log p(x | y), or log p(x), of the known part, nats (b,): exact, but for values on levels a lower bound."""
        self._check(y)
        batch = Batch(x=x, y=y, known=known, length=length)
        step = max(1, NUMBERS // (self.steps * len(self.initial)))
        nats = torch.cat([self._scored(batch.rows(slice(a, a + step))) for a in range(0, len(batch), step)])
        return LogLikelihood(
            nats=nats,
            kind=self.mixed.kind,
            measure=self.space.measure,
            count=elements(self.space, len(batch), known, length, x),
            method="forward pass over states",
        )

    def _scored(self, batch: Batch) -> Tensor:
        first, gain = self._prior(batch.y if isinstance(batch.y, Tensor) else None, batch.length, len(batch))
        emitted = self._emitted(self._parts(batch.x, batch.known), len(batch))
        return markov.forward(first, self.transition, emitted, self._present(batch)).nats + gain

    @torch.no_grad()
    def viterbi(
        self, x: Values, *, y: Tensor | None = None, known: Values | None = None, length: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The likeliest states, int64 (b, t), 0 beyond the length, and log p of them and the known part, nats (b,)."""
        self._check(y)
        batch = Batch(x=x, y=y, known=known, length=length)
        first, gain = self._prior(y, length, len(batch))
        emitted = self._emitted(self._parts(x, known), len(batch))
        path, nats = markov.likeliest(first, self.transition, emitted, self._present(batch))
        return path, nats + gain

    def _check(self, y: Values | None) -> None:
        if y is not None:
            class_indicator(y, self.classes, torch.float64)  # type: ignore[arg-type]


def _rows(weights: Tensor) -> Tensor:
    return weights / weights.sum(1, keepdim=True)
