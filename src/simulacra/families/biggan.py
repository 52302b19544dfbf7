"""BigGAN: class-conditional residual networks under spectral norm, made for scale. Brock, Donahue & Simonyan 2019.

One embedding of the classes is shared by all conditional batch norms of the generator, each of which also hears a part
of z of its own ("hierarchical" latents); one self-attention layer relates far places. Weights begin orthogonal, and
the generator's filters are kept from growing alike; the game is hinge, the critic projects on the class and takes
two steps for each of the generator's. Latents drawn from a truncated normal trade variety for quality. Pictures of any
size from 8 to 1024 a side; the batch is what this model lives on (theirs: 2048): accumulate. No likelihood, no encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.batch import Batch
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.adversarial import Game, Hinge
from simulacra.mathematics.latent_draws import Truncated, independent
from simulacra.nets.adversarial import NONE, Duel, Regulariser
from simulacra.nets.augment import Augmentation
from simulacra.nets.class_heads import Auxiliary, Projection
from simulacra.nets.contest import Contest
from simulacra.nets.initialise import initialise
from simulacra.nets.norm import BatchNorm
from simulacra.nets.playing_spaces import class_count, picture_shape
from simulacra.nets.remedies import Remedies
from simulacra.nets.resample import sizes
from simulacra.nets.spectral import ConditionalBatchNorm, SelfAttention, Spectral, off_diagonal, orthogonal

layer = partial(Spectral, scheme=orthogonal)


@dataclass(frozen=True, kw_only=True)
class BigGANConfig:
    """Settings of ``BigGAN``.

    chunk      entries of z that each size hears; z has one chunk for the start and one for every doubling.
    shared     entries of the classes' shared embedding.
    width      channels at the finest size; they double with every halving, up to ``widest``.
    attention  both networks attend at the size whose shorter side is nearest to this (theirs: 64 at 128x128).
    alike      beta of the penalty on filters that resemble each other (eq. 3); 0: none.
    rounds     the critic's steps for each of the generator's.
    game, regularisers  what the players minimise, and penalties on the critic.
    remedies   against mode collapse (``nets.remedies``).
    auxiliary  ``Auxiliary()``: the critic is not told the class, but says it (ACGAN); None: it projects on the class.
    augment    changes of what the critic sees, for small data: ``ADA()`` or ``DiffAugment()``; None: none.
    frozen     sizes that the critic sees a picture at, finest first, at which its layers stay as they were in
               the run that this one starts from (freeze-D).
    """

    chunk: int = 20
    shared: int = 128
    width: int = 64
    widest: int = 1024
    attention: int = 32
    alike: float = 1e-4
    rounds: int = 2
    game: Game = field(default_factory=Hinge)
    regularisers: tuple[Regulariser, ...] = ()
    remedies: Remedies = NONE
    auxiliary: Auxiliary | None = None
    augment: Augmentation | None = None
    frozen: int = 0
    # section 3 and appendix C.1: the critic learns four times as fast, without momentum
    generator_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=5e-5, betas=(0.0, 0.999)))
    critic_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.0, 0.999)))

    def __post_init__(self) -> None:
        for name in ("chunk", "shared", "width", "widest", "attention"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.alike < 0:
            raise ValueError(f"alike weighs a penalty and must not be negative; got {self.alike}")

    def widths(self, levels: int) -> list[int]:
        """Channels at each size, finest first."""
        return [min(self.widest, self.width * 2**i) for i in range(levels)]

    def attends(self, found: list[tuple[int, int]]) -> int:
        """Number of the size with attention, the coarsest left out where there are others."""
        candidates = range(max(1, len(found) - 1))
        return min(candidates, key=lambda i: abs(math.log(min(found[i]) / self.attention)))


class Up(nn.Module):
    """Twice the size, cut to ``size``: conditional norm, ReLU, 3x3, twice, beside a 1x1; figure 15b."""

    def __init__(self, into: int, out: int, d: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.norms = nn.ModuleList([ConditionalBatchNorm(n, d, scheme=orthogonal) for n in (into, out)])
        self.first, self.second = layer(into, out, 3), layer(out, out, 3)
        self.copy = layer(into, out, 1)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        y = self.first(self.enlarged(F.relu(self.norms[0](x, given))))
        y = self.second(F.relu(self.norms[1](y, given)))
        return y + self.enlarged(self.copy(x))  # a 1x1 convolution before doubling costs a quarter

    def enlarged(self, x: Tensor) -> Tensor:
        """Every place four times."""
        return F.interpolate(x, scale_factor=2, mode="nearest")[:, :, : self.size[0], : self.size[1]]


class Down(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, beside a 1x1, then means over 2x2 places where it halves; figure 15c."""

    def __init__(self, into: int, out: int, *, halving: bool, first: bool = False) -> None:
        super().__init__()
        self.halving, self.raw = halving, first
        self.first, self.second = layer(into, out, 3), layer(out, out, 3)
        self.copy = layer(into, out, 1) if into != out or halving else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        # the first block sees values, not activations: half of them would be cut off
        y = self.second(F.relu(self.first(x if self.raw else F.relu(x))))
        return self.halved(y) + self.copy(self.halved(x))

    def halved(self, x: Tensor) -> Tensor:
        """Means over 2x2 places, what is left at an odd border over fewer."""
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) if self.halving else x


class Generator(nn.Module):
    """(z (b, latent), y (b, classes) or None) -> free output (b, c, h, w)."""

    from_end = ("blocks",)  # of pictures of another size the blocks that are as wide are as far from the picture

    def __init__(self, config: BigGANConfig, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        found = sizes(*shape[1:])
        widths = config.widths(len(found))
        self.chunk, self.coarsest = config.chunk, (widths[-1], *found[-1])
        self.shared = nn.Linear(classes, config.shared, bias=False) if classes else None
        self.start = layer(config.chunk, math.prod(self.coarsest), 0)
        d = config.chunk + (config.shared if classes else 0)
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for i in reversed(range(len(found) - 1)):
            self.blocks.append(Up(widths[i + 1], widths[i], d, found[i]))
        at = config.attends(found)
        # after the block that makes this size
        self.attention[str(len(found) - 2 - at)] = SelfAttention(widths[at], scheme=orthogonal)
        self.norm = BatchNorm(widths[0])
        self.show = layer(widths[0], shape[0], 3)

    @property
    def latent(self) -> int:
        """Entries of z."""
        return self.chunk * (len(self.blocks) + 1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        first, *chunks = z.split(self.chunk, dim=1)
        told = [] if self.shared is None or y is None else [self.shared(y)]
        x = self.start(first).unflatten(1, self.coarsest)
        for i, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True)):
            x = block(x, torch.cat([chunk, *told], dim=1))
            x = self.attention[str(i)](x) if str(i) in self.attention else x
        return self.show(F.relu(self.norm(x)))


class Critic(nn.Module):
    """(u (b, c, h, w), y (b, classes) or None) -> scores (b,): sums over places, and a projection on the class."""

    def __init__(self, config: BigGANConfig, shape: tuple[int, ...], classes: int, tells: int = 0) -> None:
        super().__init__()
        found = sizes(*shape[1:])
        widths = config.widths(len(found))
        self.blocks = nn.ModuleList([Down(shape[0], widths[0], halving=False, first=True)])
        self.attention = nn.ModuleDict({str(config.attends(found)): SelfAttention(widths[config.attends(found)],
                                                                                 scheme=orthogonal)})  # fmt: skip
        for into, out in pairwise(widths):
            self.blocks.append(Down(into, out, halving=True))
        self.head = Projection(widths[-1], classes, linear=lambda into, out: layer(into, out, 0, bias=False))
        self.classes = layer(widths[-1], tells, 0) if tells else None

    def by_size(self) -> list[tuple[nn.Module, ...]]:
        """The layers that see a picture at each size, finest first, without those that judge at the end."""
        at = {int(i): layer for i, layer in self.attention.items()}
        return [(block, at[i]) if i in at else (block,) for i, block in enumerate(self.blocks)]

    def features(self, u: Tensor) -> Tensor:
        """u (b, c, h, w) -> (b, features)."""
        x = u
        for i, block in enumerate(self.blocks):
            x = block(x)
            x = self.attention[str(i)](x) if str(i) in self.attention else x
        return F.relu(x).sum((2, 3))

    def classify(self, u: Tensor) -> Tensor:
        """u (b, c, h, w) -> logits of the classes, (b, classes)."""
        assert self.classes is not None
        return self.classes(self.features(u))

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        return self.head(self.features(u), y)


@dataclass(frozen=True, kw_only=True)
class Alike:
    """beta times the sum of ``off_diagonal`` over a generator's filters, the shared embedding left alone."""

    beta: float

    def __call__(self, generator: nn.Module) -> Tensor:
        parts = [off_diagonal(m.weight) for m in generator.modules() if isinstance(m, Spectral)]
        return self.beta * torch.stack(parts).sum()


class BigGAN(Contest[BigGANConfig]):
    """A conditional residual generator and its critic; without classes z alone conditions it."""

    def __init__(self, config: BigGANConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__(config, space)
        shape, classes = picture_shape(space, "a BigGAN", 8, 1024), class_count(space)
        generator, remedies = Generator(config, shape, classes), config.remedies
        told, tells = (remedies.labels(classes), 0) if config.auxiliary is None else (0, classes)
        self.duel = Duel(
            space,
            generator,
            remedies.around(Critic(config, remedies.event(shape), told, tells)),
            latent=generator.latent,
            game=config.game,
            regularisers=config.regularisers,
            augment=config.augment,
            frozen=config.frozen,
            remedies=remedies,
            auxiliary=config.auxiliary,
            rounds=config.rounds,
            burden=Alike(beta=config.alike) if config.alike else None,
        )
        initialise(self.duel, Rng.of(rng), linear=orthogonal)

    def sample(self, n: int, *, y: Tensor | None = None, truncation: float = math.inf, rng: Rng | int = 0) -> Batch:
        """n pictures, decoded; y int64 (n,), None: from the marginal.

        truncation  entries of z beyond this are drawn again: below 1 pictures become better and more alike, infinity
                    leaves z normal (Brock et al. 2019, section 3.1: 0.04 to 2).
        """
        return self.duel.sample(n, y=y, rng=rng, draw=independent if truncation == math.inf else Truncated(truncation))
