"""A flexible density of one number, with any ends: a mixture of logistics, each cut to the range and normalised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core.randomness import Rng


@dataclass(frozen=True)
class TruncatedLogistics:
    """A mixture of m logistic densities, each cut to [low, high] and normalised there.

        f(x) = sum_i w_i s(z_i) s(-z_i) / (h_i (s(b_i) - s(a_i))),   z, a, b = (x, low, high - centre_i) / h_i

    with s the logistic function and h_i = exp(log_scale_i): wide components are nearly uniform between two ends, narrow
    ones are peaks, and centres beyond an end make slopes towards it.

    logits, centre, log_scale  (..., m), the last two in the units of low and high.
    low, high  ends of the range; infinite where it has none.
    """

    logits: Tensor
    centre: Tensor
    log_scale: Tensor
    low: float = -math.inf
    high: float = math.inf

    def log_prob(self, x: Tensor) -> Tensor:
        """log f(x), nats a unit of x, of values inside the range."""
        narrow = torch.exp(-self.log_scale)
        z = (x[..., None] - self.centre) * narrow
        each = F.logsigmoid(z) + F.logsigmoid(-z) - self.log_scale - self._log_mass(narrow)
        return torch.logsumexp(each + self.logits.log_softmax(-1), dim=-1)

    def sample(self, rng: Rng, temperature: float = 1.0) -> Tensor:
        """One value: a component, then the inverse of its distribution function; below temperature 1 narrower."""
        if temperature == 0:
            return self.mode()
        chosen = rng("component").categorical(self.logits / temperature)[..., None]
        centre, scale = (t.gather(-1, chosen)[..., 0].double() for t in (self.centre, self.log_scale.exp()))
        scale = temperature * scale
        # uniform on [0, 1) in steps of 2**-24: the middle of a step, because log 0 is infinite
        u = rng("logistic").uniform(centre.shape, dtype=torch.float32, device=centre.device).double() + 2.0**-25
        below, above = (self.low - centre) / scale, (self.high - centre) / scale
        # far to the right of the centre the distribution function is 1 - tiny: there its mirror image is inverted
        mirrored = below + above > 0
        start, end = torch.where(mirrored, -above, below), torch.where(mirrored, -below, above)
        first = torch.sigmoid(start)
        p = (first + torch.where(mirrored, 1 - u, u) * (torch.sigmoid(end) - first)).clamp_min(1e-300)
        z = p.log() - torch.log1p(-p)
        x = (centre + scale * torch.where(mirrored, -z, z)).to(self.centre.dtype)
        return x.clamp(self.low, self.high)

    def mean(self) -> Tensor:
        """Expected centre, kept in range: the mean where components are narrow; differentiable."""
        return (self.logits.softmax(-1) * self.centre.clamp(self.low, self.high)).sum(-1)

    def mode(self) -> Tensor:
        """The densest of the components' centres, kept in range."""
        candidates = self.centre.clamp(self.low, self.high)
        score = torch.stack([self.log_prob(candidates[..., i]) for i in range(candidates.shape[-1])], dim=-1)
        return candidates.gather(-1, score.argmax(-1, keepdim=True))[..., 0]

    def _log_mass(self, narrow: Tensor) -> Tensor | float:
        """log(s(b) - s(a)) of each component, which is log s(b) + log s(-a) + log(1 - exp(a - b)): nothing cancels."""
        mass: Tensor | float = 0.0
        if math.isfinite(self.high):
            mass = mass + F.logsigmoid((self.high - self.centre) * narrow)
        if math.isfinite(self.low):
            mass = mass + F.logsigmoid((self.centre - self.low) * narrow)
        if math.isfinite(self.high - self.low):
            mass = mass + torch.log(-torch.expm1((self.low - self.high) * narrow))
        return mass
