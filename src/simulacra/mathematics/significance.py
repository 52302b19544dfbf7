"""Whether a difference is more than chance: the paired bootstrap, the binomial test, and Holm's correction for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy import stats as stats_  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from simulacra.core.randomness import Rng

stats: Any = stats_  # its functions carry no types
REPEATS = 4000
CELLS = 1 << 22  # draws held at a time


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference, where it is believed to lie (low, high), and the two-sided p of a difference of nought."""

    value: float
    interval: tuple[float, float]
    p: float


def paired_bootstrap(
    differences: Float[Tensor, " n"], *, rng: Rng, repeats: int = REPEATS, level: float = 0.95
) -> Difference:
    """The mean of paired differences, by resampling them; Efron & Tibshirani 1993, algorithm 16.2, studentised.

    A resampled mean is measured in its own standard error, so that skewed differences keep their level. p is the
    share of resampled means, centred at nought, that lie as far out (none can be smaller than 1 / (repeats + 1)).
    """
    d = differences.double().flatten()
    n = len(d)
    if n < 2:
        raise ValueError(f"a paired comparison needs at least 2 pairs; got {n}")
    mean, error = float(d.mean()), float(d.std()) / math.sqrt(n)
    if error == 0:
        return Difference(value=mean, interval=(mean, mean), p=1.0 if mean == 0 else 1 / (repeats + 1))
    found: list[Tensor] = []
    step = max(1, CELLS // n)
    for start in range(0, repeats, step):
        chosen = d[rng.rows(start).integers(n, (min(step, repeats - start), n), device=d.device)]
        spread = chosen.std(1) / math.sqrt(n)
        found.append((chosen.mean(1) - mean) / spread.clamp(min=1e-300))
    t = torch.cat(found)
    low, high = (float(torch.quantile(t, q)) for q in ((1 - level) / 2, (1 + level) / 2))
    beyond = int((t.abs() >= abs(mean) / error).sum())
    return Difference(value=mean, interval=(mean - high * error, mean - low * error), p=(1 + beyond) / (repeats + 1))


def binomial_p(hits: int, n: int, chance: float = 0.5) -> float:
    """Probability of so many hits or more in n trials by chance alone: exact."""
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"hits lie in 0 .. n with n at least 1; got {hits} of {n}")
    return float(stats.binom.sf(hits - 1, n, chance))


def holm(p: Sequence[float]) -> list[float]:
    """The p of many tests, each raised so that one false alarm among all stays as rare as p says (Holm 1979)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted
