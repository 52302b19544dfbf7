"""The extractor `encoder`: trained without labels on the user's own pictures, by two views of each.

For pictures that are unlike photographs and carry no labels, features of other people's networks say little and pixels
less. Here a small network learns to give distorted views of one picture the same features and every feature something
to tell (VICReg; SimCLR is another loss passed in). It has its own short loop and a fixed seed, so that what judges does
not depend on what is judged, and is kept by the data's fingerprint. What the views may differ in, the features do not
see: blur of half a pixel or a shift are forgiven, and figures of pixels are to be read beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.batch import Data, fingerprint
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.evaluation.extractors import BATCH, Extractor, tensor
from simulacra.evaluation.kept import keep, place, read_back
from simulacra.mathematics.self_supervision import Vicreg
from simulacra.nets.halving import halving
from simulacra.nets.initialise import initialise

Loss = Callable[[Tensor, Tensor], Tensor]
Views = Callable[[Tensor, Rng], Tensor]
LEAST = 20  # pictures


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


def encoder(data: Data, *, folder: Path | None = None, config: EncoderConfig | None = None) -> Extractor:
    """The extractor of unlabelled pictures; trained, or read from folder if it was kept there before.

    folder  where trained weights are kept, as safetensors under the data's fingerprint; None keeps nothing.
    ValueError for data that are not pictures, or fewer than 20 of them.
    """
    config = config or EncoderConfig()
    if data.space.layout != "grid" or not isinstance(data.space.only, Continuous):
        raise ValueError(f"the encoder takes pictures (c, h, w); got {list(data.space.fields)}: use plain features")
    if len(data) < LEAST:
        raise ValueError(f"the encoder needs at least {LEAST} pictures to learn from; got {len(data)}: use pixels")
    network = Encoder(config, data.space)
    path = place(folder, "encoder", data, config)
    if path is not None and path.exists():
        read_back(path, network)
    else:
        _train(network, data, config)
        if path is not None:
            keep(path, network, {})
    network.eval().requires_grad_(False)
    kept = {name: t for name, t in sorted(network.state_dict().items()) if not name.startswith("head.")}
    return Extractor(name="encoder", hash=fingerprint(kept), features=network.features)


def _train(network: Encoder, data: Data, config: EncoderConfig) -> None:
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
        x = tensor(data.batch(order[at : at + batch], rng("batch", step)).x)
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
        found = torch.cat([network.read(tensor(part.x)) for part in parts])
        network.centre.copy_(found.mean(0))
        network.spread.copy_(found.std(0).square().mean().sqrt().clamp(min=1e-6))
