"""Sequences of frames: each a vector of elements, such as the 88 keys of a piano, given all frames before it.

    log p(x | y) = sum_t log p(x_t | x_<t, y),     log p(x_t | x_<t, y) = sum_i log p(x_ti | x_t1 .. x_ti-1, x_<t, y)

A network over time (``nets.causal_rows``) sees the frames so far; a head (``nets.frame_heads``) says how a frame's
elements are distributed given what it makes of them: ``independent``, the elements knowing nothing of one another, as
in the polyphonic music benchmark of Bai et al. 2018, or ``Nade``, one after another, as in Boulanger-Lewandowski et
al. 2012 (RNN-NADE): a proper distribution over sets of keys. Where lengths vary, whether the sequence ends is decided
before each frame, unless the longest length leaves no choice; so the probabilities of all sequences of all lengths sum
to one.

Likelihoods are exact. ``complete`` fills gaps anywhere by sequential Monte Carlo: exactly where all that is known comes
first, else as its number of particles grows. What it cannot do: real numbers, and codes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.indices import choices, from_indices, to_indices
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.decoding import Temperature
from simulacra.mathematics.discrete import support_quantile
from simulacra.nets.causal_rows import Attending, OverTime
from simulacra.nets.cell_outputs import wide
from simulacra.nets.embeddings import class_indicator, pick
from simulacra.nets.frame_heads import Head, Nade
from simulacra.nets.frame_steps import FramesNetwork, FrameWalk, FrameWalkOf, filtered
from simulacra.nets.heads import elements
from simulacra.nets.initialise import initialise
from simulacra.nets.marginal import LabelMarginal

ROWS = 256  # sequences drawn at a time


@dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """A model of sequences of frames.

    network  over time: ``Attending``, ``Recurrent`` (``nets.causal_rows``).
    head     what is said of a frame given those before it: ``independent``, ``Nade()`` (``nets.frame_heads``).
    """

    network: OverTime = field(default_factory=Attending)
    head: Head = field(default_factory=Nade)
    optimiser: Optimiser = field(
        default_factory=lambda: AdamW(
            lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1, schedule=Warmup(steps=100, decay=0.8, final=0.02)
        )
    )


class FrameSequences(nn.Module, ABC):
    """What models of sequences of a fixed number of frames, and of up to that many, have in common."""

    def __init__(self, config: FramesConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        f = space.only
        if not f.shape or space.missing:
            raise ValueError(f"frames learns sequences, known whole: a first extent is time; got shape {f.shape}")
        if isinstance(space.y, Space):
            raise ValueError("frames is conditional on classes; expected a y of Classes or None")
        self.config, self.space = config, space
        self.name, self.longest, self.k = next(iter(space.fields)), f.shape[0], choices(f)
        self.m = math.prod(f.shape[1:])
        self.marginal = LabelMarginal(space.y)
        classes = self.marginal.classes
        self.network = FramesNetwork(
            config.network, config.head, self.m, self.k, self.longest, classes, ending=self.ends
        )
        initialise(self, Rng.of(rng)("weights"))

    @property
    @abstractmethod
    def ends(self) -> bool:
        """Whether sequences have an end, which is decided too."""

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Counts the labels."""
        self.marginal.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"frames": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="frames", player="frames", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus log p(x | y), nats; weighed by the number of frames: its mean is nats a frame."""
        index = self._index(batch.x)
        y = batch.y if self.marginal.classes else None  # of data without classes labels are left aside
        ends, inside, _ = self._each(index, batch.length, self._given(y))
        frames = len(index) * self.longest if batch.length is None else batch.length.sum().to(ends.dtype)
        return Loss(-(ends.sum() + inside.sum()), frames)

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.space.y, self.network.start.weight.dtype)  # type: ignore[arg-type]

    def _index(self, x: Values, known: Values | None = None) -> Tensor:
        """Values as whole numbers, int64 (b, longest, m); what is not known may hold anything, the rest ValueError."""
        value = pick(x, self.name)
        if known is not None:
            first = from_indices(self.space, torch.zeros(1, self.space.size, dtype=torch.int64, device=value.device))
            value = torch.where(pick(known, self.name), value, pick(first, self.name).to(value))
        return to_indices(self.space, value).view(-1, self.longest, self.m)

    def _each(
        self, index: Tensor, length: Tensor | None, given: Tensor | None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Nats of every decision, 0 where there is none or it is not known: of ends (b, t), of elements (b, t, m).

        Third, how many decisions each example has, (b,). known  bool (b, longest, m); None: all.
        """
        n, device = len(index), index.device
        length = torch.full((n,), self.longest, device=device) if length is None else length
        # looked at only where looking does not make a device wait
        t = min(self.longest, int(length.max()) + 1) if n and device.type == "cpu" else self.longest
        index, place = index[:, :t], torch.arange(t, device=device)
        there = (place < length[:, None])[..., None].expand(-1, -1, self.m)
        goes_on, over = place < length[:, None], place == length[:, None]
        if known is not None:
            before = F.pad(known[:, : t - 1, -1], (1, 0), value=True)  # an end is known where all before it is
            there, goes_on, over = there & known[:, :t], goes_on & known[:, :t, 0], over & before
        features = self.network(index, given)
        inside = torch.where(there, self._inside(features, index, place < length[:, None]), 0.0)
        decided = there.flatten(1).sum(1)
        if self.network.ends is None:
            return inside.new_zeros(n, t), inside, decided
        logit = wide(self.network.ends(features).squeeze(-1))
        ends = torch.where(goes_on, F.logsigmoid(-logit), 0.0) + torch.where(over, F.logsigmoid(logit), 0.0)
        return ends, inside, decided + goes_on.sum(1) + over.sum(1)

    def _inside(self, features: Tensor, index: Tensor, frames: Tensor) -> Tensor:
        """log p of each element of the frames that there are, bool (b, t), nats (b, t, m); anything for others."""
        head = self.network.head
        # the others are left out only where looking does not make a device wait
        if frames.device.type != "cpu" or bool(frames.all()):
            return head.log_prob(features, index)
        nats = head.log_prob(features[frames], index[frames])
        return nats.new_zeros(index.shape).masked_scatter(frames[..., None].expand_as(index), nats)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted by ``fit``, each class once more than it was seen."""
        return self.marginal.log_prob()

    # -- scoring ----------------------------------------------------------------------------------------------------

    def log_prob_of(self, x: Values, *, y: Values | None = None, length: Tensor | None = None) -> Tensor:
        """log p(x | y), nats (b,), differentiable in the weights; without y the classes are summed out."""
        return self._scored(x, y, length, None)[0]

    def _scored(
        self, x: Values, y: Values | None, length: Tensor | None, known: Values | None
    ) -> tuple[Tensor, Tensor]:
        index, decided = self._index(x, known), torch.zeros(0)
        mask = None if known is None else pick(known, self.name).reshape(-1, self.longest, self.m)
        if mask is not None and bool((mask.flatten(1)[:, 1:] & ~mask.flatten(1)[:, :-1]).any()):
            raise ValueError("frames scores whole sequences and their beginnings; got gaps before known elements")

        def score(label: Values | None) -> Tensor:
            nonlocal decided
            ends, inside, decided = self._each(index, length, self._given(label), mask)
            return ends.sum(1) + inside.flatten(1).sum(1)

        summed = self.marginal.classes and y is None
        return self.marginal.sum_out(score, len(index)) if summed else score(y), decided

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
        nats, decided = self._scored(x, y, length, known)
        return LogLikelihood(
            nats=nats,
            kind="exact",
            measure=self.space.measure,
            count=elements(self.space, len(nats), known, length, x),
            choices=decided.to("cpu", torch.float64),
        )

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0) -> Batch:
        """n sequences; y (n,) classes, None: drawn from their learned marginal.

        temperature  of every decision: below 1 the likely is likelier still, at 0 only the likeliest is drawn.
        """
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        parts: list[Batch] = []
        for first in range(0, max(n, 1), ROWS):
            rows = min(ROWS, n - first)
            given = self._given(None if y is None else y[first : first + ROWS])
            u = (rng("x", t).rows(first).uniform((rows, self.m + 1), dtype=torch.float32, device=self._device)
                 for t in range(self.longest))  # fmt: skip
            parts.append(self._drawn(rows, given, u, Temperature(value=temperature)))
        length = torch.cat([p.length for p in parts]) if self.ends else None  # type: ignore[misc]
        return Batch(x=torch.cat([p.x for p in parts]), y=y, length=length)  # type: ignore[misc]

    def _drawn(self, n: int, given: Tensor | None, uniforms: Iterable[Tensor], change: Temperature) -> Batch:
        """For uniform numbers (n, m + 1) for each frame: one an element, and the last for whether there is a frame."""
        walk, device = FrameWalk(self.network, n, given), self._device
        running = torch.ones(n, dtype=torch.bool, device=device)
        x = torch.zeros(n, self.longest, self.m, dtype=torch.int64, device=device)
        seen, length = x.new_zeros(n, 0), x.new_zeros(n)
        for t, u in enumerate(uniforms):
            walk.begin_frame()
            if self.ends:
                running = running & (support_quantile(change(walk.end_log_probs(), seen), u[:, -1]) == 0)
                if not bool(running.any()):
                    break
            for i in range(self.m):
                walk.take(support_quantile(change(walk.log_probs(), seen), u[:, i]))
            x[:, t] = torch.where(running[:, None], walk.frame(), 0)
            length += running
        return Batch(x=self._values(x, length), length=length if self.ends else None)

    def _values(self, index: Tensor, length: Tensor) -> Values:
        """Whole numbers int64 (n, longest, m) as examples, zero beyond their lengths."""
        found = from_indices(self.space, index.flatten(1))
        assert isinstance(found, Tensor)
        there = torch.arange(self.longest, device=length.device) < length[:, None]
        return found * there.view(*there.shape, *[1] * (found.ndim - 2)) if self.ends else found

    @property
    def _device(self) -> torch.device:
        return self.network.start.weight.device

    @torch.no_grad()
    def complete(
        self,
        x: Values,
        known: Values,
        *,
        y: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int,
        particles: int = 64,
    ) -> Batch:
        """Draws of what is unknown given what is known, by sequential Monte Carlo (Gordon et al. 1993).

        Of each example so many particles go along, decide what is unknown element by element, and are weighed by the
        probability of what is known; they are drawn anew where their weights have become too unequal. Exact where
        nothing known comes after something unknown, otherwise as particles grow.

        length  of each sequence; None: unknown too, drawn with the rest: no shorter than anything is known.
        """
        if particles < 1:
            raise ValueError(f"at least one particle goes along; got {particles}")
        rng, index = Rng.of(rng), self._index(x, known)
        n, mask = len(index), pick(known, self.name).reshape(-1, self.longest, self.m)
        # a class that nobody told is drawn with each particle, and weighed with it
        labels = y if isinstance(y, Tensor) else self.marginal.draw(n * particles, rng("y"))
        labels = labels if y is None or labels is None else labels.repeat_interleave(particles, 0)
        walk = FrameWalk(self.network, n * particles, self._given(labels))
        found = filtered(walk, index, mask, length, particles=particles, rng=rng("particles"))
        return Batch(
            x=self._values(found.index, found.length),
            y=None if labels is None else labels[found.particle],
            length=found.length if self.ends else None,
        )


class Frames(FrameSequences):
    """p(x), or p(x | y) p(y), of sequences that are all equally long."""

    @property
    def ends(self) -> bool:
        return False

    def walk(self, n: int, *, y: Values | None = None) -> FrameWalkOf:
        """The start of a pass over n sequences; y is required where the space has classes."""
        return FrameWalkOf(FrameWalk(self.network, n, self._given(y)), self.longest, self.m)


class EndingFrames(FrameSequences):
    """p(x), or p(x | y) p(y), of sequences of up to a length, each with its end."""

    @property
    def ends(self) -> bool:
        return True


def build(config: FramesConfig, space: Space, rng: Rng | int = 0) -> Frames | EndingFrames:
    """The model of a space, by whether its sequences vary in length."""
    return (EndingFrames if space.only.varying else Frames)(config, space, rng)
