"""What an attacker who sees scores can tell: areas, the rate of hits at few false alarms, calibration by references."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from simulacra.mathematics.shares import clopper_pearson

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
