"""Why entries are missing: p(mask | x), a setting of models that learn from rows with gaps.

Where entries are missing at random the mask says nothing of x, and what was observed is all there is to learn from.
Where they hide themselves the mask's probability belongs into the bound (Ipsen, Mattei & Frellsen 2021, "not-MIWAE",
eq. 6), under an explicit model: no data can tell which one is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.nets.embeddings import pick
from simulacra.nets.heads import Joint

Missingness = Callable[[Space], nn.Module]  # a module (joint, batch, rng) -> log p(mask | x), nats (k, b) or 0


class Ignored(nn.Module):
    """Nothing is learnt of the mask."""

    def forward(self, joint: Joint, batch: Batch, rng: Rng) -> float:
        """log p(mask | x), but for a constant."""
        return 0.0


def at_random(space: Space) -> nn.Module:
    """Entries are missing at random, or completely so: the mask may be ignored (Rubin 1976)."""
    return Ignored()


@dataclass(frozen=True)
class SelfMasking:
    """Every real entry hides itself with a probability logistic in its own value, a slope and an offset a column.

    sign  of the slopes where it is known: 1 where large values hide, -1 where small ones do; 0: to be learnt, which the
          data alone decides poorly.
    """

    sign: int = 0

    def __call__(self, space: Space) -> nn.Module:
        """The module that learns slopes and offsets; ValueError where no real column may be missing."""
        return SelfMasked(space, self.sign)


class SelfMasked(nn.Module):
    """log p(mask | x) with what is hidden drawn from p(x | z), so that gradients reach the decoder."""

    def __init__(self, space: Space, sign: int) -> None:
        super().__init__()
        self.fields = {
            n: f for n, f in space.fields.items()
            if n in space.missing and isinstance(f, Continuous) and f.levels is None
        }  # fmt: skip
        if not self.fields:
            raise ValueError("entries that hide themselves are real ones that may be missing; this space has none")
        size = sum(math.prod(f.shape) for f in self.fields.values())
        self.sign = sign
        self.slope, self.offset = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))

    def initialise(self, rng: Rng) -> None:
        """Nothing hides at first but half of everything."""
        nn.init.zeros_(self.slope)
        nn.init.zeros_(self.offset)

    def slopes(self) -> Tensor:
        """Change of the log odds of being hidden with a deviation of each entry, (entries,)."""
        return self.slope if self.sign == 0 else self.sign * F.softplus(self.slope)

    def forward(self, joint: Joint, batch: Batch, rng: Rng) -> Tensor:
        """log p(mask | x), nats (k, b): of the real columns' entries, those that are hidden drawn."""
        drawn = joint.sample(rng("hidden")).x
        logits: list[Tensor] = []
        masks: list[Tensor] = []
        for name, f in self.fields.items():
            made, seen, value = pick(drawn, name), pick(batch.known, name), pick(batch.x, name)
            seen = torch.ones_like(value, dtype=torch.bool) if seen is None else seen
            whole = torch.where(seen, value.nan_to_num(f.centre).to(made), made)  # (k, b, *shape)
            lead = whole.shape[: whole.ndim - len(f.shape)]
            logits.append(((whole - f.centre) / f.scale).reshape(*lead, -1))
            masks.append(seen.reshape(len(value), -1))
        score = torch.cat(logits, -1) * self.slopes() + self.offset
        return torch.where(torch.cat(masks, -1), F.logsigmoid(-score), F.logsigmoid(score)).sum(-1)
