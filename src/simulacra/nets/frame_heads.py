"""Distributions of a frame of m elements, k values each, given the features of all that comes before it.

A head is a function (m, k, width) -> ``FrameHead``, which scores whole frames in one pass and decides one element after
another along the same distribution. With ``independent`` no element of a frame knows of another; with ``Nade`` each is
given those before it, so that any distribution over frames can be had.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.randomness import Rng
from simulacra.nets.cell_outputs import OutputSteps, wide
from simulacra.nets.masked import whole


class FrameHead(nn.Module, ABC):
    """Features of frames -> distributions of their elements."""

    @abstractmethod
    def log_prob(self, features: Tensor, index: Tensor) -> Tensor:
        """log p of each element given those before it: features (..., width), index int64 (..., m) -> nats alike."""

    @abstractmethod
    def steps(self) -> OutputSteps:
        """One element after another, of n frames at once."""


Head = Callable[[int, int, int], FrameHead]


def independent(elements: int, k: int, width: int) -> FrameHead:
    """Elements of a frame that know nothing of one another: a product of categories, of Bernoullis for two values."""
    return Independent(elements, k, width)


class Independent(FrameHead):
    """Logits of every element by one linear layer."""

    def __init__(self, elements: int, k: int, width: int) -> None:
        super().__init__()
        self.elements, self.k = elements, k
        self.out = nn.Linear(width, elements * k)

    def log_prob(self, features: Tensor, index: Tensor) -> Tensor:
        return _chosen(self.each(features), index)

    def each(self, features: Tensor) -> Tensor:
        """Nats (..., m, k) of every element's values."""
        return wide(self.out(features)).unflatten(-1, (self.elements, self.k)).log_softmax(-1)

    def steps(self) -> OutputSteps:
        return _Known(self)


class _Known:
    """Elements whose distributions are all known when a frame begins."""

    def __init__(self, head: Independent) -> None:
        self.head = head

    @torch.no_grad()
    def start(self, features: Tensor) -> None:
        self.table, self.next = self.head.each(features), 0

    def log_probs(self) -> Tensor:
        return self.table[:, self.next]

    def take(self, value: Tensor) -> None:
        self.next += 1


@dataclass(frozen=True, kw_only=True)
class Nade:
    """Each element given those before it in the frame: a neural autoregressive distribution estimator.

    A sum over the elements so far of a vector for each one's value, and what the features say, is what an element is
    decided by (Larochelle & Murray 2011, eqs. 1 to 3; with features from a network over time RNN-NADE,
    Boulanger-Lewandowski et al. 2012, section 4.2). Dense layers shared by all elements deepen it.

    hidden  size of the sum. depth: dense layers after it.
    """

    hidden: int = 128
    depth: int = 1

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.depth < 0:
            raise ValueError(f"hidden must be at least 1 and depth at least 0; got {self.hidden} and {self.depth}")

    def __call__(self, elements: int, k: int, width: int) -> FrameHead:
        return NadeHead(elements, k, width, self)


class NadeHead(FrameHead):
    """See ``Nade``."""

    def __init__(self, elements: int, k: int, width: int, s: Nade) -> None:
        super().__init__()
        self.elements, self.k, hidden = elements, k, s.hidden
        self.told, self.direct = nn.Linear(width, hidden), nn.Linear(width, elements * k)
        self.values = nn.Parameter(torch.empty(elements, k, hidden))
        self.places = nn.Parameter(torch.empty(elements, hidden))
        self.deeper = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(s.depth))
        self.out = nn.Parameter(torch.empty(elements, k, hidden))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Values so that sums over elements, and logits over hidden units, begin of the order of one."""
        for name, p, scale in (("values", self.values, self.elements), ("places", self.places, 1),
                               ("out", self.out, self.out.shape[-1])):  # fmt: skip
            drawn = 2 * rng(name).uniform((len(p), p[0].numel())).reshape(p.shape) - 1
            p.copy_(drawn * scale**-0.5)

    def log_prob(self, features: Tensor, index: Tensor) -> Tensor:
        at = torch.arange(self.elements, device=index.device) * self.k + index
        told = F.embedding(at[..., :-1], self.values.flatten(0, 1)).cumsum(-2)
        before = F.pad(told, (0, 0, 1, 0))  # nothing comes before the first element
        h = self.deep(self.told(features)[..., None, :] + before + self.places)
        logits = torch.einsum("...mh,mkh->...mk", h, self.out.to(h.dtype))
        return _chosen(wide(logits + self.direct(features).unflatten(-1, (-1, self.k))).log_softmax(-1), index)

    def deep(self, h: Tensor) -> Tensor:
        """What the output looks at, of sums (..., hidden)."""
        for layer in self.deeper:
            h = h + layer(h.relu())
        return h.relu()

    def steps(self) -> OutputSteps:
        return _Summed(self)


class _Summed:
    """See ``Nade``."""

    def __init__(self, head: NadeHead) -> None:
        self.head = head
        self.values, self.places, self.out = (whole(p) for p in (head.values, head.places, head.out))

    @torch.no_grad()
    def start(self, features: Tensor) -> None:
        self.sum = self.head.told(features)
        self.direct, self.next = self.head.direct(features).unflatten(-1, (-1, self.head.k)), 0

    @torch.no_grad()
    def log_probs(self) -> Tensor:
        h = self.head.deep(self.sum + self.places[self.next])
        return wide(h @ self.out[self.next].T + self.direct[:, self.next]).log_softmax(-1)

    def take(self, value: Tensor) -> None:
        self.sum = self.sum + self.values[self.next, value]
        self.next += 1


def _chosen(log_probs: Tensor, index: Tensor) -> Tensor:
    return log_probs.gather(-1, index[..., None]).squeeze(-1)
