"""Diffusion of mixed columns: Gaussian noise on the numbers and masks on the categories of a row, taken out together.

The idea is TabDDPM's (Kotelnikov et al. 2023, "TabDDPM: modelling tabular data with diffusion models"), in continuous
time: the numbers are those of Karras et al. 2022, the categories those of masked diffusion (Sahoo et al. 2024), and one
noise level s says how much is lost of both. Given a row they are disturbed independently, so that to first order of a
short step each kind is drawn back by itself, by what one network says when shown all of the row:

    numbers     D(x_s, s) ~ E[x_0 | x_s, c_s], along the probability flow
    categories  b(x_s, c_s), the belief about each masked one, unmasked at the rate at which they were masked

and the bound of log p(x, c) is the sum of their bounds along the same path (Kingma et al. 2021, eq. 11-15; Sahoo et al.
2024, eq. 10). Categories are looked up in a table of vectors, so many of them cost little.

What it cannot do: exact likelihoods, codes, and rows with gaps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.discrete_paths import chosen
from simulacra.mathematics.preconditioning import Levels, LogNormal, Preconditioning, Weighting, edm, uniform_edm
from simulacra.mathematics.solvers import karras
from simulacra.nets.chains import merged
from simulacra.nets.columns import check_columns
from simulacra.nets.continuum import Continuum
from simulacra.nets.denoisers import Backbone, Dense
from simulacra.nets.embeddings import class_indicator, pick
from simulacra.nets.initialise import initialise
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.noisy import Reconstruction

ROWS = 2048  # examples drawn at a time
MEASURED = 4096  # examples that the numbers' standard deviation is taken from


@dataclass(frozen=True, kw_only=True)
class MixedDiffusionConfig:
    """A diffusion model of mixed columns. Noise levels are in units of the fields' own scales.

    backbone     the network (``nets.denoisers``), over numbers and categories' vectors as one vector.
    vectors      length of a category's vector, at most; a column of k has no more than k.
    preconditioning, weighting, levels  of the numbers, as ``diffusion`` has them.
    categories   what a nat missed of a masked category counts against an error of the numbers.
    low, high    the levels at which all but nothing, and all but everything, is lost.
    """

    backbone: Backbone = field(default_factory=lambda: Dense(width=256, depth=4))
    vectors: int = 16
    preconditioning: Preconditioning = edm
    weighting: Weighting = uniform_edm
    levels: Levels = field(default_factory=LogNormal)
    categories: float = 1.0
    low: float = 0.002  # Karras et al. 2022, table 1
    high: float = 80.0
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.7)))

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"levels need 0 < low < high < inf; got {self.low} and {self.high}")
        if self.vectors < 1 or not self.categories > 0:
            raise ValueError(f"vectors and categories must be positive; got {self.vectors} and {self.categories}")

    def lost(self, level: Tensor) -> Tensor:
        """The share of categories masked at a level: s / (1 + s), brought to 0 at ``low`` and 1 at ``high``."""
        first, last = self.low / (1 + self.low), self.high / (1 + self.high)
        return ((level / (1 + level) - first) / (last - first)).clamp(0, 1)

    def rate(self, level: Tensor) -> Tensor:
        """d lost / d log s."""
        first, last = self.low / (1 + self.low), self.high / (1 + self.high)
        return level / (1 + level).square() / (last - first)


class MixedNetwork(nn.Module):
    """Noisy numbers (b, m) and categories with masks (b, n) -> what they say of the numbers and of each category."""

    def __init__(self, config: MixedDiffusionConfig, numbers: int, k: Sequence[int], given: int) -> None:
        super().__init__()
        widths = [min(config.vectors, size) for size in k]
        self.sizes = [numbers, *widths]
        # the symbol after the last category is the mask
        self.tables = nn.ModuleList(nn.Embedding(size + 1, width) for size, width in zip(k, widths, strict=True))
        self.body = config.backbone.build((sum(self.sizes),), 0, given)
        # the body starts at zero, and so do the logits; were these layers zero too, neither would have a slope
        self.logits = nn.ModuleList(nn.Linear(sum(self.sizes), size) for size in k)

    def forward(self, x: Tensor, symbols: Tensor, noise: Tensor, given: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The free output for the numbers (b, m), and logits (b, k) of each category."""
        shown = [x, *(table(symbols[:, i]) for i, table in enumerate(self.tables))]
        h = self.body(torch.cat(shown, dim=1), noise, None, given)
        return h[:, : self.sizes[0]], [layer(h) for layer in self.logits]


class MixedDiffusion(nn.Module):
    """Numbers and categories of rows out of noise; conditional on the class where the space has classes."""

    deviation: Tensor

    def __init__(self, config: MixedDiffusionConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError("mixed_diffusion is conditional on classes only; expected y as Classes or None")
        check_columns(space, "mixed_diffusion")
        numbers = {name: f for name, f in space.fields.items() if not isinstance(f, Categorical)}
        self.categories = {name: f for name, f in space.fields.items() if isinstance(f, Categorical)}
        if not numbers:
            raise ValueError("mixed_diffusion needs a column of numbers; for categories alone use discrete_diffusion")
        self.config, self.space, self.classes = config, space, space.y
        self.continuum = Continuum.of(replace(space, fields=numbers, missing=()), "mixed_diffusion")
        if space.missing:
            raise ValueError(
                f"mixed_diffusion needs complete rows; {list(space.missing)} may be missing, impute them first, or read"
                " the table with missing values as a category of their own"
            )
        self.reconstruction = Reconstruction(self.continuum)
        self.marginal = LabelMarginal(self.classes)
        k = [f.k for f in self.categories.values()]
        self.network = MixedNetwork(config, len(numbers), k, self.marginal.classes)
        self.register_buffer("deviation", torch.ones(()))
        initialise(self.network, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Learns the labels' shares, and the numbers' standard deviation about 0."""
        self.marginal.fit(data)
        index = torch.arange(min(len(data), MEASURED))
        seen = self._numbers(data.batch(index, Rng(0, ("deviation",))).x)
        self.deviation.copy_(seen.double().square().mean().sqrt().clamp(min=1e-3))

    def players(self) -> Mapping[str, Player]:
        return {"denoiser": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="denoiser", player="denoiser", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The weighted squared error of the numbers, and nats of what is masked, means over the columns of a kind."""
        config, clean, symbols = self.config, self._numbers(batch.x), self._symbols(batch.x)
        share = rng("level").uniform((len(clean),), dtype=torch.float32, device=clean.device).to(clean.dtype)
        level = config.levels(share, self.deviation).clamp(config.low, config.high)
        noisy, masked = self._noised(clean, symbols, level, rng)
        given = self._given(batch.y if self.classes is not None else None)
        found, logits = self._denoise(noisy, self._hidden(symbols, masked), level, given)
        missed = config.weighting(level, self.deviation) * (found - clean).square().mean(1)
        nats = self._nats(logits, symbols, masked).sum(1) / max(len(self.categories), 1)
        return Loss.of(missed + config.categories * nats, numbers=missed, categories=nats)

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.classes, self.deviation.dtype)  # type: ignore[arg-type]

    def _numbers(self, x: Values) -> Tensor:
        """The numbers of rows in standard units, (b, m)."""
        return self.continuum.inward({name: pick(x, name) for name in self.continuum.fields}).flatten(1)

    def _symbols(self, x: Values) -> Tensor:
        """The categories of rows, int64 (b, n)."""
        parts = [pick(x, name) for name in self.categories]
        like = pick(x, next(iter(self.space.fields)))
        return torch.stack(parts, dim=1) if parts else torch.zeros(len(like), 0, dtype=torch.int64, device=like.device)

    def _noised(self, clean: Tensor, symbols: Tensor, level: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Numbers with noise, and which categories are masked, at levels (b,)."""
        noise = rng("noise").normal(clean.shape, dtype=clean.dtype, device=clean.device)
        u = rng("masks").uniform(symbols.shape, dtype=torch.float32, device=symbols.device)
        return clean + level.to(clean.dtype)[:, None] * noise, u < self.config.lost(level)[:, None]

    def _hidden(self, symbols: Tensor, masked: Tensor) -> Tensor:
        """Categories with masks where they are masked."""
        masks = torch.tensor([f.k for f in self.categories.values()], dtype=torch.int64, device=symbols.device)
        return torch.where(masked, masks, symbols)

    def _denoise(self, x: Tensor, symbols: Tensor, level: Tensor, given: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """D(x, s) in standard units, in x's own type, and logits of each category."""
        c = self.config.preconditioning(level, self.deviation.to(level))
        into = (c.into[:, None] * x).to(self.deviation.dtype)
        answer, logits = self.network(into, symbols, c.noise.to(into.dtype), given)
        return c.skip[:, None] * x + c.out[:, None] * answer.to(x.dtype), [
            t.float() if t.itemsize == 2 else t for t in logits
        ]

    def _nats(self, logits: list[Tensor], symbols: Tensor, masked: Tensor) -> Tensor:
        """What is missed of each masked category, nats (b, n); 0 where it is not masked."""
        if not logits:
            return self.deviation.new_zeros(symbols.shape)
        each = [F.cross_entropy(one, symbols[:, i], reduction="none") for i, one in enumerate(logits)]
        return torch.where(masked, torch.stack(each, dim=1), 0.0)

    # -- drawing ----------------------------------------------------------------------------------------------------

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int, steps: int = 50) -> Batch:
        """n rows in so many steps; y (n,) classes, None: drawn from their learned marginal."""
        rng, device = Rng.of(rng), self.deviation.device
        if self.classes is not None and y is None:
            y = self.marginal.draw(n, rng("y"))
        blank = torch.zeros(n, self.network.sizes[0], dtype=torch.float64, device=device)
        symbols = torch.zeros(n, len(self.categories), dtype=torch.int64, device=device)
        nothing = torch.zeros_like(blank, dtype=torch.bool), torch.zeros_like(symbols, dtype=torch.bool)
        return Batch(x=self._drawn(blank, symbols, nothing, self._given(y), rng, steps), y=y)

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int, steps: int = 100) -> Batch:
        """Draws what is unknown given what is known; approximate: at each level what is known is put in with its noise.

        Known categories stand unmasked throughout. Without y, where there are classes, they are told of none.
        """
        numbers, symbols = self._numbers(x).double().nan_to_num(0.0), self._symbols(x)
        flags = self.continuum.flags({name: pick(known, name) for name in self.continuum.fields}).flatten(1)
        told = self._symbols(known).bool()
        nothing = self.classes is not None and y is None
        given = self.deviation.new_zeros(len(numbers), self.marginal.classes) if nothing else self._given(y)
        found = self._drawn(numbers, torch.where(told, symbols, 0), (flags, told), given, Rng.of(rng), steps)
        return Batch(x=merged(known, x, found), y=y)

    def _drawn(
        self, x: Tensor, symbols: Tensor, known: tuple[Tensor, Tensor], given: Tensor | None, rng: Rng, steps: int
    ) -> Values:
        """Rows drawn where numbers (b, m) and symbols (b, n) are not known, ``ROWS`` at a time."""
        parts: list[tuple[Tensor, Tensor]] = []
        for first in range(0, max(len(x), 1), ROWS):
            some = slice(first, first + ROWS)
            held = known[0][some], known[1][some]
            labels = None if given is None else given[some]
            parts.append(self._back(x[some], symbols[some], held, labels, rng.rows(first), steps))
        numbers, found = (torch.cat(p) for p in zip(*parts, strict=True))
        u = numbers.to(self.deviation.dtype)
        decoded = self.continuum.decoded(u if len(self.continuum.fields) > 1 else u.reshape(-1, *self.continuum.event))
        named = {name: pick(decoded, name) for name in self.continuum.fields}
        named |= {name: found[:, i] for i, name in enumerate(self.categories)}
        ordered = {name: named[name] for name in self.space.fields}
        return ordered if len(ordered) > 1 else next(iter(ordered.values()))

    def _back(
        self, clean: Tensor, told: Tensor, known: tuple[Tensor, Tensor], given: Tensor | None, rng: Rng, steps: int
    ) -> tuple[Tensor, Tensor]:
        """From nothing but noise and masks to numbers and categories, both moved at each of so many steps."""
        levels = karras(steps, self.config.low, self.config.high).tolist()
        seen, sure = known
        prior = math.hypot(self.config.high, float(self.deviation))
        noise = lambda name, i: rng(name, i).normal(clean.shape, dtype=clean.dtype, device=clean.device)  # noqa: E731
        x, symbols, masked = prior * noise("z", 0), told, ~sure
        for i, (level, after) in enumerate(pairwise(levels)):
            x = torch.where(seen, clean + level * noise("held", i), x)
            wide = torch.full((len(x),), level, dtype=x.dtype, device=x.device)
            found, logits = self._denoise(x, self._hidden(symbols, masked), wide, given)
            x = found + after / level * (x - found)  # Euler's step of the probability flow, eq. 5 of Karras et al. 2022
            now, then = (float(self.config.lost(torch.tensor(s, dtype=torch.float64))) for s in (level, after))
            u = rng("when", i).uniform(symbols.shape, dtype=torch.float32, device=x.device)
            lifted = masked & ((u < (now - then) / max(now, 1e-300)) | (after == 0))
            for j, one in enumerate(logits):
                value = chosen(
                    one.softmax(1), rng("value", i, j).uniform((len(x),), dtype=torch.float32, device=x.device)
                )
                symbols = torch.cat([
                    symbols[:, :j], torch.where(lifted[:, j], value, symbols[:, j])[:, None], symbols[:, j + 1 :]
                ], dim=1)  # fmt: skip
            masked = masked & ~lifted
        return torch.where(seen, clean, x), symbols

    # -- scoring ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
        draws: int = 32,
    ) -> LogLikelihood:
        """A lower bound of log p(x), or log p(x | y), in expectation over its draws; nats (b,).

        One noise level in each of ``draws`` strata. A class-conditional model without y sums over the classes.
        """
        if draws < 1:
            raise ValueError(f"draws must be at least 1; got {draws}")
        if known is not None and not all(bool(pick(known, name).all()) for name in self.space.fields):
            raise ValueError("mixed_diffusion scores whole rows; got known with gaps, complete them first")
        stream, n = Rng.of(rng), len(pick(x, next(iter(self.space.fields))))
        score = lambda labels: self._bound(x, self._given(labels), draws, stream)  # noqa: E731
        nats = self.marginal.sum_out(score, n) if self.classes is not None and y is None else score(y)
        return LogLikelihood(
            nats=nats, kind="bound", measure=self.space.measure, count=float(self.space.size),
            method=f"variational bound, {draws} noise levels",
        )  # fmt: skip

    def _bound(self, x: Values, given: Tensor | None, draws: int, rng: Rng) -> Tensor:
        """Kingma et al. 2021, eq. 11-15, for the numbers, and Sahoo et al. 2024, eq. 10, for the categories; nats (b,).

        Both are integrals over the same log s: what D misses over s^2, and what beliefs miss of the masked over the
        share that is masked, times the rate at which it grows.
        """
        c, clean, symbols = self.config, self._numbers(x).double(), self._symbols(x)
        n, size, width = len(clean), clean.shape[1], math.log(c.high / c.low)
        prior = math.hypot(c.high, float(self.deviation))
        missed = torch.zeros(n, dtype=torch.float64, device=clean.device)
        for i in range(draws):
            share = rng("level", i).uniform((n,), dtype=torch.float32, device=clean.device).double() + 2.0**-25
            level = c.low * torch.exp(width * (i + share) / draws)
            noisy, masked = self._noised(clean, symbols, level, rng("draw", i))
            found, logits = self._denoise(noisy, self._hidden(symbols, masked), level, given)
            wrong = (found - clean).square().sum(1) / level.square()
            nats = self._nats(logits, symbols, masked).double().sum(1) * c.rate(level) / c.lost(level)
            missed += width / draws * (wrong + nats)
        ends = clean.square().sum(1) / (2 * prior**2)
        ends = ends + size * (math.log(prior / c.high) + c.high**2 / (2 * prior**2) - 0.5)
        near = clean + c.low * rng("low").normal(clean.shape, dtype=torch.float64, device=clean.device)
        event = (-1, *self.continuum.event)
        return (self.reconstruction.log_prob(clean.reshape(event), near.reshape(event), c.low) - ends - missed).to(
            self.deviation.dtype
        )
