"""What a next-token distribution is changed to before it is drawn from: temperature, top-k, top-p, min-p, repetition.

A change is a function (log-probabilities (n, k), tokens so far (n, t)) -> log-probabilities (n, k), normalised both
times; of the tokens so far, -1 stands for none. Changes are applied one after another, in the order they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LogProbs = Float[Tensor, "n k"]
Seen = Int[Tensor, "n t"]
Change = Callable[[Tensor, Tensor], Tensor]
Legal = Callable[[Tensor], Tensor]  # tokens so far (n, t) -> which may come next, bool (n, k)


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """p^(1 / value): below 1 the likely becomes likelier, at 0 only the likeliest is left (the first of equals)."""

    value: float

    def __post_init__(self) -> None:
        if not self.value >= 0:
            raise ValueError(f"temperature must not be negative; got {self.value}")

    def __call__(self, log_probs: LogProbs, seen: Seen) -> LogProbs:
        if self.value == 0:
            best = log_probs.argmax(-1, keepdim=True)
            return torch.full_like(log_probs, -math.inf).scatter(-1, best, 0.0)
        return (log_probs / self.value).log_softmax(-1)


@dataclass(frozen=True, kw_only=True)
class TopK:
    """The k likeliest alone (Fan et al. 2018); tokens as likely as the last of them stay too."""

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"top-k keeps at least one token; got {self.k}")

    def __call__(self, log_probs: LogProbs, seen: Seen) -> LogProbs:
        least = log_probs.topk(min(self.k, log_probs.shape[-1])).values[:, -1:]
        return _kept(log_probs, log_probs >= least)


@dataclass(frozen=True, kw_only=True)
class TopP:
    """The nucleus: the fewest tokens, likeliest first, that hold probability p together (Holtzman et al. 2020)."""

    p: float

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise ValueError(f"top-p lies in (0, 1]; got {self.p}")

    def __call__(self, log_probs: LogProbs, seen: Seen) -> LogProbs:
        down = log_probs.sort(dim=-1, descending=True, stable=True)
        probabilities = down.values.exp()
        # a token stays while those before it do not reach p
        stays = probabilities.cumsum(-1) - probabilities < self.p
        return _kept(log_probs, torch.zeros_like(stays).scatter(-1, down.indices, stays))


@dataclass(frozen=True, kw_only=True)
class MinP:
    """Tokens at least so many times as likely as the likeliest, 0 < share <= 1 (Nguyen et al. 2024)."""

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"min-p lies in (0, 1]; got {self.share}")

    def __call__(self, log_probs: LogProbs, seen: Seen) -> LogProbs:
        return _kept(log_probs, log_probs >= log_probs.amax(-1, keepdim=True) + math.log(self.share))


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """p^penalty of tokens that are there already, penalty >= 1 (Keskar et al. 2019, section 4.1, on log-probabilities).

    The paper divides logits, so that what happens depends on an offset that means nothing; log-probabilities have none.

    last  how many tokens back it looks; None: all the way.
    """

    penalty: float
    last: int | None = None

    def __post_init__(self) -> None:
        if not self.penalty >= 1 or (self.last is not None and self.last < 1):
            raise ValueError(
                f"a repetition penalty is at least 1, over 1 token or more; got {self.penalty}, {self.last}"
            )

    def __call__(self, log_probs: LogProbs, seen: Seen) -> LogProbs:
        recent = seen if self.last is None else seen[:, max(0, seen.shape[1] - self.last) :]
        # a column more takes what stands for no token
        there = torch.zeros(len(log_probs), log_probs.shape[1] + 1, dtype=torch.bool, device=log_probs.device)
        there = there.scatter(1, torch.where(recent < 0, log_probs.shape[1], recent), True)[:, :-1]
        return torch.where(there, log_probs * self.penalty, log_probs).log_softmax(-1)


def chosen(
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition: float = 1.0,
) -> tuple[Change, ...]:
    """The changes that these settings ask for: repetition, temperature, then top-k, min-p and top-p."""
    found: list[Change] = []
    if repetition != 1:
        found.append(Repetition(penalty=repetition))
    if temperature != 1:
        found.append(Temperature(value=temperature))
    if top_k is not None:
        found.append(TopK(k=top_k))
    if min_p is not None:
        found.append(MinP(share=min_p))
    if top_p is not None:
        found.append(TopP(p=top_p))
    return tuple(found)


def changed(log_probs: LogProbs, seen: Seen, changes: Sequence[Change], legal: Legal | None = None) -> LogProbs:
    """The distribution that is drawn from: what is not legal left out first, then every change in turn.

    Raises ValueError where a row has no legal token that the model gives any probability.
    """
    if legal is not None:
        log_probs = _kept(log_probs, legal(seen))
        if bool(log_probs.isnan().any()):
            row = int(log_probs.isnan().any(-1).nonzero()[0, 0])
            raise ValueError(f"nothing that may come next in row {row} has any probability; expected a legal token")
    for change in changes:
        log_probs = change(log_probs, seen)
    return log_probs


def length_norm(length: Tensor, alpha: float) -> Tensor:
    """What a hypothesis's log-probability is divided by: ((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14)."""
    return ((5.0 + length) / 6.0) ** alpha


def _kept(log_probs: LogProbs, kept: Bool[Tensor, "n k"]) -> LogProbs:
    return log_probs.masked_fill(~kept, -math.inf).log_softmax(-1)
