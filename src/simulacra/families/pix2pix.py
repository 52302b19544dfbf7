"""Pictures from pictures, learnt from pairs: a conditional adversarial network, Isola et al. 2017 ("pix2pix").

A generator with skip connections turns what is given into a picture; a critic sees both and judges patch by patch, and
the generator pays for the distance from the true partner too:

    min_G max_D  L_adversarial(G, D) + distance E |x - G(y)|_1                     (Isola et al. 2017, eq. 4)

It draws in one pass. Its only noise is dropout, so that its draws for one condition differ little (ibid., section 3.1);
it has no likelihood. What is given is a picture of any size and number of channels, brought to that of the examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Loss, Values, rows
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.adversarial import Game, NonSaturating
from simulacra.nets.conditions import Beside, in_parts
from simulacra.nets.continuum import Continuum
from simulacra.nets.initialise import initialise, normal
from simulacra.nets.looking import evaluating, first
from simulacra.nets.playing_spaces import picture_shape
from simulacra.nets.shown import Shown
from simulacra.nets.translators import PatchCritic, SkipNetwork

WEIGHTS = normal(0.02)  # Isola et al. 2017, appendix 6.2
ROWS = 256  # pictures drawn at a time


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig:
    """Settings of ``Pix2Pix``.

    width     channels after the first halving, of both networks; they double up to 8 widths.
    levels    halvings of the generator at most; it stops where the shorter side is 2 or 3.
    halvings  of the critic, 1 to 3: how large the patches are that it judges (``nets.translators``).
    dropout   share of the generator's inner values that is dropped, in learning and in drawing.
    distance  weight of the mean absolute difference from the partner, in units of the pictures' scale.
    game      what the players minimise, patch by patch.
    """

    width: int = 64
    levels: int = 8
    halvings: int = 3
    dropout: float = 0.5
    distance: float = 100.0
    game: Game = field(default_factory=NonSaturating)
    generator_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.5, 0.999)))
    critic_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.5, 0.999)))

    def __post_init__(self) -> None:
        if min(self.width, self.levels) < 1 or self.halvings not in (1, 2, 3):
            raise ValueError(
                f"width and levels must be at least 1, halvings 1 to 3; got {self.width}, {self.levels} and "
                f"{self.halvings}"
            )
        if not 0 <= self.dropout < 1 or self.distance < 0:
            raise ValueError(
                f"dropout lies in [0, 1) and distance is not negative; got {self.dropout} and {self.distance}"
            )


class Pix2Pix(nn.Module):
    """A generator of pictures for pictures, and a critic of the two together."""

    def __init__(self, config: Pix2PixConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        shape = picture_shape(space, "a Pix2Pix", 8, 1024)
        if not isinstance(space.y, Space) or space.y.layout != "grid":
            raise ValueError(
                "a Pix2Pix learns pictures that are given pictures; got data without: fit with --given sketch, say"
            )
        self.config, self.space = config, space
        self.continuum, self.told = Continuum.of(space, "a Pix2Pix"), Beside(space.y, shape[1:])
        seen = self.told.beside
        self.generator = SkipNetwork(
            seen, shape[0], config.width, shape[1:], levels=config.levels, dropout=config.dropout
        )
        self.critic = PatchCritic(seen + shape[0], config.width, config.halvings)
        self.shown = Shown()
        initialise(self, Rng.of(rng), linear=WEIGHTS)

    def players(self) -> Mapping[str, Player]:
        """The generator, whose average is what draws, and the critic."""
        return {
            "critic": Player(module=self.critic, optimiser=self.config.critic_optimiser, averaged=False),
            "generator": Player(module=self.generator, optimiser=self.config.generator_optimiser),
        }

    def turns(self) -> Sequence[Turn]:
        """The generator's turn, then that of the critic, who judges what was just shown."""
        return [
            Turn(name="generator", player="generator", loss=self.generator_loss),
            Turn(name="critic", player="critic", loss=self.critic_loss),
        ]

    def generator_loss(self, batch: Batch, rng: Rng) -> Loss:
        """The game's loss, mean over the patches, and the distance from the partner."""
        u, y = self.seen(batch)
        fake = self.fake(y, rng("generator"))
        self.shown[first(batch.x)] = fake.detach()
        with torch.no_grad():
            on_real = self.critic(torch.cat([y, u], dim=1)).flatten() if self.config.game.relative else None
        on_fake = self.critic(torch.cat([y, fake], dim=1)).flatten()
        fooled = self.config.game.generator(on_fake, on_real).reshape(len(u), -1).mean(1)
        distance = (fake - u).abs().flatten(1).mean(1)
        return Loss.of(fooled + self.config.distance * distance, generator=fooled, distance=distance)

    def critic_loss(self, batch: Batch, rng: Rng) -> Loss:
        """Half the game's loss, mean over the patches (Isola et al. 2017, section 3.3)."""
        u, y = self.seen(batch)
        fake = self.shown.get(first(batch.x))
        if fake is None:
            with torch.no_grad():
                fake = self.fake(y, rng("generator"))
        on_real, on_fake = (self.critic(torch.cat([y, v], dim=1)).flatten() for v in (u, fake))
        each = 0.5 * self.config.game.critic(on_real, on_fake).reshape(len(u), -1).mean(1)
        means = {"real": on_real, "fake": on_fake}
        return Loss.of(each, critic=each, **{k: v.reshape(len(u), -1).mean(1) for k, v in means.items()})

    def seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch as the networks see it: u (b, c, h, w), and what is given (b, channels, h, w)."""
        return self.continuum.inward(batch.x), self._given(batch.y)

    def _given(self, y: Values | None) -> Tensor:
        beside = self.told(y).beside
        assert beside is not None
        return beside

    def fake(self, y: Tensor, rng: Rng) -> Tensor:
        """Generated pictures, u, for what is given as the networks see it."""
        return self.continuum.within(self.generator(y, rng))

    @torch.no_grad()
    def sample_given(self, y: Values, *, rng: Rng | int = 0) -> Batch:
        """A picture for each that is given, decoded: inside their range and on their levels."""
        n, device = rows(y), self.told.like.device
        with evaluating(self.generator):
            parts = [
                self.fake(self._given(here), own("generator"))
                for _, here, _, own in in_parts(n, ROWS, y, None, Rng.of(rng), device)
            ]
        return Batch(x=self.continuum.decoded(torch.cat(parts)), y=y)
