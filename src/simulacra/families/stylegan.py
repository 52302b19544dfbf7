"""Style-based generative adversarial networks: Karras et al. 2020 ("StyleGAN2"), and 2019 by another synthesis.

A mapping turns z into w, whose space is freed of z's shape; every layer of the synthesis is told a w, and noise of its
own. The critic is residual and sees how much its batch deviates. The objective is the non-saturating game with R1,
taken lazily, and a penalty on the generator whose steps in w change the picture by unequal amounts (path length).
``synthesis`` decides between the generators: ``nets.styles.Demodulated`` (2020) and ``Adaptive`` (2019, without the
growing). Pictures of any size from 8 to 1024 a side, square or not, and any number of channels; other than the
published networks this one ends in a tanh where values have bounds. It has no likelihood and no encoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Loss, Values
from simulacra.core.optimisers import AdamW, lazy
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.adversarial import Game, NonSaturating, path_lengths, r1
from simulacra.nets.adversarial import NONE, Duel, Regulariser
from simulacra.nets.augment import Augmentation
from simulacra.nets.class_heads import Projection
from simulacra.nets.contest import Contest
from simulacra.nets.equalised import Deviation, EqualConv, EqualDown, EqualLinear, leaky
from simulacra.nets.initialise import initialise
from simulacra.nets.looking import evaluating
from simulacra.nets.modulated import Noise, drawn, fixed
from simulacra.nets.playing_spaces import class_count, picture_shape
from simulacra.nets.remedies import Remedies
from simulacra.nets.resample import sizes
from simulacra.nets.styles import Demodulated, Mapping, Synthesis

CENTRE = 4096  # latents whose mean style truncation pulls towards
R1 = Regulariser(penalty=r1, weight=1.0, every=16)  # every 16: Karras et al. 2020, appendix B


@dataclass(frozen=True, kw_only=True)
class PathLength:
    """The generator's penalty weight (|J^T y| - a)^2, a the running mean of the lengths: Karras et al. 2020, eq. 4.

    decay  how much of a stays at each of its turns; every: it is taken every so many steps, its loss times that.
    """

    weight: float = 2.0
    decay: float = 0.99
    every: int = 4

    def __post_init__(self) -> None:
        if self.weight < 0 or not 0 <= self.decay < 1 or self.every < 1:
            raise ValueError(
                f"a path length needs weight >= 0, decay in [0, 1), every >= 1; got {self.weight}, {self.decay} and "
                f"{self.every}"
            )


@dataclass(frozen=True, kw_only=True)
class StyleGANConfig:
    """Settings of ``StyleGAN``.

    latent, style  entries of z and of w.
    mapping        layers from z to w.
    base, widest   channels at a size are base over its side, to the nearest power of two, at most ``widest``.
    synthesis      the network from w to pictures: ``Demodulated()`` is 2020's, ``Adaptive()`` 2019's.
    mixing         share of the examples learnt from whose coarse and fine layers hear two different styles.
    group          examples over which the critic sees a deviation.
    game, regularisers  what the players minimise, and penalties on the critic. R1's gamma is about 2e-4 pixels / batch
                   (Karras et al. 2020, "Training GANs with limited data", appendix C).
    remedies       against mode collapse (``nets.remedies``); the critic sees a deviation of its features without them.
    augment        changes of what the critic sees, for small data: ``ADA()`` or ``DiffAugment()``; None: none.
    frozen         sizes that the critic sees a picture at, finest first, at which its layers stay as they were in
                   the run that this one starts from (freeze-D).
    path_length    the penalty on the generator; None: none.
    The optimisers' rates and momenta are those of players without lazy turns (``optimisers.lazy``).
    """

    latent: int = 512
    style: int = 512
    mapping: int = 8
    base: int = 16_384
    widest: int = 512
    synthesis: Synthesis = field(default_factory=Demodulated)
    mixing: float = 0.9
    group: int = 4
    game: Game = field(default_factory=NonSaturating)
    regularisers: tuple[Regulariser, ...] = (R1,)
    remedies: Remedies = NONE
    augment: Augmentation | None = None
    frozen: int = 0
    path_length: PathLength | None = field(default_factory=PathLength)
    generator_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-3, betas=(0.0, 0.99)))
    critic_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-3, betas=(0.0, 0.99)))

    def __post_init__(self) -> None:
        if min(self.latent, self.style, self.mapping, self.base, self.widest) < 1:
            raise ValueError(
                f"latent, style, mapping, base and widest must be at least 1; got {self.latent}, {self.style}, "
                f"{self.mapping}, {self.base} and {self.widest}"
            )
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"mixing is a share of the examples, 0 to 1; got {self.mixing}")

    def widths(self, found: list[tuple[int, int]]) -> list[int]:
        """Channels at each size."""
        # powers of two: 28 pixels a side are as wide as 32, and odd widths are slow
        return [min(self.widest, 2 ** max(0, round(math.log2(self.base / math.sqrt(h * w))))) for h, w in found]


class Generator(nn.Module):
    """(z (b, latent), y (b, classes) or None) -> free output (b, c, h, w); noise is drawn by an rng, or fixed."""

    draws = True

    def __init__(self, config: StyleGANConfig, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.mixing = config.mixing
        found = sizes(*shape[1:])
        self.mapping = Mapping(config.latent, config.style, config.mapping, classes)
        self.synthesis = config.synthesis.build(config.style, found, config.widths(found), shape[0])

    def styles(self, z: Tensor, y: Tensor | None, rng: Rng | None) -> Tensor:
        """A style for every layer, (b, layers, style): two of them mixed for a share of the examples learnt from."""
        layers = self.synthesis.layers
        w = self.mapping(z, y)[:, None].expand(-1, layers, -1)
        if rng is None or not self.training or self.mixing == 0:
            return w
        other = self.mapping(rng("second z").normal(z.shape, dtype=z.dtype, device=z.device), y)
        cut = 1 + rng("cut").integers(layers - 1, (len(z), 1), device=z.device)
        mixed = rng("mixed").uniform((len(z), 1), device=z.device) < self.mixing
        fine = mixed & (torch.arange(layers, device=z.device) >= cut)
        return torch.where(fine[..., None], other[:, None], w)

    def forward(self, z: Tensor, y: Tensor | None = None, rng: Rng | None = None) -> Tensor:
        return self.synthesis(self.styles(z, y, rng), fixed if rng is None else drawn(rng))


class Residual(nn.Module):
    """Two convolutions to half the size beside a filtered copy, the sum over sqrt(2): Karras et al. 2020, fig. 7c."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first, self.second = EqualConv(into, into, 3), EqualDown(into, out, 3)
        self.copy = EqualDown(into, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (leaky(self.second(leaky(self.first(x)))) + self.copy(x)) / math.sqrt(2)


class Critic(nn.Module):
    """(u (b, c, h, w), y (b, classes) or None) -> scores (b,)."""

    from_end = ("blocks",)  # of pictures of another size the blocks that are as wide see the same size

    def __init__(self, config: StyleGANConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        found = sizes(*shape[1:])
        widths = config.widths(found)
        self.look = EqualConv(shape[0], widths[0], 1)
        self.blocks = nn.Sequential(*(Residual(a, b) for a, b in pairwise(widths)))
        self.deviation = Deviation(config.group)
        self.last = EqualConv(widths[-1] + 1, widths[-1], 3)
        self.features = EqualLinear(widths[-1] * math.prod(found[-1]), widths[-1])
        self.loudness = math.sqrt(max(classes, 1))
        linear = lambda into, out: EqualLinear(into, out, start=None)  # noqa: E731
        self.head = Projection(widths[-1], classes, linear=linear, gain=self.loudness / math.sqrt(widths[-1]))

    def by_size(self) -> list[tuple[nn.Module, ...]]:
        """The layers that see a picture at each size, finest first, without those that judge at the end."""
        first, *rest = self.blocks
        return [(self.look, first), *((block,) for block in rest)]

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.blocks(leaky(self.look(u)))
        x = leaky(self.last(self.deviation(x)))
        return self.head(leaky(self.features(x.flatten(1))), y)


class StyleGAN(Contest[StyleGANConfig]):
    """A style-based generator and its critic, conditional where there are classes; codes decode under fixed noise."""

    mean_length: Tensor

    def __init__(self, config: StyleGANConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__(config, space)
        shape, classes = picture_shape(space, "a StyleGAN", 8, 1024), class_count(space)
        remedies = config.remedies
        self.duel = Duel(
            space,
            Generator(config, shape, classes),
            remedies.around(Critic(config, remedies.event(shape), remedies.labels(classes))),
            latent=config.latent,
            game=config.game,
            regularisers=config.regularisers,
            remedies=remedies,
            augment=config.augment,
            frozen=config.frozen,
        )
        self.register_buffer("mean_length", torch.zeros(()))
        initialise(self.duel, Rng.of(rng))

    @property
    def generator(self) -> Generator:
        """The generator."""
        assert isinstance(self.duel.generator, Generator)
        return self.duel.generator

    def players(self) -> Dictionary[str, Player]:
        """The generator, whose average is what samples, and the critic; slowed where they take lazy turns."""
        paces = [r.every for r in self.config.regularisers if r.every > 1]
        path, generator, critic = self.config.path_length, self.config.generator_optimiser, self.config.critic_optimiser
        return self.duel.players(
            lazy(generator, path.every) if path is not None and path.every > 1 else generator,
            lazy(critic, min(paces)) if paces else critic,
        )

    def turns(self) -> Sequence[Turn]:
        """Generator, critic, lazy regularisers, path length."""
        path = self.config.path_length
        if path is None:
            return self.duel.turns()
        turn = Turn(
            name="path_length",
            player="generator",
            loss=self.path_loss,
            every=path.every,
            second_order=True,
            after=self._remember,
        )
        return [*self.duel.turns(), turn]

    def path_loss(self, batch: Batch, rng: Rng) -> Loss:
        """weight (|J^T y| - a)^2, times ``every``; the lengths are a term, of which a is the running mean."""
        path = self.config.path_length
        assert path is not None
        u, y = self.duel.seen(batch)
        z = rng("z").normal((len(u), self.config.latent), dtype=u.dtype, device=u.device)
        w = self.generator.styles(z, y, rng)
        w = w if w.requires_grad else w.requires_grad_()
        picture = self.duel.continuum.within(self.generator.synthesis(w, drawn(rng)))
        length = path_lengths(picture, w, rng("y").normal(picture.shape, dtype=u.dtype, device=u.device))
        penalty = (length - self.mean_length.to(length)).square()
        return Loss.of(penalty * (path.weight * path.every), path_length=length.detach())

    @torch.no_grad()
    def _remember(self, terms: Dictionary[str, Tensor]) -> None:
        assert self.config.path_length is not None
        self.mean_length.lerp_(terms["path_length"].to(self.mean_length), 1 - self.config.path_length.decay)

    def sample(self, n: int, *, y: Tensor | None = None, truncation: float = 1.0, rng: Rng | int = 0) -> Batch:
        """n pictures, decoded; y int64 (n,), None: from the marginal.

        truncation  psi of w' = mean + psi (w - mean), the mean style being that of the picture's class: 1 leaves styles
                    as they are, 0 shows the typical picture of each class (Karras et al. 2019, section 2 and app. B).
        """
        if not 0 <= truncation <= 1:
            raise ValueError(f"truncation lies in 0 .. 1; got {truncation}: leave it at 1 for the model's own variety")
        if truncation == 1:
            return self.duel.sample(n, y=y, rng=rng)
        generator = self.generator
        with torch.no_grad(), evaluating(generator):
            centres = self.mean_styles()

        def make(z: Tensor, y: Tensor | None, rng: Rng) -> Tensor:
            w = generator.styles(z, y, rng)
            mean = (centres if y is None else y @ centres)[:, None]
            return generator.synthesis(mean + truncation * (w - mean), drawn(rng))

        return self.duel.sample(n, y=y, rng=rng, make=make)

    def styles(self, z: Tensor, *, y: Values | None = None) -> Tensor:
        """The styles of codes (b, latent), (b, layers, style): one w of each, heard by every layer."""
        with evaluating(self.generator):
            return self.generator.styles(z, self.duel.known(y, z.shape[0]), None)

    def show(self, w: Tensor, *, noise: Noise = fixed) -> Values:
        """Styles (b, layers, style) -> pictures, differentiably and not rounded."""
        with evaluating(self.generator):
            return self.duel.continuum.outward(self.duel.continuum.within(self.generator.synthesis(w, noise)))

    def heard_by(self) -> list[Tensor]:
        """For every layer the weights that hear its style, (rows, style) each."""
        return self.generator.synthesis.heard_by()

    def mean_styles(self) -> Tensor:
        """The mean of w for each class, (classes, style), or of all, (1, style): over the same latents each time."""
        of = next(self.generator.parameters())
        z = Rng(0, ("mean style",)).normal((CENTRE, self.config.latent), dtype=of.dtype).to(of.device)
        if not self.duel.classes:
            return self.generator.mapping(z).mean(0, keepdim=True)
        one = torch.eye(self.duel.classes, dtype=of.dtype, device=of.device)
        return torch.stack([self.generator.mapping(z, label.expand(CENTRE, -1)).mean(0) for label in one])
