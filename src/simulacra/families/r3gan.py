"""R3GAN: a plain residual generator and critic at a game that converges. Huang et al. 2024, "The GAN is dead; long live
the GAN! A modern GAN baseline".

Each generated picture is paired with a real one (``Relativistic``), and the critic's slope is held down at both (R1 and
R2), less and less as training goes on; with that the networks need no tricks: grouped convolutions between 1x1 ones,
without any norm, kept stable by how they begin (fix-up: every block starts as the identity). The same networks serve
any size from 8 to 1024 a side, square or not. It has no likelihood and no encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.adversarial import Game, Relativistic, r1, r2
from simulacra.nets.adversarial import NONE, Duel, Regulariser, cosine
from simulacra.nets.augment import Augmentation
from simulacra.nets.class_heads import Projection
from simulacra.nets.contest import Contest
from simulacra.nets.initialise import initialise, normal
from simulacra.nets.playing_spaces import class_count, picture_shape
from simulacra.nets.remedies import Remedies
from simulacra.nets.resample import doubled, doublings, filtered_down, sizes

LEAK = 0.2  # slope of the leaky ReLU
GAIN = math.sqrt(2 / (1 + LEAK**2))  # He et al. 2015, eq. 15: what keeps the mean square through it
LAYERS = 3  # convolutions of a block

# gamma falls to a tenth along half a cosine: Huang et al. 2024, appendix D
SMOOTH = tuple(Regulariser(penalty=p, weight=1.0, final=0.1, steps=10_000, fall=cosine) for p in (r1, r2))


@dataclass(frozen=True, kw_only=True)
class R3GANConfig:
    """Settings of ``R3GAN``.

    latent     number of latent dimensions.
    width      channels at the finest size; they double with every halving of the picture, up to ``widest``.
    blocks     residual blocks at each size.
    expansion  how much wider a block is inside than outside.
    channels_a_group  inner channels of one group; the nearest number that divides them is taken.
    game, regularisers  what the players minimise, and penalties on the critic. Where gamma ends decides how sharp
               pictures become, where it begins whether all modes are found; ``steps`` of it is how long that takes.
    remedies   against mode collapse (``nets.remedies``), beyond the game's own.
    augment    changes of what the critic sees, for small data: ``ADA()`` or ``DiffAugment()``; None: none.
    frozen     sizes that the critic sees a picture at, finest first, at which its layers stay as they were in
               the run that this one starts from (freeze-D).
    """

    latent: int = 64
    width: int = 96
    widest: int = 768
    blocks: int = 2
    expansion: int = 2
    channels_a_group: int = 16
    game: Game = field(default_factory=Relativistic)
    regularisers: tuple[Regulariser, ...] = SMOOTH
    remedies: Remedies = NONE
    augment: Augmentation | None = None
    frozen: int = 0
    # Huang et al. 2024, appendix D: no momentum
    generator_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.0, 0.99)))
    critic_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.0, 0.99)))

    def __post_init__(self) -> None:
        for name in ("latent", "width", "widest", "blocks", "expansion", "channels_a_group"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")

    def widths(self, levels: int) -> list[int]:
        """Channels at each size, finest first."""
        return [min(self.widest, self.width * 2**i) for i in range(levels)]


class Scaled(nn.Module):
    """A linear layer (kernel 0) or convolution without bias that begins as N(0, (gain^2 / fan-in))."""

    def __init__(self, into: int, out: int, kernel: int, *, gain: float = 1.0, groups: int = 1) -> None:
        super().__init__()
        self.kernel, self.gain, self.groups = kernel, gain, groups
        self.weight = nn.Parameter(torch.empty(out, into // groups, *([kernel] * 2 if kernel else [])))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Normal weights of this gain; zero ones for a gain of 0."""
        self.weight.copy_(normal(self.gain / math.sqrt(self.weight[0].numel()))(self.weight, rng("weight")))

    def forward(self, x: Tensor) -> Tensor:
        if not self.kernel:
            return F.linear(x, self.weight)
        return F.conv2d(x, self.weight, padding=self.kernel // 2, groups=self.groups)


class Bend(nn.Module):
    """leaky ReLU (x + b), b one number a channel, 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Zero."""
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], LEAK)


class Block(nn.Module):
    """x + f(x), f = 1x1, bend, grouped 3x3, bend, 1x1: at first the identity (Huang et al., sec. 3.4).

    total  residual blocks of the network, L. The first two convolutions begin with He's deviation times
           L^(-1 / (2 m - 2)) for m layers a block, the last as zero (Zhang et al. 2019, "Fixup", section 3).
    """

    def __init__(self, channels: int, config: R3GANConfig, total: int) -> None:
        super().__init__()
        inner = channels * config.expansion
        wanted = max(1, round(inner / config.channels_a_group))
        groups = max(g for g in range(1, wanted + 1) if inner % g == 0)
        gain = GAIN * total ** (-1 / (2 * LAYERS - 2))
        self.widen = Scaled(channels, inner, 1, gain=gain)
        self.mix = Scaled(inner, inner, 3, gain=gain, groups=groups)
        self.narrow = Scaled(inner, channels, 1, gain=0.0)
        self.first, self.second = Bend(inner), Bend(inner)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(self.second(self.mix(self.first(self.widen(x)))))


class Basis(nn.Module):
    """Latents (b, d) -> (b, c, h, w): learned pictures, one a channel, each times a number linear in the latents."""

    def __init__(self, d: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.pictures = nn.Parameter(torch.empty(channels, *size))
        self.loudness = Scaled(d, channels, 0)

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """N(0, 1)."""
        flat = rng("pictures").normal((len(self.pictures), self.pictures[0].numel()))
        self.pictures.copy_(flat.reshape(self.pictures.shape))

    def forward(self, z: Tensor) -> Tensor:
        return self.pictures * self.loudness(z)[:, :, None, None]


def label_gain(classes: int) -> float:
    """What one-hot labels are multiplied by: their entries get unit mean square."""
    return math.sqrt(max(classes, 1))


class Generator(nn.Module):
    """(z (b, latent), y (b, classes) or None) -> free output (b, c, h, w)."""

    from_end = ("stages", "narrow")  # of pictures of another size those that are as wide are as far from the picture
    label_gain = staticmethod(label_gain)

    def __init__(self, config: R3GANConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        found = sizes(*shape[1:])
        widths = config.widths(len(found))
        total = config.blocks * len(found)
        self.sizes = [finer for _, finer in doublings(found)]
        self.label = Scaled(classes, config.latent, 0) if classes else None
        self.loudness = label_gain(classes)
        self.basis = Basis(config.latent * (2 if classes else 1), widths[-1], found[-1])
        stages = [nn.Sequential(*(Block(n, config, total) for _ in range(config.blocks))) for n in reversed(widths)]
        self.stages = nn.ModuleList(stages)
        pairs = zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        self.narrow = nn.ModuleList([Scaled(a, b, 1) if a != b else nn.Identity() for a, b in pairs])
        self.show = Scaled(widths[0], shape[0], 1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.label is not None and y is not None:
            z = torch.cat([z, self.label(y * self.loudness)], dim=1)
        x = self.stages[0](self.basis(z))
        for (height, width), narrow, stage in zip(self.sizes, self.narrow, self.stages[1:], strict=True):
            # at the coarser size a 1x1 convolution costs a quarter, and it commutes with the filter
            x = stage(doubled(narrow(x))[:, :, :height, :width])
        return self.show(x)


class Critic(nn.Module):
    """(u (b, c, h, w), y (b, classes) or None) -> scores (b,): the generator's mirror image."""

    label_gain = staticmethod(label_gain)  # so that a class means what it meant where another number of them is learnt

    def __init__(self, config: R3GANConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        found = sizes(*shape[1:])
        widths = config.widths(len(found))
        total = config.blocks * len(found)
        self.look = Scaled(shape[0], widths[0], 1)
        stages = [nn.Sequential(*(Block(n, config, total) for _ in range(config.blocks))) for n in widths]
        self.stages = nn.ModuleList(stages)
        self.widen = nn.ModuleList([Scaled(a, b, 1) if a != b else nn.Identity() for a, b in pairwise(widths)])
        self.gather = Gather(widths[-1], found[-1])
        linear = lambda into, out: Scaled(into, out, 0)  # noqa: E731
        self.head = Projection(widths[-1], classes, linear=linear, gain=label_gain(classes) / math.sqrt(widths[-1]))

    def by_size(self) -> list[tuple[nn.Module, ...]]:
        """The layers that see a picture at each size, finest first, without those that judge at the end."""
        first, *rest = self.stages
        return [(self.look, first), *zip(self.widen, rest, strict=True)]

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.stages[0](self.look(u))
        for widen, stage in zip(self.widen, self.stages[1:], strict=True):
            x = stage(widen(filtered_down(x)))
        return self.head(self.gather(x), y)


class Gather(nn.Module):
    """(b, c, h, w) -> (b, c): each channel against a learned picture, begun as N(0, 1 / (h w))."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.pictures = nn.Parameter(torch.empty(channels, *size))

    @torch.no_grad()
    def initialise(self, rng: Rng) -> None:
        """Normal pictures that keep the mean square."""
        flat = rng("pictures").normal((len(self.pictures), self.pictures[0].numel()))
        self.pictures.copy_(flat.reshape(self.pictures.shape) / math.sqrt(self.pictures[0].numel()))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.pictures).sum((2, 3))


class R3GAN(Contest[R3GANConfig]):
    """A residual generator and its critic; conditional on the class where the space has classes."""

    def __init__(self, config: R3GANConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__(config, space)
        shape, classes = picture_shape(space, "an R3GAN", 8, 1024), class_count(space)
        self.duel = Duel(
            space,
            Generator(config, shape, classes),
            config.remedies.around(Critic(config, config.remedies.event(shape), config.remedies.labels(classes))),
            latent=config.latent,
            game=config.game,
            regularisers=config.regularisers,
            remedies=config.remedies,
            augment=config.augment,
            frozen=config.frozen,
        )
        initialise(self.duel, Rng.of(rng))
