"""RePaint: what is unknown of an example drawn given what is known, by any denoiser (Lugmayr et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.solvers import Denoise


def repaint(
    denoise: Denoise,
    clean: Tensor,
    known: Tensor,
    levels: Sequence[float],
    *,
    prior: float,
    rounds: int,
    rng: Rng,
) -> Tensor:
    """Examples (b, *event) whose ``known`` elements are those of ``clean``: their algorithm 1. Approximate.

    At every level the known elements are put in with the noise of that level; going back up and down again, so many
    ``rounds`` a step, lets the rest agree with them.

    known   bool, like ``clean``; what is not known may hold anything finite.
    levels  decreasing, the last 0; ``prior`` is the standard deviation of examples at the first.
    """

    def noise(*name: str | int) -> Tensor:
        return rng(*name).normal(clean.shape, dtype=clean.dtype, device=clean.device)

    clean = torch.where(known, clean, 0.0)
    state = prior * noise("z")
    for i, (now, then) in enumerate(pairwise(levels)):
        for turn in range(rounds if then > 0 else 1):
            here = torch.where(known, clean + now * noise("known", i, turn), state)
            d = denoise(here, torch.full((len(here),), now, dtype=here.dtype, device=here.device))
            up = then * math.sqrt(1 - (then / now) ** 2)
            state = d + (then / now) ** 2 * (here - d) + up * noise("down", i, turn)
            if turn + 1 < rounds and then > 0:
                state = state + math.sqrt(now**2 - then**2) * noise("up", i, turn)
    return torch.where(known, clean, state)
