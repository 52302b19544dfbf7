"""A decoder seen through Gaussian noise: a likelihood, of a kind, for generators that have none."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.capabilities import Decoder, Labelled, require
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.mathematics.divergences import log_normal


class Observed(torch.nn.Module):
    """A decoder with Gaussian noise around what it draws: N(x; decode(z), sigma^2), a LatentVariable.

    This gives a likelihood to generators that have none (Wu et al. 2017): it is that of the noisy model, a
    density, and says as much about sigma as about the generator.

    sigma  standard deviation of the noise, in the space's own units, positive.
    """

    def __init__(self, model: object, sigma: float) -> None:
        super().__init__()
        decoder = require(model, Decoder, "observing what is decoded")
        space = getattr(model, "space", None)
        if not sigma > 0:
            raise ValueError(f"sigma is the standard deviation of the noise and must be positive; got {sigma}")
        if not isinstance(space, Space) or not all(
            isinstance(f, Continuous) and not f.varying for f in space.fields.values()
        ):
            raise ValueError("Gaussian noise needs fields of numbers of fixed extent; this model has others")
        self.decoder, self.sigma = decoder, sigma
        if isinstance(model, Labelled):
            self.label_log_prob = model.label_log_prob
        self.latent = decoder.latent
        self.space = replace(space, measure=f"{space.measure}, as a density")

    def log_prob_given(
        self,
        x: Values,
        z: Tensor,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
    ) -> Tensor:
        """log N(x; decode(z), sigma^2), nats (b,), of the known part."""
        total = torch.zeros(len(z), dtype=z.dtype, device=z.device)
        for t, mean, seen in zip(_tensors(x), _tensors(self.decoder.decode(z, y=y)), _masks(known, x), strict=True):
            each_element = log_normal(t, mean, math.log(self.sigma))
            total = total + (each_element if seen is None else each_element * seen).reshape(len(t), -1).sum(1)
        return total

    @torch.no_grad()
    def sample_from(self, z: Tensor, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """decode(z) with noise; not rounded, not clipped."""
        stream, decoded = Rng.of(rng), self.decoder.decode(z, y=y)
        noisy = [
            t + self.sigma * stream("noise", i).normal(t.shape, dtype=t.dtype, device=t.device)
            for i, t in enumerate(_tensors(decoded))
        ]
        return Batch(x=noisy[0] if isinstance(decoded, Tensor) else dict(zip(decoded, noisy, strict=True)), y=y)


def _tensors(x: Values) -> list[Tensor]:
    return [x] if isinstance(x, Tensor) else [x[name] for name in x]


def _masks(known: Values | None, x: Values) -> list[Tensor | None]:
    return [None for _ in _tensors(x)] if known is None else list(_tensors(known))
