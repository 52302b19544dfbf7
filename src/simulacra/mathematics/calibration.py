"""Whether probabilities of classes mean what they say: confidence against accuracy, and a temperature that mends it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

BINS = 15  # of confidence, as in Guo et al. 2017
LARGEST = 100.0  # of temperatures tried, and its inverse the smallest


def temperature(nats: Tensor, y: Tensor) -> float:
    """The temperature that makes labels likeliest, in 1/100 .. 100; nats (n, classes) unnormalised, y int64 (n,).

    Minimises the mean of -log p(y | x), which is convex in 1 / temperature, by bisection of its slope.
    """
    nats = nats - nats.max(1, keepdim=True).values
    own = nats.gather(1, y[:, None])[:, 0]

    def slope(inverse: float) -> float:
        weights = (nats * inverse).softmax(1)
        return float(((weights * nats).sum(1) - own).mean())

    low, high = 1 / LARGEST, LARGEST
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy: rows of (least, most, count, mean confidence, share right), empty bins left out."""

    rows: tuple[tuple[float, float, int, float, float], ...]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of the two, weighted by count (Guo et al. 2017)."""
        total = sum(row[2] for row in self.rows)
        return sum(count * abs(sure - right) for _, _, count, sure, right in self.rows) / total


def reliability(log_probs: Tensor, y: Tensor, bins: int = BINS) -> Reliability:
    """How often the classifier is right where it is how sure; log_probs (n, classes), y int64 (n,)."""
    sure, chosen = log_probs.exp().max(1)
    right = (chosen == y).double()
    place = (sure * bins).ceil().long().clamp(1, bins) - 1  # bins are open below, closed above
    found: list[tuple[float, float, int, float, float]] = []
    for b in range(bins):
        inside = place == b
        if bool(inside.any()):
            found.append((
                b / bins, (b + 1) / bins, int(inside.sum()), float(sure[inside].mean()), float(right[inside].mean())
            ))  # fmt: skip
    return Reliability(tuple(found))
