"""Have all modes been found? The protocol of Lin et al. 2018 (PacGAN, section 4.1) on samples of a known mixture."""

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
    total = float(count.sum())
    reverse_kl, deviation = math.inf, math.nan
    if total:
        share = count / total
        reverse_kl = float(torch.special.xlogy(share, share / mixture.weights).sum())
        # E[r^2 | r < 3] of a d-dimensional normal: truncation shifts the degrees of freedom by two
        expected = d * chi2.cdf(WITHIN**2, d + 2) / chi2.cdf(WITHIN**2, d)
        deviation = math.sqrt(float(distance[good].square().mean()) / expected)
    return ModeStatistics(
        modes=int((count > 0).sum()),
        k=k,
        n=len(samples),
        high_quality=total / len(samples),
        reverse_kl=reverse_kl,
        deviation=deviation,
    )
