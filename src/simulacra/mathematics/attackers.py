"""What an attacker who sees scores can tell: areas, hits at few false alarms, references, epsilon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats as stats_  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from simulacra.mathematics.shares import clopper_pearson

stats: Any = stats_  # its functions carry no types

FALSE_ALARMS = 0.001  # Carlini et al. 2022, section III: what an attacker who must be sure can do


@dataclass(frozen=True, kw_only=True)
class Hits:
    """True positives at a rate of false ones: value, exact interval, and the threshold above which is accused."""

    value: float
    interval: tuple[float, float]
    threshold: float


def hits_at(members: Float[Tensor, " n"], others: Float[Tensor, " m"], *, false_alarms: float = FALSE_ALARMS) -> Hits:
    """Share of members whose score lies strictly above all but this share of the others' scores.

    ValueError where there are too few others to name the threshold: at least 1 / false_alarms.
    """
    least = math.ceil(1 / false_alarms - 1e-9)
    if len(others) < least:
        raise ValueError(
            f"a rate of {false_alarms:g} false alarms needs at least {least} held-out examples; got {len(others)}"
        )
    if not len(members):
        raise ValueError("hits need at least 1 member; got none")
    allowed = math.floor(false_alarms * len(others) + 1e-9)
    threshold = float(others.double().sort(descending=True).values[allowed])
    hits = int((members.double() > threshold).sum())
    return Hits(value=hits / len(members), interval=clopper_pearson(hits, len(members)), threshold=threshold)


def calibrated(scores: Float[Tensor, " n"], references: Float[Tensor, "k n"]) -> Float[Tensor, " n"]:
    """Scores in units of what models score that did not learn from these examples.

    (score - mean) / deviation over the references, of each example (Carlini et al. 2022, eq. 4, "offline"). Of fewer
    than 16 references the deviation is that of all examples together, as the authors do for few shadow models.
    ValueError for fewer than 2 references.
    """
    if len(references) < 2:
        raise ValueError(f"calibration needs at least 2 reference models; got {len(references)}")
    mean = references.double().mean(0)
    spread = references.double().var(0)
    if len(references) < 16:
        spread = spread.mean().expand_as(spread)
    return (scores.double() - mean) / spread.clamp(min=1e-24).sqrt()


def epsilon_shown(right: int, guesses: int, examples: int, delta: float, *, level: float = 0.95) -> float:
    """The largest epsilon that so many right guesses refute at this level: a lower bound; 0 where they refute none.

    Of ``examples`` each was learned from or not by a coin of its own; an attacker who sees the model guesses of some of
    them which it was. Of an (epsilon, delta)-private model (Steinke, Nasr & Jagielski 2023, "Privacy auditing with one
    (1) training run", theorem 5.2) the right guesses exceed those of a coin that falls right with probability
    e^epsilon / (1 + e^epsilon) at most with probability 2 m delta max_i P[v - i <= W < v] / i.
    """
    if not 0 <= right <= guesses <= examples or guesses < 1:
        raise ValueError(f"right <= guesses <= examples, one guess at least; got {right}, {guesses} and {examples}")

    def p(epsilon: float) -> float:
        coin = stats.binom(guesses, 1 / (1 + math.exp(-epsilon)))
        below = np.cumsum(coin.pmf(np.arange(right - 1, -1, -1))) / np.arange(1, right + 1)
        return float(coin.sf(right - 1) + 2 * examples * delta * (below.max() if right else 0.0))

    low, high = 0.0, 30.0
    if p(low) > 1 - level:
        return 0.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if p(middle) <= 1 - level else (low, middle)
    return low
