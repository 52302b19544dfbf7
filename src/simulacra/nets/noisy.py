"""Likelihoods of models that know how to take noise out: the variational bound and the probability flow, in data units.

Everything is measured in the decoded data: for levels, log P of the levels; for real numbers, the log density in the
field's own units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous
from simulacra.mathematics.divergences import log_normal
from simulacra.mathematics.flow_likelihood import Trace, flow_log_prob, hutchinson
from simulacra.mathematics.solvers import Denoise
from simulacra.nets.continuum import Continuum


class Reconstruction:
    """p(x | z) for z = x + low n: of levels their shares of N(z, low^2), of real numbers that density.

    Kingma et al. 2021, "Variational diffusion models", section 3.2: with little noise it hardly matters which.
    """

    def __init__(self, continuum: Continuum) -> None:
        self.continuum = continuum

    def low(self, least: float) -> float:
        """Where the bound may end: the level at which half a cell is three deviations, where every field has levels.

        Any level bounds; below this one nothing is left to learn, and a network that is not sure costs nats.
        """
        cells = [f.spacing / f.scale for f in self.continuum.fields.values() if f.levels is not None]
        return max(least, min(cells) / 6) if len(cells) == len(self.continuum.fields) else least

    def log_prob(self, clean: Tensor, noisy: Tensor, low: float) -> Tensor:
        """log p(x | z), nats (b,); clean and noisy in standard units, (b, *event)."""
        total = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
        for f, x, z in self._parts(clean, noisy):
            if f.levels is None:
                each = log_normal(z, x, math.log(low)) - math.log(f.scale)
            else:
                values = (f.value(torch.arange(f.levels, device=z.device).to(z.dtype)) - f.centre) / f.scale
                logits = -0.5 * ((z[..., None] - values) / low).square()
                index = f.index(x * f.scale + f.centre).to(torch.int64)
                each = logits.log_softmax(-1).gather(-1, index[..., None])[..., 0]
            total += each.flatten(1).sum(1).double()
        return total

    def spread(self, clean: Tensor, rng: Rng) -> tuple[Tensor, float]:
        """Levels spread evenly over their cells, and what that and the units add to a log density, nats."""
        parts, added = [], 0.0
        for i, (f, x, _) in enumerate(self._parts(clean, clean)):
            count = x[0].numel() if len(x) else 0
            if f.levels is None:
                parts.append(x)
                added -= count * math.log(f.scale)
            else:
                cell = f.spacing / f.scale
                parts.append(x + cell * (rng(i).uniform(x.shape, dtype=x.dtype, device=x.device) - 0.5))
                added += count * math.log(cell)
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)), added

    def _parts(self, clean: Tensor, noisy: Tensor) -> list[tuple[Continuous, Tensor, Tensor]]:
        split = self.continuum.split
        return list(zip(self.continuum.fields.values(), split(clean), split(noisy), strict=True))


def variational_bound(
    denoise: Denoise,
    clean: Tensor,
    reconstruction: Reconstruction,
    *,
    low: float,
    high: float,
    prior: float,
    draws: int,
    rng: Rng,
) -> Tensor:
    """A lower bound of log p(x) in expectation over its draws, nats (b,): Kingma et al. 2021, eq. 11-15.

    log p(x) >= E log p(x | z_low) - KL(q(z_high | x) || N(0, prior^2)) - int |x - D(z_s, s)|^2 / s^2 d(log s),

    the integral from ``low`` to ``high``, by one level in each of ``draws`` strata of log s.
    """
    x = clean.double()

    def at(level: Tensor, name: str) -> Tensor:
        noise = rng("noise", name).normal(x.shape, dtype=x.dtype, device=x.device)
        return x + level.reshape(-1, *[1] * (x.ndim - 1)) * noise

    width = math.log(high / low)
    missed = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for i in range(draws):
        share = rng("level", i).uniform((len(x),), dtype=x.dtype, device=x.device)
        level = low * torch.exp(width * (i + share) / draws)
        wrong = (x - denoise(at(level, str(i)), level)).flatten(1).square().sum(1)
        missed += width / draws * wrong / level.square()
    ends = x.square().flatten(1).sum(1) / (2 * prior**2)
    ends = ends + x[0].numel() * (math.log(prior / high) + high**2 / (2 * prior**2) - 0.5) if len(x) else ends
    near = at(torch.full((len(x),), low, dtype=x.dtype, device=x.device), "low")
    return (reconstruction.log_prob(x, near, low) - ends - missed).to(clean.dtype)


def flow_estimate(
    denoise: Denoise,
    clean: Tensor,
    reconstruction: Reconstruction,
    *,
    low: float,
    high: float,
    prior: float,
    steps: int,
    rng: Rng,
    trace: Trace = hutchinson,
) -> Tensor:
    """log p(x) by the probability flow from ``low`` to ``high``, levels spread evenly over their cells; nats (b,)."""
    spread, added = reconstruction.spread(clean.double(), rng("cell"))
    nats = flow_log_prob(denoise, spread, low=low, high=high, prior=prior, steps=steps, trace=trace, rng=rng("trace"))
    return (nats + added).to(clean.dtype)
