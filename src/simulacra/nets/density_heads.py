"""Output heads for columns whose values pile up anywhere: what ``nets.heads`` has, with mixtures for real numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.space import Categorical, Continuous, Field
from simulacra.mathematics.distributions import Elementwise, soft_floor
from simulacra.mathematics.truncated import TruncatedLogistics
from simulacra.nets.heads import NARROWEST, Kind, Mixture


@dataclass(frozen=True)
class TruncatedKind:
    """A mixture of logistic densities inside the field's range; raw 0 spreads them over its centre and scale."""

    field: Continuous
    components: int
    density = True

    @property
    def outputs(self) -> int:
        return 3 * self.components

    def __call__(self, raw: Tensor) -> Elementwise:
        f = self.field
        logits, centre, log_scale = raw.unflatten(-1, (3, self.components)).unbind(-2)
        # components that start in the same place stay there: spread them over the field, none of them wider than it
        spread = torch.linspace(-1, 1, self.components, dtype=raw.dtype, device=raw.device)
        log_scale = math.log(f.scale) + soft_floor(log_scale, NARROWEST)
        return TruncatedLogistics(logits, f.centre + f.scale * (centre + spread), log_scale, f.low, f.high)


@dataclass(frozen=True, kw_only=True)
class Flexible:
    """A likelihood: categories by logits, levels as ``heads.Mixture`` has them, real numbers by cut logistics."""

    components: int = 8

    def __post_init__(self) -> None:
        if self.components < 1:
            raise ValueError(f"components must be at least 1; got {self.components}")

    def __call__(self, field: Field) -> Kind:
        if isinstance(field, Categorical) or field.levels is not None:
            return Mixture(components=self.components)(field)
        return TruncatedKind(field, self.components)
