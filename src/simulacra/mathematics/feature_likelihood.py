"""The likelihood of held-out features under Gaussians about the samples' features, each of a width of its own.

    p(x) = 1/n sum_j N(x; g_j, s_j I)            Jiralerspong et al. 2023, "Feature likelihood divergence", eq. 2

The widths s_j maximise the likelihood of the *training* features. A sample that copies a training example gets a width
of almost nought, and then says nothing of held-out ones: so memorised samples are told from learnt ones. Widths are
found by expectation-maximisation, in which the likelihood cannot fall, rather than by gradient steps.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

CELLS = 1 << 21  # squared distances held at a time
STEPS = 30
LEAST = 1e-4  # of a width: in units of the features' variance


def widths(
    centres: Float[Tensor, "n d"], x: Float[Tensor, "m d"], *, steps: int = STEPS, least: float = LEAST
) -> Float[Tensor, " n"]:
    """The variances s_j, at least ``least``, that make x most likely."""
    d = x.shape[1]
    nearest = torch.full((len(centres),), math.inf, dtype=torch.float64, device=x.device)
    for squared in _squared(x, centres):
        nearest = torch.minimum(nearest, squared.amin(0))
    s = (nearest / d).clamp(min=least)
    for _ in range(steps):
        taken, moved = torch.zeros_like(s), torch.zeros_like(s)
        for squared in _squared(x, centres):
            share = _each(squared, s, d).softmax(1)
            taken += share.sum(0)
            moved += (share * squared).sum(0)
        # a Gaussian that no row chooses keeps its width
        s = torch.where(taken > 1e-12, moved / (d * taken.clamp(min=1e-12)), s).clamp(min=least)
    return s


def log_density(x: Float[Tensor, "m d"], centres: Float[Tensor, "n d"], s: Float[Tensor, " n"]) -> Float[Tensor, " m"]:
    """log p of each row, nats."""
    d = x.shape[1]
    parts = [_each(squared, s, d).logsumexp(1) for squared in _squared(x, centres)]
    return torch.cat(parts) - math.log(len(centres)) - d / 2 * math.log(2 * math.pi)


def feature_likelihood(
    fake: Float[Tensor, "n d"], train: Float[Tensor, "m d"], held: Float[Tensor, "h d"]
) -> Float[Tensor, " h"]:
    """Feature likelihood divergence of each held-out row: -100 / d log p, less what half the training set scores.

    0 for samples as good as real ones, large for poor, few or copied ones; the divergence is the mean (section 3.2).
    Features are first brought to mean 0 and variance 1 of the held-out ones. ValueError for fewer than 4 training rows.
    """
    if len(train) < 4:
        raise ValueError(f"a feature likelihood needs at least 4 training rows; got {len(train)}")
    mean, spread = held.double().mean(0), held.double().std(0)
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    fake, train, held = ((t.double() - mean) / spread for t in (fake, train, held))
    half = min(len(fake), len(train) // 2)
    ideal, rest = train[:half], train[half:]
    scale = 100 / train.shape[1]
    ours = log_density(held, fake, widths(fake, train))
    theirs = log_density(held, ideal, widths(ideal, rest))
    return scale * (theirs - ours)


def _squared(x: Tensor, centres: Tensor):
    """Squared distances of some rows of x to all centres at a time."""
    step = max(1, CELLS // len(centres))
    lengths = centres.square().sum(1)
    for start in range(0, len(x), step):
        part = x[start : start + step]
        squared = torch.addmm(lengths, part, centres.T, alpha=-2) + part.square().sum(1, keepdim=True)
        yield squared.clamp(min=0)


def _each(squared: Tensor, s: Tensor, d: int) -> Tensor:
    return -squared / (2 * s) - d / 2 * s.log()
