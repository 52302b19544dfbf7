"""Learning towards a goal: a model that draws what a score likes while it stays near what it was.

What is wanted is the model as it was, the prior, tilted by the score s:

    p*(x | y) = p_prior(x | y) exp(sigma s(x)) / Z(y)                                                              (1)

It is the one that maximises sigma E_p[s(x)] - KL(p || p_prior), so sigma is how many nats of distance from the prior
a point of the score is worth. The model draws examples itself, and learns from the gap between log p* (but for log Z)
and its own log p of them: the augmented likelihood of REINVENT (Olivecrona et al. 2017, "Molecular de-novo design
through deep reinforcement learning", methods, "Learning the policy"). Of examples drawn by the model itself, half the
squared gap has in expectation the gradient of KL(p || p*): REINFORCE (Williams 1992), whose only optimum is (1).

A score is gamed wherever it is wrong: what comes out is judged by ``evaluation.goals``, not by the score alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.core import across
from simulacra.core.batch import Batch, Loss
from simulacra.core.capabilities import LogProb, Sampler, require
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.turns import Player, Turn

Score = Callable[[Batch], Tensor]  # of each example, (b,)
Gap = Callable[[Tensor], Tensor]  # gaps log p* + log Z - log p (b,), differentiable -> losses (b,)


def squared(gap: Tensor) -> Tensor:
    """Half the squared gap, as published (there without the half): log Z, which is not known, adds to its variance."""
    return 0.5 * gap.square()


def centred(gap: Tensor) -> Tensor:
    """Half the squared distance of a gap from their mean, whose gradient is the same in expectation, with less noise.

    The mean stands in for log Z: the log-variance loss of Richter et al. 2020, "VarGrad". Scaled so that each gap
    counts against the mean of the others, as a baseline has to for the gradient to be without bias.
    """
    n = len(gap) * across.processes()
    if n < 2:
        raise ValueError(f"gaps are centred among two or more examples a step; got {n}: draw more, or take gap=squared")
    mean = across.mean(gap.detach().mean())
    return 0.5 * n / (n - 1) * (gap - mean).square()


@dataclass(frozen=True, kw_only=True)
class Goal:
    """How a model is to learn towards a score.

    sigma      nats of distance from the prior that a point of the score is worth, positive.
    gap        what is made of the gaps: ``centred`` or ``squared``.
    optimiser  of every player, in place of what it was trained with.
    """

    sigma: float = 30.0
    gap: Gap = centred
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=5, decay=0.5, final=0.1)))

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma must be positive: nats that a point of the score is worth; got {self.sigma}")


class Towards(nn.Module):
    """A model that learns towards a score, a Learner; of a batch it is given only the size matters, it draws its own.

    ``model`` is what learns, ``prior`` a copy of it as it was.
    Raises ValueError for a model that draws nothing, or whose log p has no gradient.
    """

    prior: Any
    model: Any

    def __init__(self, model: Any, score: Score, goal: Goal) -> None:
        super().__init__()
        require(model, Sampler, "optimise")
        require(model, LogProb, "optimise")
        self.space, self.score, self.goal = model.space, score, goal
        self.model, self.prior = model, copy.deepcopy(model).eval().requires_grad_(False)

    def players(self) -> Mapping[str, Player]:
        """Those of the model."""
        return {name: replace(p, optimiser=self.goal.optimiser) for name, p in self.model.players().items()}

    def turns(self) -> Sequence[Turn]:
        """One of each player."""
        return [Turn(name=name, player=name, loss=self.loss) for name in self.players()]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The gaps of as many examples as the batch has; its terms: the score, and log p / p_prior in nats."""
        drawn = self.model.sample(len(batch), rng=rng("drawn"))
        log_p = log_prob(self.model, drawn)
        with torch.no_grad():
            before, score = log_prob(self.prior, drawn), self.score(drawn).to(log_p)
        gap = before + self.goal.sigma * score - log_p
        return Loss.of(self.goal.gap(gap), score=score, distance=(log_p - before).detach())


def log_prob(model: LogProb, batch: Batch) -> Tensor:
    """log p(x | y) of a batch, nats (b,), differentiable."""
    return model.log_prob_of(batch.x, y=batch.y, length=batch.length)
