"""Searching codes for what a score likes, without changing the model: the prior of codes, tilted by the score.

    p*(z) = N(z; 0, I) exp(sigma s(x(z))) / Z

with x(z) what a code is decoded to. Chains walk it by preconditioned Crank & Nicolson steps (Cotter et al. 2013, "MCMC
methods for functions", section 4.2): z' = sqrt(1 - step^2) z + step noise keeps N(0, I), so a step is accepted with
probability min(1, exp(sigma (s' - s))) and codes stay as likely a priori as the score is worth. No slope of the score
is needed. sigma is how many nats a point of the score is worth, as in ``uses.optimise``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.capabilities import LatentVariable, require
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.evaluation.likelihood import resting

Score = Callable[[Batch], Tensor]  # of each example, (b,)


@dataclass(frozen=True, kw_only=True)
class Search:
    """How codes are searched.

    sigma  nats that a point of the score is worth, not negative; 0 draws from the prior.
    step   how far a step goes, above 0 and at most 1, which is an independent code.
    steps  of every chain.
    """

    sigma: float = 30.0
    step: float = 0.3
    steps: int = 60

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf or not 0 < self.step <= 1 or self.steps < 1:
            raise ValueError(
                "a search has sigma >= 0, step in (0, 1] and steps >= 1; got"
                f" {self.sigma}, {self.step} and {self.steps}"
            )


@dataclass(frozen=True, kw_only=True)
class Searched:
    """Where chains came to: codes (n, latent), what they are decoded to, its scores (n,), and the share of accepted
    steps. ``before``, ``scores_before`` are those of the codes they began with, drawn from the prior.
    """

    codes: Tensor
    batch: Batch
    scores: Tensor
    before: Batch
    scores_before: Tensor
    accepted: float


@torch.no_grad()
def search(model: object, score: Score, n: int, settings: Search, *, rng: Rng | int) -> Searched:
    """n chains from codes of the prior.

    What a code is decoded to is a draw of p(x | z) whose randomness stays that of its chain: a function of the code.
    Raises ValueError for a model that has no codes, or is conditional.
    """
    decoder, rng = require(model, LatentVariable, "a search of codes"), Rng.of(rng)
    space = getattr(model, "space", None)
    if isinstance(space, Space) and space.y is not None:
        raise ValueError("codes are searched of models without conditions; fit with --labels none")
    weight = next(model.parameters())  # type: ignore[attr-defined]
    shape = (n, *decoder.latent.only.shape)
    codes = rng("start").normal(shape, dtype=weight.dtype, device=weight.device)
    with resting(model):
        batch = decoder.sample_from(codes, rng=rng("decoded"))
        scores = score(batch).double()
        first, scores_first, accepted = batch, scores, 0.0
        for t in range(settings.steps):
            noise = rng("noise", t).normal(shape, dtype=weight.dtype, device=weight.device)
            tried = math.sqrt(1 - settings.step**2) * codes + settings.step * noise
            other = decoder.sample_from(tried, rng=rng("decoded"))
            gained = score(other).double()
            u = rng("accept", t).uniform((n,), dtype=torch.float64, device=gained.device)
            takes = u.log() < settings.sigma * (gained - scores)
            codes = torch.where(_like(takes, codes), tried, codes)
            scores = torch.where(takes, gained, scores)
            batch = _either(takes, other, batch)
            accepted += float(takes.double().mean()) / settings.steps
    return Searched(codes=codes, batch=batch, scores=scores, before=first, scores_before=scores_first,
                    accepted=accepted)  # fmt: skip


def _like(takes: Tensor, values: Tensor) -> Tensor:
    return takes.view(-1, *[1] * (values.ndim - 1)).to(values.device)


def _either(takes: Tensor, one: Batch, other: Batch) -> Batch:
    """The rows of one batch where they are taken, of the other elsewhere."""
    assert isinstance(one.x, Tensor)
    assert isinstance(other.x, Tensor)
    x = torch.where(_like(takes, one.x), one.x, other.x)
    if one.length is None or other.length is None:
        return Batch(x=x)
    return Batch(x=x, length=torch.where(takes.to(one.length.device), one.length, other.length))
