"""Have all modes been found? The protocols of Lin et al. 2018 (PacGAN): of a known mixture's modes, section 4.1, and of
modes that a classifier tells, section 4.2."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import chi2
from torch import Tensor

from simulacra.modalities.toys import GaussianMixture

WITHIN = 3.0  # standard deviations: a sample farther from its nearest mode is of no mode (Srivastava et al. 2017)


@dataclass(frozen=True, kw_only=True)
class ModeStatistics:
    """What n samples show of a mixture's k modes. A sample belongs to the mode it is nearest to, in the mode's own
    standard deviations (Mahalanobis), and is of high quality if that distance is below 3.

    modes         modes with at least one sample of high quality.
    k, n          number of modes there are, and of samples.
    high_quality  share of samples of high quality: for perfect samples P(chi^2_d < 9), 0.98889 in the plane.
    reverse_kl    KL(h || w), nats, of the histogram h of high-quality samples over modes from the true weights w;
                  (k - 1) / 2n in expectation for perfect samples, inf where no sample is of high quality.
    deviation     rms distance of high-quality samples from their mode, divided by what it is for perfect samples:
                  below 1 the modes have shrunk; nan where no sample is of high quality.
    """

    modes: int
    k: int
    n: int
    high_quality: float
    reverse_kl: float
    deviation: float


def mode_statistics(samples: Tensor, mixture: GaussianMixture) -> ModeStatistics:
    """The statistics of samples (n, d); ValueError for another shape or for values that are not finite."""
    k, d = mixture.means.shape
    if samples.ndim != 2 or samples.shape[1] != d or len(samples) < 1:
        raise ValueError(f"samples of this mixture have shape (n, {d}) with n >= 1; got {tuple(samples.shape)}")
    if not bool(samples.isfinite().all()):
        raise ValueError("samples must be finite; got NaN or infinity among them")
    distance, nearest = mixture.distances(samples.detach().double().cpu()).min(1)
    good = distance < WITHIN
    count = torch.bincount(nearest[good], minlength=k).double()
    total, deviation = float(count.sum()), math.nan
    if total:
        # E[r^2 | r < 3] of a d-dimensional normal: truncation shifts the degrees of freedom by two
        expected = d * chi2.cdf(WITHIN**2, d + 2) / chi2.cdf(WITHIN**2, d)
        deviation = math.sqrt(float(distance[good].square().mean()) / expected)
    return ModeStatistics(
        modes=int((count > 0).sum()),
        k=k,
        n=len(samples),
        high_quality=total / len(samples),
        reverse_kl=reverse_kl(count, mixture.weights),
        deviation=deviation,
    )


def reverse_kl(count: Tensor, weights: Tensor) -> float:
    """KL(h || w), nats, of the histogram h of counts (k,) from the true weights w (k,); inf where nothing was counted.

    (k - 1) / 2n in expectation for n samples of the truth.
    """
    total = float(count.sum())
    if not total:
        return math.inf
    share = count.double() / total
    return float(torch.special.xlogy(share, share / weights).sum())


@dataclass(frozen=True, kw_only=True)
class CountedModes:
    """What n samples, each with a mode, show of k modes: how many were seen, and ``reverse_kl`` in nats."""

    modes: int
    k: int
    n: int
    reverse_kl: float


def counted_modes(mode: Tensor, weights: Tensor) -> CountedModes:
    """The statistics of samples whose modes are int64 (n,), the true weights being (k,); ValueError for no samples."""
    if mode.ndim != 1 or not len(mode) or int(mode.min()) < 0 or int(mode.max()) >= len(weights):
        raise ValueError(
            f"modes are numbers 0 .. {len(weights) - 1}, one a sample, at least one; got {tuple(mode.shape)}"
        )
    count = torch.bincount(mode.cpu(), minlength=len(weights))
    return CountedModes(
        modes=int((count > 0).sum()), k=len(weights), n=len(mode), reverse_kl=reverse_kl(count, weights)
    )
