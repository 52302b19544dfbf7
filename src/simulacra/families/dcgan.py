"""Deep convolutional generative adversarial networks, Radford, Metz & Chintala 2016.

Strided convolutions instead of pooling, batch norm in both networks, ReLU in the generator and leaky ReLU in the
critic, weights from N(0, 0.02). Pictures of any size from 8 to 256 a side and any number of channels. The game is a
setting (``mathematics.adversarial``). It samples in one pass; it has no likelihood and no encoder, and batch norm in
the critic mixes the examples of a batch, so that R1 and R2 hold for the batch rather than for each of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.adversarial import Game, NonSaturating
from simulacra.nets.adversarial import NONE, Duel, Regulariser
from simulacra.nets.augment import Augmentation
from simulacra.nets.class_heads import Auxiliary
from simulacra.nets.contest import Contest
from simulacra.nets.initialise import initialise, normal
from simulacra.nets.norm import BatchNorm
from simulacra.nets.playing_spaces import class_count, picture_shape
from simulacra.nets.projected import Projected
from simulacra.nets.remedies import Remedies
from simulacra.nets.thin import FromPicture, ToPicture

LEAK = 0.2  # slope of the leaky ReLU, section 4
WEIGHTS = normal(0.02)  # section 4


@dataclass(frozen=True, kw_only=True)
class DCGANConfig:
    """Settings of ``DCGAN``.

    latent        number of latent dimensions.
    width         channels at the finest resolution; they double with every halving of the picture, up to 8 widths.
    game          what the players minimise.
    regularisers  penalties on the critic.
    remedies      against mode collapse (``nets.remedies``).
    auxiliary     ``Auxiliary()``: the critic is not told the class, but says it (ACGAN); None: it projects on it.
    projected     ``Projected()``: the critic looks through features learnt without labels; None: at the picture itself.
    augment       changes of what the critic sees, for small data: ``ADA()`` or ``DiffAugment()``; None: none.
    frozen        sizes that the critic sees a picture at, finest first, at which its layers stay as they were in
                  the run that this one starts from (freeze-D).
    """

    latent: int = 100
    width: int = 64
    game: Game = field(default_factory=NonSaturating)
    regularisers: tuple[Regulariser, ...] = ()
    remedies: Remedies = NONE
    auxiliary: Auxiliary | None = None
    projected: Projected | None = None
    augment: Augmentation | None = None
    frozen: int = 0
    # section 4: the customary momentum of 0.9 made training oscillate
    generator_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.5, 0.999)))
    critic_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.5, 0.999)))

    def __post_init__(self) -> None:
        if self.latent < 1 or self.width < 1:
            raise ValueError(f"latent and width must be at least 1; got {self.latent} and {self.width}")
        alone = self.remedies.pack is None and self.remedies.deviation is None and self.auxiliary is None
        if self.projected is not None and not alone:
            raise ValueError("a projected critic sees pictures one by one; leave pack, deviation and auxiliary out")


def ladder(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes from the picture's down to the coarsest, each half of the last, rounded down.

    The shorter side ends at 4 to 7, except that there are two halvings at least: 64 -> 4 in four, 28 -> 7 in two.
    """
    halvings = max(2, int(math.log2(min(height, width) / 4)))
    return [(height >> i, width >> i) for i in range(halvings + 1)]


def channels(width: int, levels: int) -> list[int]:
    """Channels at each halved size, finest first."""
    return [width * min(2**i, 8) for i in range(levels)]


class Generator(nn.Module):
    """(z (b, latent), y (b, classes) or None) -> free output (b, c, h, w)."""

    from_end = ("layers",)  # of pictures of another size the layers that are as wide are as far from the picture

    def __init__(self, latent: int, width: int, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        sizes = ladder(*shape[1:])
        widths = channels(width, len(sizes) - 1)
        self.coarsest = (*sizes[-1], widths[-1])
        self.loudness = self.label_gain(classes)
        self.project = nn.Linear(latent + classes, math.prod(self.coarsest), bias=False)
        layers: list[nn.Module] = [BatchNorm(widths[-1]), nn.ReLU(inplace=True)]
        for i in reversed(range(1, len(widths))):
            # an odd size had lost a row or column when it was halved
            odd = (sizes[i][0] - 2 * sizes[i + 1][0], sizes[i][1] - 2 * sizes[i + 1][1])
            up = nn.ConvTranspose2d(widths[i], widths[i - 1], 4, 2, 1, output_padding=odd, bias=False)
            layers += [up, BatchNorm(widths[i - 1]), nn.ReLU(inplace=True)]
        layers.append(ToPicture(widths[0], shape[0], sizes[0], scheme=WEIGHTS))
        self.layers = nn.Sequential(*layers)

    def label_gain(self, classes: int) -> float:
        """What one-hot labels are multiplied by: their entries get unit mean square."""
        return math.sqrt(classes)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        z = z if y is None else torch.cat([z, y * self.loudness], dim=1)
        # channels last: a fifth faster than channels first on a CPU
        return self.layers(self.project(z).unflatten(1, self.coarsest).permute(0, 3, 1, 2))


class Critic(nn.Module):
    """(u (b, c, h, w), y (b, classes) or None) -> scores (b,); the label's part is a projection.

    Miyato & Koyama 2018, eq. 3: score = w . f(u) + (V y) . f(u). One that ``tells`` classes says which it sees.
    """

    def __init__(self, width: int, shape: tuple[int, ...], classes: int, tells: int = 0) -> None:
        super().__init__()
        sizes = ladder(*shape[1:])
        widths = channels(width, len(sizes) - 1)
        layers: list[nn.Module] = [
            FromPicture(shape[0], width, activation=nn.LeakyReLU(LEAK, inplace=True), scheme=WEIGHTS)
        ]
        for narrow, wide in pairwise(widths):
            layers += [
                nn.Conv2d(narrow, wide, 4, 2, 1, bias=False),
                BatchNorm(wide),
                nn.LeakyReLU(LEAK, inplace=True),
            ]
        features = widths[-1] * math.prod(sizes[-1])
        self.layers = nn.Sequential(*layers, nn.Flatten())
        # games of differences between scores leave their constant where it is: it would never learn
        self.head = nn.Linear(features, 1, bias=False)
        self.labels = nn.Linear(classes, features, bias=False) if classes else None
        self.classes = nn.Linear(features, tells) if tells else None

    def classify(self, u: Tensor) -> Tensor:
        """u (b, c, h, w) -> logits of the classes, (b, classes)."""
        assert self.classes is not None
        return self.classes(self.layers(u))

    def by_size(self) -> list[tuple[nn.Module, ...]]:
        """The layers that see a picture at each size, finest first, without those that judge at the end."""
        first, *rest = list(self.layers)[:-1]
        return [(first,), *((convolution, norm) for convolution, norm in zip(rest[::3], rest[1::3], strict=True))]

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        f = self.layers(u)
        score = self.head(f).squeeze(1)
        return score if self.labels is None else score + (self.labels(y) * f).sum(1)


class DCGAN(Contest[DCGANConfig]):
    """A convolutional generator and critic; conditional on the class where the space has classes."""

    def __init__(self, config: DCGANConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__(config, space)
        shape, classes = picture_shape(space, "a DCGAN", 8, 256), class_count(space)
        told, tells = (config.remedies.labels(classes), 0) if config.auxiliary is None else (0, classes)
        critic: nn.Module = (
            Critic(config.width, config.remedies.event(shape), told, tells)
            if config.projected is None
            else config.projected.build(space, classes)
        )
        self.duel = Duel(
            space,
            Generator(config.latent, config.width, shape, classes),
            config.remedies.around(critic),
            latent=config.latent,
            game=config.game,
            regularisers=config.regularisers,
            remedies=config.remedies,
            augment=config.augment,
            frozen=config.frozen,
            auxiliary=config.auxiliary,
        )
        initialise(self.duel, Rng.of(rng), linear=WEIGHTS)
        self.duel.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # as its activations are
