"""Distributions of single elements, as an output head derives them from raw network outputs.

Each scores values, broadcasting against its parameters, draws with a named stream of random numbers, and knows its
mean and its mode. A draw's first dimension counts examples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core.randomness import Rng


@runtime_checkable
class Elementwise(Protocol):
    """A distribution of every element on its own."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of each element: a log mass for discrete values, a log density for continuous ones."""
        ...

    def sample(self, rng: Rng, temperature: float = 1.0) -> Tensor:
        """One draw of each element; a temperature below 1 narrows it, 0 gives its most typical value."""
        ...

    def mean(self) -> Tensor:
        """Expected value of each element, for categories the mode; differentiable where values are continuous."""
        ...

    def mode(self) -> Tensor:
        """A value the element can take, of greatest probability (for mixtures: near enough, the best mean)."""
        ...


@runtime_checkable
class Levelled(Protocol):
    """A distribution over levels that knows all their probabilities faster than by scoring each."""

    def level_log_probs(self) -> Tensor:
        """Nats (..., levels)."""
        ...


def soft_floor(x: Tensor, low: float) -> Tensor:
    """A smooth lower bound: low + softplus(x - low), which is x far above it and never loses its gradient."""
    return F.softplus(x - low) + low


def broadcast(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in the shape that arithmetic between them would have, without a copy."""
    if a.shape == b.shape[b.ndim - a.ndim :]:  # the usual case; torch.broadcast_shapes is slow Python
        return a.expand(b.shape), b
    shape = cast(torch.Size, torch.broadcast_shapes(a.shape, b.shape))  # pyright: ignore[reportUnknownMemberType]
    return a.expand(shape), b.expand(shape)


@dataclass(frozen=True)
class Bernoulli:
    """Two values, low and high; logits of the high one, (...)."""

    logits: Tensor
    low: float = 0.0
    high: float = 1.0

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), nats, of x that is low or high."""
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        # log sigmoid(+-logits) takes half the passes over memory that the binary cross-entropy does
        sign = x if (middle, half) == (0.0, 1.0) else (x - middle) / half
        return F.logsigmoid(sign * self.logits)

    def sample(self, rng: Rng, temperature: float = 1.0) -> Tensor:
        """One of the two values."""
        if temperature == 0:
            return self.mode()
        on = rng.bernoulli(torch.sigmoid(self.logits / temperature))
        return on.to(self.logits.dtype) * (self.high - self.low) + self.low

    def mean(self) -> Tensor:
        """low + p (high - low)."""
        return torch.sigmoid(self.logits) * (self.high - self.low) + self.low

    def mode(self) -> Tensor:
        """The likelier of the two values."""
        return (self.logits > 0).to(self.logits.dtype) * (self.high - self.low) + self.low


@dataclass(frozen=True)
class Grey:
    """A Bernoulli that also scores values between its ends, as that share of the higher one.

    This is the binary cross-entropy of grey pictures: widespread, but normalised over the two ends only.
    """

    ends: Bernoulli

    def log_prob(self, x: Tensor) -> Tensor:
        """t log p(high) + (1 - t) log p(low) for x = low + t (high - low), nats."""
        low, high = self.ends.low, self.ends.high
        share, logits = broadcast((x - low) / (high - low), self.ends.logits)
        return -F.binary_cross_entropy_with_logits(logits, share, reduction="none")

    def sample(self, rng: Rng, temperature: float = 1.0) -> Tensor:
        """One of the two ends."""
        return self.ends.sample(rng, temperature)

    def mean(self) -> Tensor:
        """low + p (high - low)."""
        return self.ends.mean()

    def mode(self) -> Tensor:
        """The likelier of the two ends."""
        return self.ends.mode()


@dataclass(frozen=True)
class Categories:
    """Categories 0 .. k-1 without order; logits (..., k), values int64 (...)."""

    logits: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """log softmax(logits)[x], nats."""
        lead, k = self.logits.shape[:-1], self.logits.shape[-1]
        if x.shape == lead[len(lead) - x.ndim :] and x.numel() == lead.numel():  # a single pass, and one backward
            nats = F.cross_entropy(self.logits.reshape(-1, k), x.reshape(-1).long(), reduction="none")
            return -nats.reshape(lead)
        log_p = F.log_softmax(self.logits, dim=-1)
        index, log_p = broadcast(x.long()[..., None], log_p)
        return log_p.gather(-1, index[..., :1])[..., 0]

    def sample(self, rng: Rng, temperature: float = 1.0) -> Tensor:
        """One category, int64."""
        return self.mode() if temperature == 0 else rng.categorical(self.logits / temperature)

    def mean(self) -> Tensor:
        """The mode: categories have no mean."""
        return self.mode()

    def mode(self) -> Tensor:
        """The most probable category, int64."""
        return self.logits.argmax(-1)


@dataclass(frozen=True)
class Gaussian:
    """Normal with mean (...) and log standard deviation (...)."""

    centre: Tensor
    log_scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, scale^2), nats."""
        standard = (x - self.centre) * torch.exp(-self.log_scale)
        return -0.5 * standard.square() - self.log_scale - 0.5 * math.log(2 * math.pi)

    def sample(self, rng: Rng, temperature: float = 1.0) -> Tensor:
        """mean + scale * N(0, 1)."""
        noise = rng.normal(self.centre.shape, dtype=self.centre.dtype, device=self.centre.device)
        return self.centre + temperature * self.log_scale.exp() * noise

    def mean(self) -> Tensor:
        """The mean."""
        return self.centre

    def mode(self) -> Tensor:
        """The mean."""
        return self.centre


@dataclass(frozen=True)
class DiscretisedLogistics:
    """A mixture of m logistics, integrated over the bins around evenly spaced levels (Salimans et al. 2017, eq. 2).

    logits, centre, log_scale  (..., m), the last two in the units of low and high.
    levels  number of values, low and high included; the two outermost bins reach to infinity, so that the
            probabilities sum to 1 over the levels.
    """

    logits: Tensor
    centre: Tensor
    log_scale: Tensor
    low: float
    high: float
    levels: int

    @property
    def spacing(self) -> float:
        """Width of a bin."""
        return (self.high - self.low) / (self.levels - 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), nats, of values that lie on the grid of levels."""
        half, x = self.spacing / 2, x[..., None]
        narrow = torch.exp(-self.log_scale)
        below, above = (x - half - self.centre) * narrow, (x + half - self.centre) * narrow
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): nothing cancels, however narrow or far
        first, last = x < self.low + half, x > self.high - half
        zero = torch.zeros((), dtype=below.dtype, device=below.device)
        width = torch.log(-torch.expm1(-self.spacing * narrow))
        log_p = (
            torch.where(last, zero, F.logsigmoid(above))
            + torch.where(first, zero, F.logsigmoid(-below))
            + torch.where(first | last, zero, width)
        )
        return log_p[..., 0] if log_p.shape[-1] == 1 else torch.logsumexp(log_p + self.logits.log_softmax(-1), dim=-1)

    def level_log_probs(self) -> Tensor:
        """Nats (..., levels), by differences of the distribution function, from whichever end is nearer.

        Differences are of absolute precision: what is below some 1e-7 in float32 is rough, and at least 1e-37.
        """
        middle = torch.arange(self.levels - 1, dtype=self.centre.dtype, device=self.centre.device) + 0.5
        edges = (self.low + middle * self.spacing)[:, None]
        weight = self.logits.softmax(-1)[..., None, :]
        z = (edges - self.centre[..., None, :]) * torch.exp(-self.log_scale)[..., None, :]
        # the shares below and above each edge; the sum of products is one pass over memory
        below, above = ((weight @ torch.sigmoid(t).transpose(-1, -2)).squeeze(-2) for t in (z, -z))
        one = torch.ones_like(below[..., :1])
        rising = torch.cat([below, one], -1) - torch.cat([torch.zeros_like(one), below], -1)
        falling = torch.cat([one, above], -1) - torch.cat([above, torch.zeros_like(one)], -1)
        lower = torch.cat([below, one], -1) < 0.5
        return torch.where(lower, rising, falling).clamp_min(1e-37).log()

    def each_log_probs(self) -> Tensor:
        """Nats (..., levels, m) of every level under each component alone, as exact as ``log_prob``.

        Neighbouring bins share an edge, so that each sigmoid is computed once.
        """
        narrow = torch.exp(-self.log_scale)[..., None, :]
        middle = torch.arange(self.levels - 1, dtype=narrow.dtype, device=narrow.device) + 0.5
        z = ((self.low + middle * self.spacing)[:, None] - self.centre[..., None, :]) * narrow
        below = F.logsigmoid(z)
        above = below - z  # log sigmoid(-z)
        inner = below[..., 1:, :] + above[..., :-1, :] + torch.log(-torch.expm1(-self.spacing * narrow))
        return torch.cat([below[..., :1, :], inner, above[..., -1:, :]], dim=-2)

    def sample(self, rng: Rng, temperature: float = 1.0) -> Tensor:
        """One level: a component, a logistic number from it, rounded to the grid."""
        if temperature == 0:
            return self.mode()
        chosen = rng("component").categorical(self.logits / temperature)[..., None]
        u = rng("logistic").uniform(chosen.shape[:-1], dtype=torch.float32, device=self.centre.device).double()
        u = u + 2.0**-25  # uniform on [0, 1) in steps of 2**-24: the middle of a step, because log 0 is infinite
        noise = (u.log() - torch.log1p(-u)).to(self.centre.dtype)
        centre, scale = (t.gather(-1, chosen)[..., 0] for t in (self.centre, self.log_scale.exp()))
        return self._snap(centre + temperature * scale * noise)

    def mean(self) -> Tensor:
        """Expected centre, kept in range; not on the grid of levels."""
        return (self.logits.softmax(-1) * self.centre.clamp(self.low, self.high)).sum(-1)

    def mode(self) -> Tensor:
        """The most probable of the levels nearest to the components' centres."""
        candidates = self._snap(self.centre)
        if candidates.shape[-1] == 1:
            return candidates[..., 0]
        score = torch.stack([self.log_prob(candidates[..., i]) for i in range(candidates.shape[-1])], dim=-1)
        return candidates.gather(-1, score.argmax(-1, keepdim=True))[..., 0]

    def _snap(self, x: Tensor) -> Tensor:
        index = ((x - self.low) / self.spacing).round().clamp(0, self.levels - 1)
        return index * self.spacing + self.low
