"""Variational bounds: what they are made of, and the objectives that are functions of it.

An objective is a function ``Bound -> (b,)`` nats, to be maximised. A setting may hold any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from simulacra.core import across
from simulacra.mathematics.divergences import (
    Parts,
    decompose,
    importance_bound,
    kl_standard,
    log_normal,
    stratified,
    weighted,
)


@dataclass(frozen=True)
class Bound:
    """What an objective is made of: k codes drawn for each of b examples.

    log_px     log p(x | z), nats (k, b).
    z          (k, b, d);  mean, log_scale  of the posterior, (b, d).
    beta       the config's weight of the KL (of the total correlation, in ``beta_tc``).
    step       how many optimiser steps were taken, int64 scalar.
    examples   how many examples the data has, int64 scalar; 0 where ``fit`` was never called.
    """

    log_px: Tensor
    z: Tensor
    mean: Tensor
    log_scale: Tensor
    beta: float
    step: Tensor
    examples: Tensor

    @cached_property
    def kl(self) -> Tensor:
        """KL(q(z | x) || N(0, I)), nats (b,)."""
        return kl_standard(self.mean, self.log_scale)

    @property
    def log_weights(self) -> Tensor:
        """log p(x, z) - log q(z | x) of every draw, nats (k, b)."""
        log_p = log_normal(self.z).sum(-1)
        return self.log_px + log_p - log_normal(self.z, self.mean, self.log_scale).sum(-1)


Objective = Callable[[Bound], Tensor]  # to be maximised, (b,)


def elbo(bound: Bound) -> Tensor:
    """E log p(x | z) - beta KL: the VAE's bound at beta = 1 (its KL in closed form), beta-VAE's otherwise."""
    return bound.log_px.mean(0) - bound.beta * bound.kl


def iwae(bound: Bound) -> Tensor:
    """The importance-weighted bound of the config's ``draws`` codes (Burda et al. 2016, eq. 8); knows no beta."""
    return importance_bound(bound.log_weights)


def beta_tc(bound: Bound) -> Tensor:
    """beta-TCVAE: of the KL's three parts only the total correlation is weighted by beta (Chen et al. 2018, eq. 4).

    Uses the first code of each example and stratified minibatch weights, over the batch of all processes; needs ``fit``
    for the number of examples.
    """
    parts = _parts(bound, stratified)
    return bound.log_px[0] - parts.mutual_information - bound.beta * parts.total_correlation - parts.dimensionwise


def beta_tc_weighted(bound: Bound) -> Tensor:
    """``beta_tc`` with the simpler, biased minibatch weights of Chen et al. 2018, appendix C.1."""
    parts = _parts(bound, weighted)
    return bound.log_px[0] - parts.mutual_information - bound.beta * parts.total_correlation - parts.dimensionwise


def _parts(bound: Bound, weights: Callable[..., Tensor]) -> Parts:
    examples = int(bound.examples)
    if not examples:
        raise ValueError("beta-TCVAE needs the number of examples in the data; call fit(data) before training")
    z = bound.z[0]
    mean, log_scale = across.gather(bound.mean), across.gather(bound.log_scale)
    first = across.rank() * len(z)
    return decompose(z, mean, log_scale, weights(len(z), len(mean), examples, z, first=first), first=first)


@dataclass(frozen=True, kw_only=True)
class WarmedUp:
    """The ELBO with its KL weight rising linearly from 0 to beta over the first ``steps`` (Bowman et al. 2016)."""

    steps: int = 5000

    def __call__(self, bound: Bound) -> Tensor:
        share = (bound.step.to(bound.kl.dtype) / self.steps).clamp(max=1.0)
        return bound.log_px.mean(0) - bound.beta * share * bound.kl


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """E log p(x | z) - gamma |KL - C|, C rising linearly from 0 to ``final`` nats (Burgess et al. 2018, eq. 8)."""

    gamma: float = 100.0
    final: float = 25.0
    steps: int = 100_000

    def __call__(self, bound: Bound) -> Tensor:
        capacity = self.final * (bound.step.to(bound.kl.dtype) / self.steps).clamp(max=1.0)
        return bound.log_px.mean(0) - self.gamma * (bound.kl - capacity).abs()


@dataclass(frozen=True, kw_only=True)
class FreeNats:
    """E log p(x | z) - beta sum_d max(nats, KL_d), the KL of a dimension averaged over the batch of all processes.

    A dimension that says less than its free nats on average costs no more than those, so that it does not pay to let it
    say nothing (Kingma et al. 2016, eq. 15). The weight of the sum grows to beta over the first ``steps`` steps.
    """

    nats: float = 0.1
    steps: int = 1_000

    def __post_init__(self) -> None:
        if self.nats < 0 or self.steps < 0:
            raise ValueError(f"free nats and steps must not be negative; got {self.nats} and {self.steps}")

    def __call__(self, bound: Bound) -> Tensor:
        each = 0.5 * (bound.mean.square() + (2 * bound.log_scale).exp() - 1) - bound.log_scale
        used = across.mean(each.detach().mean(0)) > self.nats
        kl = torch.where(used, each, self.nats).sum(1)
        share = 1.0 if not self.steps else ((bound.step + 1) / self.steps).clamp(max=1.0).to(kl.dtype)
        return bound.log_px.mean(0) - bound.beta * share * kl
