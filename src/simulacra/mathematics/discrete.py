"""Drawing from finite distributions with one uniform number each."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simulacra.core.randomness import inverted


def quantile(log_prob: Float[Tensor, "n k"], u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The smallest value whose cumulative probability exceeds u in [0, 1): a draw from softmax(log_prob), int64.

    One uniform number a draw instead of one Gumbel number a value, and monotone in u.
    """
    # the last value takes what rounding leaves over
    reached = torch.softmax(log_prob, dim=1)[:, :-1].cumsum(1)
    return (reached <= u[:, None].to(reached.dtype)).sum(1)


def support_quantile(log_prob: Float[Tensor, "n k"], u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Like ``quantile``, and never a value of probability 0: rounding is left to the last value that has any."""
    return inverted(log_prob.double().exp(), u)
