"""Pictures of one set as those of another, learnt without pairs: Zhu et al. 2017 ("CycleGAN").

The two sets are the two classes of the data. For each there is a generator that makes its pictures out of the other's,
and a critic that judges patches; there and back must be the picture one came from, and a picture that is of the set
already is to stay as it is:

    sum over both sets of L_adversarial + cycle |F(G(x)) - x|_1 + identity |G(y) - y|_1   (Zhu et al. 2017, eq. 3, 5.2)

Critics are shown pictures of the past as well as new ones. It draws nothing without a picture to start from, and
translation is a function: one answer for each picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core import across
from simulacra.core.batch import Batch, Loss, Values
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.adversarial import Game, LeastSquares
from simulacra.nets.continuum import Continuum
from simulacra.nets.initialise import initialise, normal
from simulacra.nets.looking import evaluating, first
from simulacra.nets.playing_spaces import class_count, picture_shape
from simulacra.nets.shown import Shown
from simulacra.nets.translators import PatchCritic, ResidualNetwork

WEIGHTS = normal(0.02)  # Zhu et al. 2017, appendix 7.1
ROWS = 256  # pictures translated at a time


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig:
    """Settings of ``CycleGAN``.

    width     channels of both networks at the finest size.
    blocks    residual blocks of each generator: 6 for up to 128 a side, 9 beyond (Zhu et al. 2017, section 4).
    halvings  of the critics, 1 to 3: how large the patches are that they judge (``nets.translators``).
    cycle, identity  weights of the two mean absolute differences, in units of the pictures' scale.
    past      pictures that are remembered of each set.
    game      what the players minimise, patch by patch; none that compares a fake with its real partner: there is none.
    """

    width: int = 64
    blocks: int = 6
    halvings: int = 3
    cycle: float = 10.0
    identity: float = 5.0
    past: int = 50
    game: Game = field(default_factory=LeastSquares)
    generator_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.5, 0.999)))
    critic_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.5, 0.999)))

    def __post_init__(self) -> None:
        if min(self.width, self.blocks, self.past) < 1 or self.halvings not in (1, 2, 3):
            raise ValueError(
                f"width, blocks and past must be at least 1, halvings 1 to 3; got {self.width}, {self.blocks}, "
                f"{self.past} and {self.halvings}"
            )
        if self.game.relative:
            raise ValueError("a CycleGAN has no pairs to compare; give a game that judges each by itself, LeastSquares")


class CycleGAN(nn.Module):
    """Two generators, each onto a class, and the critics of the two classes."""

    pool: Tensor
    filled: Tensor

    def __init__(self, config: CycleGANConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        shape = picture_shape(space, "a CycleGAN", 8, 1024)
        if class_count(space) != 2:
            raise ValueError(
                "a CycleGAN learns from two sets of pictures, a folder with a subfolder for each; got data of"
                f" {class_count(space) or 'no'} classes"
            )
        self.config, self.space, self.continuum = config, space, Continuum.of(space, "a CycleGAN")
        self.onto = nn.ModuleList(ResidualNetwork(shape[0], config.width, config.blocks) for _ in range(2))
        self.critics = nn.ModuleList(PatchCritic(shape[0], config.width, config.halvings) for _ in range(2))
        self.register_buffer("pool", torch.zeros(2, config.past, *shape))
        self.register_buffer("filled", torch.zeros(2, dtype=torch.int64))
        self.shown, self.fresh = Shown(), list[tuple[Tensor, Tensor, Tensor, Tensor]]()
        initialise(self, Rng.of(rng), linear=WEIGHTS)

    def players(self) -> Mapping[str, Player]:
        """The generators, whose average is what translates, and the critics."""
        return {
            "critics": Player(module=self.critics, optimiser=self.config.critic_optimiser, averaged=False),
            "generators": Player(module=self.onto, optimiser=self.config.generator_optimiser),
        }

    def turns(self) -> Sequence[Turn]:
        """The generators' turn, then that of the critics, after which the past is remembered."""
        return [
            Turn(name="generators", player="generators", loss=self.generator_loss),
            Turn(name="critics", player="critics", loss=self.critic_loss, after=self._remember),
        ]

    def generator_loss(self, batch: Batch, rng: Rng) -> Loss:
        """The game's loss, mean over the patches, and the two differences; every example is turned into the other."""
        u, y = self.seen(batch)
        fake = self.made(u, 1 - y)
        self.shown[first(batch.x)] = fake.detach()
        scores = _by_class(self.critics, fake, 1 - y)
        fooled = self.config.game.generator(scores.flatten()).reshape(len(u), -1).mean(1)
        cycle = (self.made(fake, y) - u).abs().flatten(1).mean(1)
        identity = (self.made(u, y) - u).abs().flatten(1).mean(1)
        total = fooled + self.config.cycle * cycle + self.config.identity * identity
        return Loss.of(total, generators=fooled, cycle=cycle, identity=identity)

    def critic_loss(self, batch: Batch, rng: Rng) -> Loss:
        """Half the game's loss, mean over the patches: of each example, and of what the other set was made of it.

        In place of a new picture one of the past stands half of the time (Zhu et al. 2017, section 4; Shrivastava et
        al. 2017, section 2.3), once as many are remembered as there is room for.
        """
        u, y = self.seen(batch)
        new = self.shown.get(first(batch.x))
        if new is None:
            with torch.no_grad():
                new = self.made(u, 1 - y)
        n, past = len(u), self.config.past
        slot = rng("slot").integers(past, (n,), device=u.device)
        swapped = (rng("swap").uniform((n,), device=u.device) < 0.5) & (self.filled[1 - y] >= past)
        self.fresh.append((new, 1 - y, slot, swapped))
        fake = torch.where(swapped[:, None, None, None], self.pool[1 - y, slot].to(new.dtype), new)
        on_real, on_fake = _by_class(self.critics, u, y), _by_class(self.critics, fake, 1 - y)
        each = 0.5 * self.config.game.critic(on_real.flatten(), on_fake.flatten()).reshape(n, -1).mean(1)
        return Loss.of(each, critics=each, real=on_real.flatten(1).mean(1), fake=on_fake.flatten(1).mean(1))

    @torch.no_grad()
    def _remember(self, terms: object) -> None:
        """New pictures take the free places, then those of the past that stood in for them."""
        for parts in self.fresh:
            new, of, slot, swapped = (across.gather(t) for t in parts)
            past = self.config.past
            for c in range(2):
                mine = (of == c).nonzero()[:, 0]
                place = self.filled[c] + torch.arange(len(mine), device=mine.device)
                place = torch.where(place < past, place, torch.where(swapped[mine], slot[mine], past))
                kept = place < past
                self.pool[c].index_copy_(0, place[kept], new[mine[kept]].to(self.pool.dtype))
                self.filled[c] = (self.filled[c] + len(mine)).clamp(max=past)
        self.fresh.clear()

    def seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch as the networks see it: u (b, c, h, w), and the class of each, int64 (b,)."""
        assert isinstance(batch.y, Tensor)
        return self.continuum.inward(batch.x), batch.y

    def made(self, u: Tensor, into: Tensor) -> Tensor:
        """Pictures u as those of the classes ``into``, int64 (b,)."""
        return self.continuum.within(_by_class(self.onto, u, into))

    @torch.no_grad()
    def translate(self, x: Values, *, y: Tensor) -> Values:
        """Each picture as one of the class y, int64 (b,): inside the range and on the levels of the data."""
        u, y = self.continuum.inward(x), y.to(self.pool.device)
        with evaluating(self.onto):
            parts = [self.made(u[i : i + ROWS], y[i : i + ROWS]) for i in range(0, max(len(u), 1), ROWS)]
        return self.continuum.decoded(torch.cat(parts))


def _by_class(networks: nn.ModuleList, x: Tensor, which: Tensor) -> Tensor:
    """Each row through the network of its class, in the order of the rows."""
    order = which.argsort(stable=True)
    counts = torch.bincount(which, minlength=len(networks)).tolist()
    parts = x[order].split(counts)
    found = torch.cat([network(part) for network, part in zip(networks, parts, strict=True) if len(part)])
    return found[order.argsort()]
