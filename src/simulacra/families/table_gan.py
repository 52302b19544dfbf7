"""A generative adversarial network for tables: rows that a critic cannot tell from real ones, asked for by category.

The ideas are those of CTGAN (Xu et al. 2019, "Modeling tabular data using conditional GAN", sections 4.2-4.4):

    asked for       each row is drawn for one category of one column, both told to generator and critic; in training
                    categories are asked for by the logarithm of how often they occur, so that rare ones are learnt;
    held to it      the generator pays the cross-entropy between what it was asked for and what it put there;
    packed          the critic judges several rows at once, and so sees when they are too much alike (Lin et al. 2018);
    soft            categories are drawn by softmax of Gumbel-disturbed logits, through which gradients pass.

Rows for a category are found in the batch: drawn again from it with weights, wanted share over share in the data.
Columns of several modes are best encoded by a component and a place within it, two fields of the space.

What it cannot do: likelihoods, codes, gaps, and rows given anything but the class; and a column of many thousands of
categories, which stand one-hot here, makes it slow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core import across
from simulacra.core.batch import Batch, Data, Loss
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.adversarial import Game, Wasserstein, gradient_penalty, slope_of
from simulacra.mathematics.asked import Wanted, logarithmic
from simulacra.nets.adversarial import Regulariser
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.initialise import initialise
from simulacra.nets.looking import evaluating, first
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.norm import BatchNorm
from simulacra.nets.playing_spaces import class_count
from simulacra.nets.relaxed import Relaxed
from simulacra.nets.shown import Shown

ROWS = 4096  # examples drawn at a time, and rows counted at a time
SLOPE = 0.2  # of the critic's leaky ReLUs: Xu et al. 2019, section 4.4


@dataclass(frozen=True, kw_only=True)
class TableGANConfig:
    """A generative adversarial network for tables.

    latent            number of latent dimensions.
    generator, critic  widths of the hidden layers.
    pack              rows that the critic judges together.
    temperature       of the softly drawn categories.
    dropout           share of the critic's hidden units that are left out while it learns.
    wanted            (counts of a column's categories) -> how often each is asked for (``mathematics.asked``).
    agreement         weight of the cross-entropy between what is asked for and what comes.
    game, regularisers  what the players minimise, and penalties on the critic (``mathematics.adversarial``).
    """

    latent: int = 128
    generator: tuple[int, ...] = (256, 256)
    critic: tuple[int, ...] = (256, 256)
    pack: int = 10
    temperature: float = 0.2
    dropout: float = 0.5
    wanted: Wanted = logarithmic
    agreement: float = 1.0
    game: Game = field(default_factory=Wasserstein)
    regularisers: tuple[Regulariser, ...] = (Regulariser(penalty=gradient_penalty, weight=10.0),)
    generator_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.5, 0.9), weight_decay=5e-3))
    critic_optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-4, betas=(0.5, 0.9)))

    def __post_init__(self) -> None:
        if min(self.latent, self.pack, *self.generator, *self.critic) < 1:
            raise ValueError(f"latent, pack and widths must be at least 1; got {self.latent} and {self.pack}")
        if not self.temperature > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"temperature must be positive and dropout lie in [0, 1); got {self.temperature} and {self.dropout}"
            )
        if any(r.every > 1 for r in self.regularisers):
            raise ValueError("a table's critic is penalised at every step; got a regulariser with every > 1")


class Widening(nn.Module):
    """Layers each of which is shown its input beside its output: (b, into) -> (b, out)."""

    def __init__(self, into: int, widths: Sequence[int], out: int) -> None:
        super().__init__()
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for width in widths:
            self.layers.append(nn.Linear(into, width))
            self.norms.append(BatchNorm(width))
            into += width
        self.out = nn.Linear(into, out)

    def forward(self, h: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = torch.cat([F.relu(norm(layer(h))), h], dim=1)
        return self.out(h)


class PackCritic(nn.Module):
    """Several rows at once (packs, size) -> a score each (packs,)."""

    def __init__(self, into: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        sizes = [into, *widths]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out, self.dropout = nn.Linear(sizes[-1], 1, bias=False), dropout

    def forward(self, h: Tensor, rng: Rng) -> Tensor:
        for i, layer in enumerate(self.layers):
            h = F.leaky_relu(layer(h), SLOPE)
            if self.dropout:
                kept = rng("kept", i).uniform(h.shape, dtype=torch.float32, device=h.device) >= self.dropout
                h = h * (kept / (1 - self.dropout)).to(h.dtype)
        return self.out(h)[:, 0]


class TableGAN(nn.Module):
    """A generator and a critic of rows; conditional on the class where the space has classes."""

    counts: Tensor

    def __init__(self, config: TableGANConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.relaxed = r = Relaxed(space, "table_gan")
        classes = class_count(space)
        self.marginal = LabelMarginal(None if not classes else space.classes)
        self.asked = sum(f.k for f in r.categories.values())
        given = self.asked + classes
        self.generator = Widening(config.latent + given, config.generator, r.size)
        self.critic = PackCritic(config.pack * (r.size + given), config.critic, config.dropout)
        self.shown = Shown()
        self.register_buffer("counts", torch.zeros(self.asked, dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        initialise(self.generator, Rng.of(rng)("generator"))
        initialise(self.critic, Rng.of(rng)("critic"))

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Counts the labels, and each column's categories."""
        self.marginal.fit(data)
        counts = torch.zeros_like(self.counts, device="cpu")
        for index in torch.arange(len(data)).split(ROWS):
            x, at = data.batch(index, Rng(0, ("counts",))).x, 0
            for name, f in self.relaxed.categories.items():
                values = x if isinstance(x, Tensor) else x[name]
                counts[at : at + f.k] += values.cpu().bincount(minlength=f.k)
                at += f.k
        self.counts.copy_(counts)

    def players(self) -> Mapping[str, Player]:
        return {
            "critic": Player(module=self.critic, optimiser=self.config.critic_optimiser, averaged=False),
            "generator": Player(module=self.generator, optimiser=self.config.generator_optimiser),
        }

    def turns(self) -> Sequence[Turn]:
        """The generator's turn, then the critic's, who judges what was just shown."""
        return [
            Turn(name="generator", player="generator", loss=self.generator_loss),
            Turn(name="critic", player="critic", loss=self.critic_loss, second_order=True, after=self._advance),
        ]

    def generator_loss(self, batch: Batch, rng: Rng) -> Loss:
        """The game's loss of each pack, and of each row the cross-entropy with what it was asked for."""
        real, told, chosen = self._opponents(batch, rng)
        raw, fake = self._made(told, rng)
        self.shown[first(batch.x)] = real, told, fake.detach()
        scores = self._scores(torch.cat([fake, told], dim=1), rng("judged"))
        on_real = self._scores(torch.cat([real, told], dim=1), rng("real")) if self.config.game.relative else None
        won, missed = self._each_row(self.config.game.generator(scores, on_real), len(real)), self._missed(raw, chosen)
        return Loss.of(won + self.config.agreement * missed, generator=won, missed=missed)

    def critic_loss(self, batch: Batch, rng: Rng) -> Loss:
        """The game's loss of each pack and the penalties on its slope, as much as it has rows."""
        real, told, fake = self.shown.get(first(batch.x)) or self._anew(batch, rng)
        real, fake = (self._packed(torch.cat([u, told], dim=1)) for u in (real, fake))
        on_real, on_fake = self.critic(real, rng("real")), self.critic(fake, rng("fake"))
        loss = self.config.game.critic(on_real, on_fake)
        slope = slope_of(lambda u: self.critic(u, rng("slope")))
        for i, r in enumerate(self.config.regularisers):
            loss = loss + r.at(self.steps) * r.penalty(slope, real, fake, rng("penalty", i))
        n = len(batch)
        return Loss.of(self._each_row(loss, n), real=self._each_row(on_real, n), fake=self._each_row(on_fake, n))

    @torch.no_grad()
    def _anew(self, batch: Batch, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
        """Real rows, what is told of them, and made ones, where the generator has not just shown any."""
        real, told, _ = self._opponents(batch, rng)
        return real, told, self._made(told, rng)[1]

    def _advance(self, terms: object) -> None:
        self.steps += 1

    def _opponents(self, batch: Batch, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
        """Real rows u (b, size) that have what is asked for, what is told (b, asked + classes), and which place is 1.

        Drawn from the whole batch by the weights of the category each row has in a column of the slot's own.
        """
        dtype = self.generator.out.weight.dtype
        u = self.relaxed.inward(batch.x, dtype)
        label = class_indicator(batch.y if self.marginal.classes else None, self._classes, dtype)  # type: ignore[arg-type]
        if not self.asked:
            return u, u.new_zeros(len(u), 0) if label is None else label, u.new_zeros(len(u), dtype=torch.int64)
        together = across.gather(u if label is None else torch.cat([u, label], dim=1))
        n, device = len(u), u.device
        column = rng("column").integers(len(self.relaxed.categories), (n,), device=device)
        share = rng("row").uniform((n,), dtype=torch.float32, device=device).double() + 2.0**-25
        row, place, at = torch.zeros_like(column), torch.zeros_like(column), 0
        for i, (name, f) in enumerate(self.relaxed.categories.items()):
            category = together[:, self.relaxed.slices[name]].argmax(1)
            counts = self.counts[at : at + f.k]
            weight = (self.config.wanted(counts) / counts.clamp_min(1))[category].double().cumsum(0)
            found = torch.searchsorted(weight, share * weight[-1]).clamp_max(len(together) - 1)
            mine = column == i
            row, place = torch.where(mine, found, row), torch.where(mine, at + category[found], place)
            at += f.k
        drawn = together.index_select(0, row)
        told = torch.cat([F.one_hot(place, self.asked).to(dtype), drawn[:, self.relaxed.size :]], dim=1)
        return drawn[:, : self.relaxed.size], told, place

    @property
    def _classes(self):
        return self.space.classes if self.marginal.classes else None

    def _made(self, told: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """The generator's free output for what it is told, and rows u of it."""
        raw = self._raw(told, rng)
        return raw, self.relaxed.within(raw, rng("soft"), self.config.temperature)

    def _raw(self, told: Tensor, rng: Rng) -> Tensor:
        z = rng("z").normal((len(told), self.config.latent), dtype=told.dtype, device=told.device)
        return self.generator(torch.cat([z, told], dim=1))

    def _missed(self, raw: Tensor, place: Tensor) -> Tensor:
        """Cross-entropy of each row's logits of the column it was asked for with the category, nats (b,)."""
        total, at = raw.new_zeros(len(raw)), 0
        for name, f in self.relaxed.categories.items():
            mine = (place >= at) & (place < at + f.k)
            each = F.cross_entropy(raw[:, self.relaxed.slices[name]], (place - at).clamp(0, f.k - 1), reduction="none")
            total, at = total + torch.where(mine, each, 0.0), at + f.k
        return total

    def _packed(self, u: Tensor) -> Tensor:
        """Rows (b, size) as packs (ceil(b / pack), pack x size); the last is filled up from the first rows."""
        packs = math.ceil(len(u) / self.config.pack)
        index = torch.arange(packs * self.config.pack, device=u.device) % len(u)
        return u.index_select(0, index).reshape(packs, -1) if len(index) != len(u) else u.reshape(packs, -1)

    def _scores(self, u: Tensor, rng: Rng) -> Tensor:
        return self.critic(self._packed(u), rng)

    def _each_row(self, packs: Tensor, n: int) -> Tensor:
        """What is said of packs, for each of their n rows."""
        return packs.repeat_interleave(self.config.pack)[:n]

    # -- drawing ----------------------------------------------------------------------------------------------------

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n rows, each asked for by a category as often as the data has it; y (n,) classes, None: their marginal."""
        rng = Rng.of(rng)
        if self.marginal.classes and y is None:
            y = self.marginal.draw(n, rng("y"))
        parts: list[dict[str, Tensor]] = []
        with evaluating(self.generator):
            for start in range(0, max(n, 1), ROWS):
                labels = None if y is None else y[start : start + ROWS]
                told = self._told(min(ROWS, n - start), labels, rng.rows(start))
                parts.append(self.relaxed.drawn(self._raw(told, rng.rows(start)), rng("drawn").rows(start)))
        found = {name: torch.cat([part[name] for part in parts]) for name in self.space.fields}
        return Batch(x=found if len(found) > 1 else next(iter(found.values())), y=y)

    def _told(self, n: int, y: Tensor | None, rng: Rng) -> Tensor:
        weight = self.generator.out.weight
        label = class_indicator(y, self._classes, weight.dtype)
        parts = [] if label is None else [label.to(weight.device)]
        if self.asked:
            column = rng("column").integers(len(self.relaxed.categories), (n,), device=weight.device)
            share = rng("category").uniform((n,), dtype=torch.float32, device=weight.device).double() + 2.0**-25
            place, at = torch.zeros_like(column), 0
            for i, f in enumerate(self.relaxed.categories.values()):
                law = (self.counts[at : at + f.k] + (self.counts[at : at + f.k].sum() == 0)).double().cumsum(0)
                drawn = torch.searchsorted(law, share * law[-1]).clamp_max(f.k - 1)
                place, at = torch.where(column == i, at + drawn, place), at + f.k
            parts.insert(0, F.one_hot(place, self.asked).to(weight.dtype))
        return torch.cat(parts, dim=1) if parts else weight.new_zeros(n, 0)
