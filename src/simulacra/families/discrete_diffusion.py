"""Diffusion of categories: tokens, pictures of few levels and columns of a table, out of masks or out of any values.

Austin et al. 2021 (D3PM); in continuous time, with masks Sahoo et al. 2024 (MDLM) and Shi et al. 2024, with uniform
noise Lou et al. 2024 (SEDD) and Schiff et al. 2025 (UDLM). Noise makes elements lose their value one by one, and a
network learns its belief about each of them from the others, by

    E_t E_{x_t} rate(t) sum over elements of  divergence(path back by beliefs, path back to x_0)  >=  -log p(x_0)

which for masks is a cross-entropy of what is masked over the share that is. Which noise, how it grows and how samples
are drawn back are passed in (``mathematics.discrete_paths``, ``mathematics.discrete_chains``). Lengths are drawn first,
by how often each was seen; elements beyond them, or not observed, are shown as not there.

What it cannot do: exact likelihoods, codes, or see that one level lies next to another: values have no order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.discrete_chains import (
    HALF,
    Belief,
    Chain,
    Sampler,
    ancestral,
    bound,
    evenly,
    missed,
    settled,
)
from simulacra.mathematics.discrete_paths import Absorbing, Eased, Level, Noise, Schedule, Sine
from simulacra.nets.chains import merged
from simulacra.nets.countable import Countable
from simulacra.nets.denoisers import Backbone
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.heads import elements
from simulacra.nets.initialise import initialise
from simulacra.nets.lengths import LengthMarginal
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.tokens import RowsOrShape, Symbols

SINE = Sine()
ROWS = 256  # examples drawn or completed at a time


@dataclass(frozen=True, kw_only=True)
class DiscreteDiffusionConfig:
    """A diffusion model of categories.

    backbone    the network (``nets.tokens``, ``nets.denoisers``), which sees each value as a channel.
    noise       what lost values become: ``Absorbing()``, the mask, or ``Uniform()``, any value.
    schedule    how noise grows with times drawn evenly, so what is learnt oftener: ``Eased()``, ``Straight()`` ...
    unlabelled  share of the labels that training leaves out; 0 where sampling is never guided.
    """

    backbone: Backbone = field(default_factory=RowsOrShape)
    noise: Noise = field(default_factory=Absorbing)
    schedule: Schedule = field(default_factory=Eased)
    unlabelled: float = 0.1
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"unlabelled is a share in [0, 1); got {self.unlabelled}")


class DiscreteDiffusion(nn.Module):
    """Beliefs about lost values; conditional on the class where the space has classes."""

    law: Tensor
    possible: Tensor

    def __init__(self, config: DiscreteDiffusionConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError(
                "discrete diffusion is conditional on classes only; expected a space whose y is Classes or None"
            )
        self.config, self.space, self.classes = config, space, space.y
        self.elements = e = Countable(space, "discrete diffusion")
        self.marginal = LabelMarginal(self.classes)
        self.lengths = LengthMarginal(e.longest, self.marginal.classes)
        law = config.noise.law(e.k)
        states, values = law.shape[1], max(e.k)
        self.network = Symbols(
            config.backbone, len(e.k), states + e.gaps, values, self.marginal.classes, grid=e.grid, apart=e.apart
        )
        self.register_buffer("law", law.to(torch.get_default_dtype()), persistent=False)
        possible = torch.arange(values) < torch.tensor(e.k)[:, None]
        self.register_buffer("possible", possible, persistent=False)
        initialise(self.network, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Learns what is learnt by counting: the labels' shares, and the lengths'."""
        self.marginal.fit(data)
        self.lengths.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"beliefs": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="beliefs", player="beliefs", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The bound of -log p(x | y, length) at one time of each example, nats an element."""
        there = self.elements.there(batch.x, batch.known, batch.length)
        x = self.elements.index(batch.x, there)
        given = self._given(batch.y)
        if given is not None and self.config.unlabelled:
            kept = rng("unlabelled").uniform((len(x),), device=x.device) >= self.config.unlabelled
            given = given * kept[:, None]
        t = rng("t").uniform((len(x),), dtype=torch.float32, device=x.device).double() + HALF
        config = self.config
        nats = missed(t, x, self._belief(given, there), config.noise, self.law, config.schedule, there=there,
                      rng=rng("noise"))  # fmt: skip
        return Loss.of(nats / self.space.size)

    # -- the belief -------------------------------------------------------------------------------------------------

    def _given(self, y: Values | None) -> Tensor | None:
        # a model of data without classes leaves aside whatever labels a batch carries no space for
        return class_indicator(y if self.classes is not None else None, self.classes, self.law.dtype)  # type: ignore[arg-type]

    def _logits(self, noisy: Tensor, level: Level, given: Tensor | None) -> Tensor:
        """(b, n, values) of states (b, n), those that are not there given as the last symbol."""
        out = self.network(noisy, self.config.noise.shown(level).to(self.law.dtype), given)
        return out.float() if out.dtype in (torch.bfloat16, torch.float16) else out

    def _belief(self, given: Tensor | None, there: Tensor, guidance: float = 1.0, temperature: float = 1.0) -> Belief:
        """log b for these labels, pushed away from log b without them where guidance is not 1.

        On beliefs, as Ho & Salimans 2022 do on scores; Schiff et al. 2025, section 3, do so on transitions.
        """
        states = self.law.shape[1]

        def belief(noisy: Tensor, level: Level) -> Tensor:
            shown = torch.where(there, noisy, states) if self.elements.gaps else noisy
            logits = self._logits(shown, level, given)
            if given is not None and guidance != 1.0:
                nothing = self._logits(shown, level, torch.zeros_like(given))
                logits = nothing + guidance * (logits - nothing)
            logits = torch.where(self.possible, logits / temperature, -torch.inf).log_softmax(-1)
            return nn.functional.pad(logits, (0, states - logits.shape[-1]), value=-torch.inf)

        return belief

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        steps: int = 64,
        guidance: float = 1.0,
        temperature: float = 1.0,
        sampler: Sampler = ancestral,
        schedule: Schedule = SINE,
    ) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        steps        in each of which elements are drawn as if they did not depend on one another.
        guidance     1 samples p(x | y); more pushes away from p(x) (classifier-free guidance).
        temperature  of the beliefs; below 1 more typical and less varied.
        sampler      ``ancestral``, or ``one_by_one``: masks lifted singly, whatever the steps.
        schedule     of the steps: ``Sine()`` decides few elements in the first ones, where little is known yet.
        """
        rng, device = Rng.of(rng), self.law.device
        if self.classes is not None and y is None:
            y = self.marginal.draw(n, rng("y"))
        given, length = self._given(y), self.lengths.draw(n, y, rng("length"))
        blank = self._blank(n, device)
        there = self.elements.there(blank, None, length)
        drawn = self._drawn(
            torch.zeros_like(there, dtype=torch.int64), torch.zeros_like(there), there, given, rng,
            levels=evenly(schedule, steps, device=device), guidance=guidance, temperature=temperature, sampler=sampler,
        )  # fmt: skip
        return Batch(x=self.elements.outward(drawn, there), y=y, length=length)

    def _blank(self, n: int, device: torch.device) -> Values:
        return self.elements.unflattened(torch.zeros(n, len(self.elements.k), dtype=torch.int64, device=device))

    def _drawn(
        self,
        x: Tensor,
        known: Tensor,
        there: Tensor,
        given: Tensor | None,
        rng: Rng,
        *,
        levels: Sequence[Level],
        sampler: Sampler,
        guidance: float = 1.0,
        temperature: float = 1.0,
    ) -> Tensor:
        """Values (b, n) drawn where they are there and not known, ``ROWS`` examples at a time."""
        if not temperature > 0:
            raise ValueError(f"temperature must be positive; got {temperature}")
        parts: list[Tensor] = []
        for first in range(0, max(len(x), 1), ROWS):
            some, rows = rng.rows(first), slice(first, first + ROWS)
            labels = None if given is None else given[rows]
            belief = self._belief(labels, there[rows], guidance, temperature)
            hold = self._hold(x[rows], known[rows] | ~there[rows], some)
            chain = Chain(belief=belief, noise=self.config.noise, law=self.law, hold=hold)
            everything = Level(*(t.expand(len(x[rows])) for t in levels[0]))
            start = self.config.noise.noised(x[rows], self.law, everything, some("start"))
            parts.append(sampler(chain, hold(start, levels[0], -1), levels, some("sampler")))
        return torch.cat(parts)

    def _hold(self, x: Tensor, known: Tensor, rng: Rng) -> Callable[[Tensor, Level, int], Tensor]:
        """States with the known values put in, as the noise shows them at a level."""
        noise, law = self.config.noise, self.law

        def hold(states: Tensor, level: Level, name: int) -> Tensor:
            wide = Level(*(t.expand(len(x)) for t in level))
            return torch.where(known, noise.held(x, law, wide, rng("held", name)), states)

        return hold

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

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
        steps: int = 64,
        sampler: Sampler | None = None,
    ) -> Batch:
        """Draws what is unknown given what is known; without y under no label.

        Out of masks what is known simply is not masked: a draw of p(unknown | known) as far as the steps are many and
        the network's beliefs agree with one another in whatever order they are asked for. With uniform noise the known
        elements are put in at every step with its noise, of which what is drawn early sees little; so each unknown one
        is drawn once more given all others (``discrete_chains.settled``). sampler: another one than these.
        """
        if sampler is None:
            sampler = ancestral if isinstance(self.config.noise, Absorbing) else settled
        seen = self.elements.flags(known)
        there = self.elements.there(x, None, length)
        clean = self.elements.checked(x, seen & there)
        given = self.law.new_zeros(len(clean), self.marginal.classes) if self.classes and y is None else self._given(y)
        levels = evenly(SINE, steps, device=clean.device)
        drawn = self._drawn(clean, seen, there, given, Rng.of(rng), levels=levels, sampler=sampler)
        return Batch(x=merged(known, x, self.elements.outward(drawn, there)), y=y, length=length)

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
        draws: int = 32,
    ) -> LogLikelihood:
        """A lower bound of log p(x), or log p(x | y), in expectation over its draws; nats (b,), of the known part.

        One time in each of ``draws`` strata. A class-conditional model without y sums over the classes.
        Raises ValueError for draws below 1, and for gaps in fields that were never missing.
        """
        if draws < 1:
            raise ValueError(f"draws must be at least 1; got {draws}")
        there = self.elements.there(x, known, length)
        if known is not None and not bool((self.elements.flags(known) | ~there).all()):
            raise ValueError("this data had no gaps to learn from; got known with some, complete them first")
        index, stream = self.elements.checked(x, there), Rng.of(rng)

        def score(labels: Values | None) -> Tensor:
            belief = self._belief(self._given(labels), there)
            nats = bound(index, belief, self.config.noise, self.law, there=there, draws=draws, rng=stream)
            lengths = self.lengths.log_prob(length, labels if isinstance(labels, Tensor) else None, len(index))
            return nats.to(self.law.dtype) + lengths

        nats = self.marginal.sum_out(score, len(index)) if self.classes is not None and y is None else score(y)
        return LogLikelihood(
            nats=nats, kind="bound", measure=self.space.measure, count=elements(self.space, len(index), known, length),
            method=f"variational bound, {draws} times",
        )  # fmt: skip
