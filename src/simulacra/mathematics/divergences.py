"""Divergences between distributions, and estimates of what a KL term is made of."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from simulacra.core.randomness import Rng


def kl_standard(mean: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(mean, scale^2) || N(0, I)), nats; (..., d), (..., d) -> (...).

    1/2 sum_j (mean_j^2 + scale_j^2 - 1 - log scale_j^2)  (Kingma & Welling 2013, appendix B).
    """
    return (0.5 * (mean.square() + torch.expm1(2 * log_scale)) - log_scale).sum(-1)


def kl_gaussians(mean: Tensor, log_scale: Tensor, mean_p: Tensor, log_scale_p: Tensor) -> Tensor:
    """KL(N(mean, scale^2) || N(mean_p, scale_p^2)) of diagonal Gaussians, nats; (..., d) each -> (...).

    sum_j log(scale_p / scale) + (scale^2 + (mean - mean_p)^2) / (2 scale_p^2) - 1/2.
    """
    difference = log_scale - log_scale_p
    shift = (mean - mean_p) * torch.exp(-log_scale_p)
    return (0.5 * (shift.square() + torch.expm1(2 * difference)) - difference).sum(-1)


def log_normal(z: Tensor, mean: Tensor | float = 0.0, log_scale: Tensor | float = 0.0) -> Tensor:
    """log N(z; mean, scale^2) of each element, nats; the standard normal by default."""
    log_scale = torch.as_tensor(log_scale, dtype=z.dtype, device=z.device)
    return -0.5 * ((z - mean) * torch.exp(-log_scale)).square() - log_scale - 0.5 * math.log(2 * math.pi)


class Parts(NamedTuple):
    """What KL(q(z|x) || p(z)), averaged over the data, is the sum of; each (b,), nats, one term an example.

    mutual_information  KL(q(z, n) || q(z) p(n)): how much of the index of the example its code tells.
    total_correlation   KL(q(z) || prod_j q(z_j)): how much the latent dimensions depend on one another.
    dimensionwise       sum_j KL(q(z_j) || p(z_j)).
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimensionwise: Tensor


def decompose(z: Tensor, mean: Tensor, log_scale: Tensor, log_weights: Tensor, *, first: int = 0) -> Parts:
    """The beta-TCVAE decomposition of the KL from a minibatch (Chen et al. 2018, eq. 2).

    z            (b, d), one draw from each of b examples' posteriors N(mean, scale^2).
    mean, log_scale  (n, d), of the whole batch; those of the b examples are its rows first .. first + b - 1.
    log_weights  (b, n), as ``weighted`` or ``stratified`` give them: row i estimates
                 log q(z_i) by logsumexp_j (log_weights[i, j] + log q(z_i | x_j)).

    The three parts add up to log q(z|x) - log p(z) of each row exactly, whatever the weights.
    """
    pairwise = log_normal(z[:, None], mean[None], log_scale[None])  # (b, n, d): z_i under x_j's posterior
    own = slice(first, first + len(z))
    log_q_given = log_normal(z, mean[own], log_scale[own]).sum(-1)
    log_q = torch.logsumexp(log_weights + pairwise.sum(-1), dim=1)
    log_q_each = torch.logsumexp(log_weights[..., None] + pairwise, dim=1).sum(-1)
    log_p = log_normal(z).sum(-1)
    return Parts(log_q_given - log_q, log_q - log_q_each, log_q_each - log_p)


def weighted(rows: int, batch: int, examples: int, like: Tensor, *, first: int = 0) -> Tensor:
    """Minibatch weights: log 1/(b n) everywhere, (rows, b); a lower bound of log q(z) in expectation.

    Chen et al. 2018, appendix C.1: E log q(z) ~ 1/b sum_i log 1/(n b) sum_j q(z_i | x_j), with b the batch
    and n the number of examples in the data.
    """
    return torch.full((rows, batch), -math.log(batch * examples), dtype=like.dtype, device=like.device)


def stratified(rows: int, batch: int, examples: int, like: Tensor, *, first: int = 0) -> Tensor:
    """Stratified minibatch weights, log of (rows, b): q(z_i) is unbiased for batches drawn without replacement.

    z_i comes from example first + i of the batch, which is in it for certain and weighs 1/n; each of the other b-1
    stands for (n-1)/(b-1) of the others, so weighs (n-1) / (n (b-1)) (the idea of Chen et al. 2018, appendix C.2).
    Raises ValueError for a batch of one, or one larger than the data.
    """
    if not 2 <= batch <= examples:
        raise ValueError(f"stratified weights need a batch of 2 or more out of the data; got {batch} of {examples}")
    off = math.log(examples - 1) - math.log(examples) - math.log(batch - 1)
    weights = torch.full((rows, batch), off, dtype=like.dtype, device=like.device)
    weights[:, first : first + rows].fill_diagonal_(-math.log(examples))
    return weights


def shuffled(z: Tensor, rng: Rng) -> Tensor:
    """Every column of z (n, d) in a random order of its own: a draw of the product of its columns' distributions.

    Kim & Mnih 2018, algorithm 1. The orders are the same for every first row of rng.
    """
    orders = [rng("column", j).permutation(len(z), device=z.device) for j in range(z.shape[1])]
    return z.gather(0, torch.stack(orders, dim=1))


def importance_bound(log_weights: Tensor) -> Tensor:
    """log 1/k sum_k w_k over the first dimension, nats; (k, ...) -> (...) (Burda et al. 2016, eq. 8).

    With w = p(x, z) / q(z | x) and z from q: a lower bound of log p(x) in expectation, tighter with every k.
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))
