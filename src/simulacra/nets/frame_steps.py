"""Frames one after another: the network of a model of frames, its pass element by element, and filling in of gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.causal_rows import OverTime
from simulacra.nets.cell_outputs import wide
from simulacra.nets.embeddings import one_hot
from simulacra.nets.frame_heads import Head

FEWEST = 0.5  # of the particles that count for as many equal ones: below it they are drawn anew


class FramesNetwork(nn.Module):
    """Frames of m elements of k values -> how each is distributed, and of ending ones whether there is one."""

    def __init__(
        self, network: OverTime, head: Head, elements: int, k: int, longest: int, given: int, *, ending: bool
    ) -> None:
        super().__init__()
        width = network.width
        self.k, self.elements = k, elements
        self.start = nn.Linear(max(given, 1), width, bias=False)
        self.inward = nn.Linear(elements * k, width, bias=False)
        self.body = network.build(longest)
        self.ends = nn.Linear(width, 1) if ending else None
        self.head = head(elements, k, width)

    def begin(self, n: int, given: Tensor | None) -> Tensor:
        """What stands before the first frame, (n, width)."""
        weight = self.start.weight
        return self.start(torch.ones(n, 1, dtype=weight.dtype, device=weight.device) if given is None else given)

    def row(self, frame: Tensor) -> Tensor:
        """What the network over time is told of frames, int64 (..., m) -> (..., width)."""
        return self.inward(one_hot(frame, self.k, self.start.weight.dtype).flatten(-2))

    def forward(self, index: Tensor, given: Tensor | None) -> Tensor:
        """int64 (b, t, m) -> features (b, t, width) of what is known before each of the t frames."""
        return self.body(torch.cat([self.begin(len(index), given)[:, None], self.row(index[:, :-1])], dim=1))


class FrameWalk:
    """A pass over n sequences, frame by frame and element by element."""

    def __init__(self, network: FramesNetwork, n: int, given: Tensor | None) -> None:
        self.network, self.body, self.head = network, network.body.steps(), network.head.steps()  # type: ignore[operator]
        self.row = network.begin(n, given).detach()
        self.values: list[Tensor] = []

    @torch.no_grad()
    def begin_frame(self) -> None:
        """Moves on to the next frame; all elements of the one before are decided."""
        if self.values:
            self.row = self.network.row(self.frame())
        self.features, self.values = self.body.step(self.row), []
        self.head.start(self.features)

    @torch.no_grad()
    def end_log_probs(self) -> Tensor:
        """Nats (n, 2) that the sequence goes on with this frame, and that it is over."""
        assert self.network.ends is not None
        logit = wide(self.network.ends(self.features))
        return torch.cat([F.logsigmoid(-logit), F.logsigmoid(logit)], dim=1)

    def log_probs(self) -> Tensor:
        """Nats (n, k) of the next element's values."""
        return self.head.log_probs()

    def take(self, value: Tensor) -> None:
        """Decides the next element, int64 (n,)."""
        self.head.take(value)
        self.values.append(value)

    def frame(self) -> Tensor:
        """The elements of this frame that are decided, int64 (n, m)."""
        return torch.stack(self.values, dim=1)

    def keep(self, rows: Tensor) -> None:
        """Goes on with these sequences, int64 (m,); between frames."""
        self.body.keep(rows)
        self.values = [v[rows] for v in self.values]


class FrameWalkOf:
    """A pass over sequences of so many frames of m elements (``core.capabilities.Walk``)."""

    def __init__(self, walk: FrameWalk, frames: int, m: int) -> None:
        self.along, self.m, self.order = walk, m, torch.arange(frames * m)
        self.done, self.fresh = 0, True

    def log_probs(self) -> Tensor:
        """Nats (n, k) of the next element; ValueError once all are decided."""
        if self.done == len(self.order):
            raise ValueError(f"all {self.done} elements are decided; begin another walk")
        if self.fresh:
            self.along.begin_frame()
            self.fresh = False
        return self.along.log_probs()

    def take(self, value: Tensor) -> None:
        """Decides the next element, int64 (n,)."""
        if self.fresh:
            self.log_probs()
        self.along.take(value)
        self.done += 1
        self.fresh = self.done % self.m == 0


@dataclass(frozen=True, kw_only=True)
class Filled:
    """Sequences int64 (n, t, m), their lengths (n,), and the particles they were, int64 (n,)."""

    index: Tensor
    length: Tensor
    particle: Tensor


@torch.no_grad()
def filtered(
    walk: FrameWalk, index: Tensor, known: Tensor, length: Tensor | None, *, particles: int, rng: Rng
) -> Filled:
    """What is unknown of sequences int64 (n, t, m), drawn by a particle filter.

    walk    of n x particles sequences.
    known   bool, like index.
    length  (n,); None: that is unknown too, but as far as anything is known, and drawn where sequences end.
    """
    n, frames, m = index.shape
    index, known = (v.repeat_interleave(particles, 0) for v in (index, known))
    told = None if length is None else length.repeat_interleave(particles)
    place = torch.arange(1, frames + 1, device=index.device)
    least = (known.any(2) * place).amax(1) if told is None else told  # how far a sequence goes at the least
    lengths = torch.full_like(least, frames) if told is None else told
    ending = walk.network.ends is not None
    origin = torch.arange(n * particles, device=index.device)
    weight = torch.zeros(n, particles, dtype=torch.float64, device=index.device)
    drawn = torch.zeros_like(index)
    for t in range(frames):
        walk.begin_frame()
        gain = torch.zeros(n * particles, dtype=torch.float64, device=index.device)
        if ending:
            ends = walk.end_log_probs().double()
            gain += torch.where(least > t, ends[:, 0], 0.0)
            if told is None:
                over = (least <= t) & (lengths > t) & (rng(t, "end").categorical(ends) == 1)
                lengths = torch.where(over, t, lengths)
            else:
                gain += torch.where(least == t, ends[:, 1], 0.0)
        inside = lengths > t
        for i in range(m):
            log_probs = walk.log_probs()
            value = torch.where(known[:, t, i], index[:, t, i], rng(t, i).categorical(log_probs))
            gain += torch.where(inside & known[:, t, i], log_probs.gather(1, value[:, None])[:, 0].double(), 0.0)
            walk.take(value)
        drawn[:, t] = walk.frame() * inside[:, None]
        weight = (weight + gain.view(n, particles)).log_softmax(1)
        # how many equally weighted particles these are worth (Kong et al. 1994)
        poor = weight.mul(2).logsumexp(1).neg().exp() < FEWEST * particles
        if bool(poor.any()):
            rows = _again(weight, poor, rng("again", t))
            walk.keep(rows)
            drawn, origin, lengths = drawn[rows], origin[rows], lengths[rows]
            weight = weight.masked_fill(poor[:, None], -math.log(particles))
        if not bool((lengths > t + 1).any()) and (told is None or int(told.max()) <= t):
            break
    chosen = torch.arange(n, device=index.device) * particles + rng("chosen").categorical(weight)
    return Filled(index=drawn[chosen], length=lengths[chosen], particle=origin[chosen])


def _again(weight: Tensor, poor: Tensor, rng: Rng) -> Tensor:
    """Particles, int64 (n particles,), drawn anew with these log-weights (n, particles) in the rows that are poor.

    Systematic: one uniform number a row, evenly spaced from there (Kitagawa 1996).
    """
    n, particles = weight.shape
    at = (torch.arange(particles, device=weight.device) + rng.uniform((n, 1), device=weight.device)) / particles
    cumulative = weight.exp().cumsum(1)
    rows = torch.searchsorted(cumulative / cumulative[:, -1:], at.to(cumulative), right=True).clamp(max=particles - 1)
    rows = torch.where(poor[:, None], rows, torch.arange(particles, device=weight.device))
    return (rows + torch.arange(n, device=weight.device)[:, None] * particles).flatten()
