"""Ranking: how often one sample's values lie above another's."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def auc(low: Tensor, high: Tensor) -> tuple[float, float]:
    """Probability that a value of ``high`` exceeds one of ``low``, ties counted half, and its standard error.

    low (n,), high (m,), at least 2 each. The area under the receiver operating characteristic (Mann & Whitney 1947);
    the error by the variances of the placements (DeLong, DeLong & Clarke-Pearson 1988).
    """
    if min(len(low), len(high)) < 2:
        raise ValueError(f"a ranking needs at least 2 values on each side; got {len(low)} and {len(high)}")
    low, high = low.double().flatten(), high.double().flatten()
    above = _placements(high, low)  # of each high value, the share of low ones below it
    below = 1 - _placements(low, high)  # of each low value, the share of high ones above it
    variance = float(above.var()) / len(high) + float(below.var()) / len(low)
    return float(above.mean()), math.sqrt(variance)


def average_precision(low: Tensor, high: Tensor) -> float:
    """Mean, over the values of ``high``, of their share among all values that are no lower than each.

    low (n,), high (m,). The area under the curve of precision against recall by its steps, ties taken together.
    """
    if not len(low) or not len(high):
        raise ValueError(f"a ranking needs values on each side; got {len(low)} and {len(high)}")
    low, high = low.double().flatten().sort().values, high.double().flatten().sort().values
    above_low = len(low) - torch.searchsorted(low, high)
    above_high = len(high) - torch.searchsorted(high, high)
    return float((above_high.double() / (above_high + above_low)).mean())


def _placements(values: Tensor, others: Tensor) -> Tensor:
    ordered = others.sort().values
    strictly = torch.searchsorted(ordered, values.contiguous())
    with_ties = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (strictly + with_ties).double() / (2 * len(others))
