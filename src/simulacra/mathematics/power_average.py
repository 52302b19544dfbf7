"""Moving averages of weights whose length can be chosen after training: Karras et al. 2024, section 3 and appendix C.

"Analyzing and improving the training dynamics of diffusion models". The power-function average after t steps weighs the
weights of step tau by p(tau) = (g + 1) tau^g / t^(g + 1): its width is a share of the training, however long.
The weights of one step count for the integral of p over it, which is what updating by ``keep`` gives. Averages of two
exponents, stored at several steps, span all others nearly; least squares finds the best combination.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor


def exponent(width: float) -> float:
    """The g of a relative standard deviation: (g + 1)^(1/2) (g + 2)^-1 (g + 3)^-1/2 = width (section 3.1).

    width  standard deviation of p over t, in (0, 0.2887): above, more than an even average of all steps would be
           asked for. ValueError outside.
    """
    if not 0 < width < 1 / math.sqrt(12):
        raise ValueError(
            f"an average's width is its standard deviation as a share of the training, in (0, 0.288); got {width:g}"
        )
    # the square, as a cubic in u = g + 2: u^2 (u + 1) width^2 = u - 1, whose largest root it is
    low, high = 2.0, 2.0 / width**2 + 4
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if middle**2 * (middle + 1) * width**2 < middle - 1 else (low, middle)
    return 0.5 * (low + high) - 2


def keep(g: float, step: int) -> float:
    """What is kept of the average in step t = 1, 2 ...: (1 - 1 / t)^(g + 1) (section 3.1)."""
    return (1 - 1 / step) ** (g + 1)


def overlap(t1: Tensor, g1: Tensor, t2: Tensor, g2: Tensor) -> Tensor:
    """The integral of the product of two profiles (appendix C), float64; t steps, g exponents, broadcast together.

    (g1 + 1) (g2 + 1) min^(g1 + g2 + 1) / ((g1 + g2 + 1) t1^(g1 + 1) t2^(g2 + 1)), as powers of shares, which are small.
    """
    least = torch.minimum(t1, t2)
    sum_ = g1 + g2 + 1
    return (g1 + 1) * (g2 + 1) / sum_ * (least / t1) ** g1 * (least / t2) ** g2 * least / (t1 * t2)


def combination(times: Sequence[int], exponents: Sequence[float], time: int, g: float) -> tuple[Tensor, float]:
    """What stored averages, by their steps and exponents, are to be multiplied with to give another one.

    Returns the coefficients, float64 (k,), which sum to 1 so that what never moved stays as it is, and what is missed:
    the root mean square of the difference of the profiles as a share of the wanted one's, 0 for one that is stored.
    """
    t, e = (torch.tensor(values, dtype=torch.float64) for values in (times, exponents))
    wanted_t, wanted_g = torch.tensor(float(time)).double(), torch.tensor(g).double()
    gram = overlap(t[:, None], e[:, None], t, e)
    cross = overlap(t, e, wanted_t, wanted_g)
    size = overlap(wanted_t, wanted_g, wanted_t, wanted_g)
    # stationary points of x' A x - 2 b' x + 2 m (sum x - 1); scaled, since neighbours differ little
    scale = gram.diagonal().rsqrt()
    system = torch.zeros(len(t) + 1, len(t) + 1, dtype=torch.float64)
    system[:-1, :-1] = gram * scale * scale[:, None]
    system[-1, :-1] = system[:-1, -1] = scale / scale.max()
    right = torch.cat([cross * scale, (1 / scale.max()).reshape(1)])
    # the singular values that rounding makes are left out
    solved = cast("Tensor", torch.linalg.pinv(system, rtol=1e-13) @ right)  # pyright: ignore
    x = solved[:-1] * scale
    missed = (x @ gram @ x - 2 * x @ cross + size).clamp(min=0) / size
    return x, math.sqrt(float(missed))
