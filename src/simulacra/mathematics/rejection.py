"""Discriminator rejection sampling: Azadi et al. 2019, "Discriminator rejection sampling", section 3.

A critic at its best scores an example log p(x) / q(x), up to a constant, of the data's density over the generator's:
that is what non-saturating, minimax and relativistic games lead to. Keeping an example with a probability in proportion
to that ratio turns samples of q into samples of p.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-8  # section 3.2: keeps the best example's odds finite


def log_odds(scores: Float[Tensor, " b"], best: float) -> Float[Tensor, " b"]:
    """F of eq. 6 without gamma: s - m - log(1 - exp(s - m - eps)) for scores s and the best score m; float64.

    Its logistic function is exp(s - m), the probability of acceptance, but for eps. Scores above m count as m.
    """
    below = (scores.double() - best).clamp(max=0)
    return below - torch.log1p(-(below - EPS).exp())


def acceptance(scores: Float[Tensor, " b"], best: float, gamma: float = 0.0) -> Float[Tensor, " b"]:
    """Probability to accept each example, (b,), float64.

    gamma  lowers all odds: above 0 fewer examples of a better kind are kept, and below it more; 0 is exact.
    """
    return (log_odds(scores, best) - gamma).sigmoid()
