"""Whether draws are as spread as they should be: how often their intervals hold the truth, and where it ranks.

Both need truths that were hidden from whoever drew. Where draws are from the truth's own conditional an interval of
level p holds it with probability p, and its rank among k draws is uniform on 0 .. k (Gneiting et al. 2007).
"""

from __future__ import annotations

import torch
from torch import Tensor


def central_coverage(draws: Tensor, truth: Tensor, level: float = 0.9) -> float:
    """Share of the truths (n,) inside the central intervals of their draws (k, n), between empirical quantiles.

    level  of the intervals, in (0, 1); of few draws the intervals are a little too short: by about 1 / k.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1; got {level}")
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=draws.dtype, device=draws.device)
    low, high = torch.quantile(draws, ends, dim=0)
    return float(((truth >= low) & (truth <= high)).double().mean())


def rank_histogram(draws: Tensor, truth: Tensor, bins: int = 10) -> Tensor:
    """How many truths (n,) rank in each of ``bins`` equal parts of their draws (k, n), int64 (bins,).

    A truth equal to some draws ranks in their middle. Flat where draws are right; high at both ends where they are too
    narrow, in the middle where they are too wide, at one end where they are biased.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1; got {bins}")
    below, equal = (draws < truth).sum(0).double(), (draws == truth).sum(0).double()
    share = (below + 0.5 * equal + 0.5) / (len(draws) + 1)
    return torch.bincount((share * bins).long().clamp(0, bins - 1), minlength=bins)
