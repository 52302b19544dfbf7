"""A small network that reads pictures, trained without labels on two views of each (VICReg, unless told otherwise).

What it learns are features of the user's own pictures: the extractor ``encoder`` judges by them, and a projected
critic (``nets.projected``) looks through them. It has its own short loop and a fixed seed, so that it depends on the
data alone. What the views may differ in, the features do not see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.batch import Data, Values
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.mathematics.self_supervision import Vicreg
from simulacra.nets.halving import halving
from simulacra.nets.initialise import initialise

Loss = Callable[[Tensor, Tensor], Tensor]
Views = Callable[[Tensor, Rng], Tensor]
BATCH = 500  # pictures read at a time


@dataclass(frozen=True, kw_only=True)
class Distort:
    """A random view of each picture, (b, c, h, w) -> the same: moved, turned, scaled, sheared, its tones changed.

    shift   largest move, as a share of the side; scale: largest relative change of size; turn: largest angle, degrees.
    shear   largest slant; contrast: largest relative change of it; noise: deviation, in deviations of the batch.
    mirror  probability of a left-right reflection: 0.5 suits photographs, 0 whatever is read, like digits.
    """

    shift: float = 0.12
    scale: float = 0.2
    turn: float = 15.0
    shear: float = 0.2
    contrast: float = 0.4
    noise: float = 0.1
    mirror: float = 0.0

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        b = len(x)
        u = (2 * rng("affine").uniform((b, 7), dtype=x.dtype, device=x.device) - 1).unbind(1)
        angle, size = u[0] * math.radians(self.turn), (1 + self.scale) ** u[1]
        cosine, sine, slant = angle.cos() * size, angle.sin() * size, self.shear * u[2]
        flip = torch.where(u[6] < 2 * self.mirror - 1, -1.0, 1.0)
        height, width = x.shape[2:]
        # the grid's own units make a circle an ellipse where pictures are not square
        rows = (
            torch.stack([cosine * flip, (cosine * slant - sine) * height / width, 2 * self.shift * u[3]], 1),
            torch.stack([sine * flip * width / height, cosine + sine * slant, 2 * self.shift * u[4]], 1),
        )
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        mean = moved.mean((1, 2, 3), keepdim=True)
        toned = mean + (moved - mean) * (1 + self.contrast) ** u[5][:, None, None, None]
        noise = rng("noise").normal(x.shape, dtype=x.dtype, device=x.device)
        return toned + self.noise * x.std() * noise


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The network and its training.

    features   size of what is compared: few, so that few examples already tell a distance of them.
    channels   of the first convolution; doubled at each halving of the picture, up to four times.
    expanded   size of the space in which the loss is taken.
    examples   how many are seen in all, each as two views.
    loss       of two sets of embeddings: ``Vicreg`` or ``Contrast``.
    views      makes a view of each picture.
    """

    features: int = 32
    channels: int = 16
    expanded: int = 128
    examples: int = 60_000
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 0
    loss: Loss = field(default_factory=Vicreg)
    views: Views = field(default_factory=Distort)


class Encoder(nn.Module):
    """Pictures (b, c, h, w) to features (b, features), and on to embeddings (b, expanded) while it learns."""

    centre: Tensor
    spread: Tensor

    def __init__(self, config: EncoderConfig, space: Space) -> None:
        super().__init__()
        shown = space.only
        assert isinstance(shown, Continuous)
        self.offset, self.scale = shown.centre, shown.scale
        self.body = halving(shown.shape, config.channels, config.features)
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Linear(config.features, config.expanded),
            nn.LayerNorm(config.expanded),
            nn.SiLU(),
            nn.Linear(config.expanded, config.expanded),
        )
        self.register_buffer("centre", torch.zeros(config.features))
        self.register_buffer("spread", torch.ones(()))

    def read(self, x: Tensor) -> Tensor:
        """The last layer before the head, (b, features)."""
        return self.body((x - self.offset) / self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(x))

    def features(self, x: Tensor) -> Tensor:
        """Features about their mean, in units of their spread, over the training pictures."""
        return (self.read(x) - self.centre) / self.spread


def learn_encoder(network: Encoder, data: Data, config: EncoderConfig) -> None:
    """Trains the network on views of the data's pictures, from a fixed seed, and leaves it in evaluation mode."""
    rng = Rng(config.seed, ("encoder",))
    initialise(network, rng("weights"))
    batch = min(config.batch, len(data))
    steps = max(1, config.examples // batch)
    (optimiser,) = AdamW(lr=config.lr, weight_decay=config.weight_decay).build(network)
    network.train()
    order, at, epoch = torch.arange(0), 0, 0
    for step in range(steps):
        if at + batch > len(order):
            order, at, epoch = rng("epoch", epoch).permutation(len(data)), 0, epoch + 1
        x = _tensor(data.batch(order[at : at + batch], rng("batch", step)).x)
        at += batch
        for group in optimiser.param_groups:
            group["lr"] = config.lr * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad(set_to_none=True)
        both = torch.cat([config.views(x, rng("view", step, side)) for side in (0, 1)])
        config.loss(*network(both).chunk(2)).backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        some = rng("measured").permutation(len(data))[: 4 * BATCH]
        parts = [data.batch(part, rng("measured").rows(i)) for i, part in enumerate(some.split(BATCH))]
        found = torch.cat([network.read(_tensor(part.x)) for part in parts])
        network.centre.copy_(found.mean(0))
        network.spread.copy_(found.std(0).square().mean().sqrt().clamp(min=1e-6))


def _tensor(x: Values) -> Tensor:
    assert isinstance(x, Tensor)
    return x
