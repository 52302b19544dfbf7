"""What an attack on records shows: how much better it does on those that were learned from than on others."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulacra.mathematics.shares import wilson


@dataclass(frozen=True, kw_only=True)
class Risk:
    """The excess of an attack's success, and where it is believed to lie (low, high).

    target, control  shares of successes on what was learned from and on records like it that were not.
    """

    value: float
    interval: tuple[float, float]
    target: float
    control: float


def risk(target_hits: int, control_hits: int, n: int) -> Risk:
    """(target - control) / (1 - control) of n attacks on either side: what is learnt of single records beyond what is
    learnt of all records of that kind (Giomi et al. 2023, section 3.4).

    The interval is that of the difference of two shares (Newcombe 1998, method 10), on the same scale. Not cut at 0:
    below it the attack did no better than on records that were never seen.
    """
    if n < 1:
        raise ValueError(f"an attack is tried at least once; got {n}")
    p, q = target_hits / n, control_hits / n
    (p_low, p_high), (q_low, q_high) = wilson(target_hits, n), wilson(control_hits, n)
    low = p - q - math.sqrt((p - p_low) ** 2 + (q_high - q) ** 2)
    high = p - q + math.sqrt((p_high - p) ** 2 + (q - q_low) ** 2)
    left = 1 - q
    if left <= 0:
        return Risk(value=0.0, interval=(0.0, 0.0), target=p, control=q)
    return Risk(value=(p - q) / left, interval=(low / left, min(1.0, high / left)), target=p, control=q)
