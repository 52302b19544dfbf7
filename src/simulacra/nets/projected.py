"""A critic that looks through features learnt without labels: Sauer et al. 2021, "Projected GANs converge faster".

The features are those of a small network trained on two views of each picture of the data at hand
(``self_supervised``), where the paper takes a classifier of photographs. They are frozen; what each size of them says
is mixed at random, across channels and from coarse to fine (section 3.2), so that none of it is easily ignored, and a
small critic under spectral norm stands on each. Here their scores are averaged: any game can be played with one number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.batch import Data
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.nets.initialise import normal
from simulacra.nets.self_supervised import Encoder, EncoderConfig, learn_encoder
from simulacra.nets.spectral import Spectral, orthogonal

LEAK = 0.2


@dataclass(frozen=True, kw_only=True)
class Projected:
    """Settings of the critic.

    encoder   the network whose features are looked at, and how it learns before the game begins.
    channels  of the random mixtures at every size.
    """

    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(examples=20_000))
    channels: int = 32

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1; got {self.channels}")

    def build(self, space: Space, classes: int) -> ProjectedCritic:
        """The critic of pictures of a space, told of so many classes."""
        return ProjectedCritic(self, space, classes)


class Mixture(nn.Module):
    """A convolution that never learns, its weights N(0, 1 / fan-in): a random look at all channels at once."""

    weight: Tensor

    def __init__(self, into: int, out: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("weight", torch.empty(out, into, kernel, kernel))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Drawn once."""
        self.weight.copy_(normal(1 / math.sqrt(self.weight[0].numel()))(self.weight, rng("weight")))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=self.kernel // 2)


class Head(nn.Module):
    """(b, c, h, w), y -> scores (b,): what places say, on average, and a projection on the class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.first = Spectral(channels, 2 * channels, 3, scheme=orthogonal)
        self.second = Spectral(2 * channels, 2 * channels, 3, scheme=orthogonal)
        self.score = Spectral(2 * channels, 1, 0, scheme=orthogonal, bias=False)
        self.labels = Spectral(classes, 2 * channels, 0, scheme=orthogonal, bias=False) if classes else None

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        f = F.leaky_relu(self.second(F.leaky_relu(self.first(x), LEAK)), LEAK).mean((2, 3))
        score = self.score(f).squeeze(1)
        return score if self.labels is None or y is None else score + (self.labels(y) * f).sum(1)


class ProjectedCritic(nn.Module):
    """(u (b, c, h, w), y (b, classes) or None) -> scores (b,), through frozen features."""

    alone = True  # it scores each example by itself

    def __init__(self, config: Projected, space: Space, classes: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder, space)
        widths = [m.out_channels for m in self.encoder.body if isinstance(m, nn.Conv2d)]
        n = config.channels
        self.channel = nn.ModuleList([Mixture(w, n, 1) for w in widths])
        self.scale = nn.ModuleList([Mixture(n, n, 3) for _ in widths])
        self.heads = nn.ModuleList([Head(n, classes) for _ in widths])
        self.freeze()

    def freeze(self) -> None:
        """Nobody learns the features any more."""
        self.encoder.eval().requires_grad_(False)
        self.encoder.zero_grad()

    def train(self, mode: bool = True) -> ProjectedCritic:
        """As ever, but for the features."""
        super().train(mode)
        self.encoder.eval()
        return self

    def prepare(self, data: Data) -> None:
        """Learn the features of the data, which then stay as they are."""
        self.encoder.requires_grad_(True)
        learn_encoder(self.encoder, data, self.config.encoder)
        self.freeze()

    def by_size(self) -> list[tuple[nn.Module, ...]]:
        """The critics of each size, finest first."""
        return [(head,) for head in self.heads]

    def features(self, u: Tensor) -> list[Tensor]:
        """What the frozen network makes of u at each size, finest first, mixed over channels and from below."""
        seen: list[Tensor] = []
        for layer in self.encoder.body:
            if isinstance(layer, nn.Flatten):
                break
            u = layer(u)
            if isinstance(layer, nn.SiLU):
                seen.append(u)
        mixed, below = list[Tensor](), None
        for x, channel, scale in reversed(list(zip(seen, self.channel, self.scale, strict=True))):
            here = channel(x)
            if below is not None:
                here = (here + F.interpolate(below, size=here.shape[2:], mode="bilinear")) / math.sqrt(2)
            below = scale(here)
            mixed.append(below)
        return mixed[::-1]

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        said = [head(x, y) for head, x in zip(self.heads, self.features(u), strict=True)]
        return torch.stack(said).mean(0)
