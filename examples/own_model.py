"""A model of your own, in one file: whatever has the methods has the uses.

    simulacra laws own_model:make          # from this folder: does it keep the laws of what it claims to be?

``Bootstrap`` resamples what it has seen and adds Gaussian noise: a kernel density, which can draw and can score.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.modalities import toys

KEPT = 256


class Bootstrap(nn.Module):
    """p(x) = mean over the kept examples c of N(x; c, width^2 I): Parzen 1962."""

    centres: Tensor

    def __init__(self, space, width: float) -> None:
        super().__init__()
        self.space, self.width = space, width
        self.register_buffer("centres", torch.zeros(KEPT, *space.only.shape))

    def fit(self, data: Data) -> None:
        """Keep the first examples."""
        self.centres.copy_(data.batch(torch.arange(KEPT) % len(data), Rng(0)("kept")).x)

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n draws: a kept example, and noise. Every draw has a name, and row r of it belongs to example r."""
        rng = Rng.of(rng)
        which = rng("which").integers(KEPT, (n,))
        noise = rng("noise").normal((n, *self.space.only.shape), dtype=self.centres.dtype)
        return Batch(x=self.centres[which] + self.width * noise)

    def log_likelihood(self, x, *, y=None, known=None, length=None, rng=None) -> LogLikelihood:
        """log p(x), nats (b,), exact."""
        d = math.prod(self.space.only.shape)
        apart = torch.cdist(x, self.centres).square() / (2 * self.width**2)
        constant = math.log(KEPT) + d / 2 * math.log(2 * math.pi * self.width**2)
        nats = torch.logsumexp(-apart, dim=1) - constant
        return LogLikelihood(nats=nats, kind="exact", measure=self.space.measure, count=d, method="kernel density")


def make() -> Bootstrap:
    """What ``simulacra laws`` calls: a model, ready to be asked."""
    world = toys.ring()
    model = Bootstrap(world.space, width=0.15)
    model.fit(world)
    return model
