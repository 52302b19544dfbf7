"""Bounds of models with several latent groups, each conditional on those above it, and what may be done with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core import across


@dataclass(frozen=True)
class LadderBound:
    """What an objective of a ladder of latent groups is made of; one draw of every group for each of b examples.

    log_px  log p(x | z), nats (b,).
    kls     KL(q(z_l | z_<l, x) || p(z_l | z_<l)) of each group at the draws of those above it, nats (b, groups).
    beta    the config's weight of the KL.
    step    how many optimiser steps were taken, int64 scalar.
    """

    log_px: Tensor
    kls: Tensor
    beta: float
    step: Tensor

    @property
    def kl(self) -> Tensor:
        """The sum over the groups, whose mean over draws is KL(q(z | x) || p(z)), nats (b,)."""
        return self.kls.sum(1)


LadderObjective = Callable[[LadderBound], Tensor]  # to be maximised, (b,)


def ladder_elbo(bound: LadderBound) -> Tensor:
    """log p(x | z) - beta times the sum of the groups' KLs (Sonderby et al. 2016, eq. 5)."""
    return bound.log_px - bound.beta * bound.kl


@dataclass(frozen=True, kw_only=True)
class LadderWarmup:
    """The bound, its KL's weight rising from 0 to beta over the first ``steps`` (Sonderby et al. 2016, section 2.3)."""

    steps: int = 2000

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a warm-up takes at least 1 step; got {self.steps}")

    def __call__(self, bound: LadderBound) -> Tensor:
        share = (bound.step.to(bound.kls.dtype) / self.steps).clamp(max=1.0)
        return bound.log_px - bound.beta * share * bound.kl


@dataclass(frozen=True, kw_only=True)
class FreeBits:
    """The bound where each group's KL costs nothing below ``nats``: max(nats, E KL_l) in the place of E KL_l.

    The expectation is over the batch of all processes (Kingma et al. 2016, eq. 15), so a group pays as soon as the
    examples use it on average.
    """

    nats: float = 0.5

    def __post_init__(self) -> None:
        if self.nats < 0:
            raise ValueError(f"free nats must not be negative; got {self.nats}")

    def __call__(self, bound: LadderBound) -> Tensor:
        used = across.mean(bound.kls.detach().mean(0)) > self.nats  # (groups,)
        free = torch.full_like(bound.kls, self.nats)
        return bound.log_px - bound.beta * torch.where(used, bound.kls, free).sum(1)
