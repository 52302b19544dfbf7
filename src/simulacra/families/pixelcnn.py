"""Autoregressive pictures: Gated PixelCNN (van den Oord et al. 2016), PixelCNN++ and PixelSNAIL-like networks.

A picture is decided cell by cell in raster order, its likelihood the product of what each cell's values were given:

    log p(x | y) = sum_t log p(x_t | x_1 .. x_{t-1}, y)                        (van den Oord et al. 2016, eq. 1)

A cell is a pixel, whose channels come one after another (red before green before blue), or a block of pixels. Network,
block and output are settings: ``gated()`` under a softmax is the Gated PixelCNN; ``plus_plus()`` under ``Logistics`` is
the plain residual variant of PixelCNN++ (Salimans et al. 2017: no down- and upsampling); ``snail()`` adds
self-attention (Chen et al. 2018). Unlike in the first paper, the network's features know whole pixels only, and the
channels before a pixel's own enter at the output (``nets.cell_outputs``): no layer needs masks between channels.

Likelihoods are exact. Drawing keeps what later pixels need, so that each costs its own column of work
(``nets.causal_network.Cached``). What it cannot do: draw all pixels at once, or know a latent code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.indices import to_indices
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.discrete import quantile
from simulacra.nets.causal_network import Cached, Stacks, StepsOf, gated
from simulacra.nets.cell_outputs import Output, natural
from simulacra.nets.cells import Cells
from simulacra.nets.embeddings import class_indicator, pick
from simulacra.nets.heads import elements
from simulacra.nets.initialise import initialise
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.raster import RasterWalk, chosen_of_each, last

ROWS = 256  # pictures drawn at a time


@dataclass(frozen=True, kw_only=True)
class PixelCNNConfig:
    """An autoregressive model of pictures.

    network  two stacks of causal layers (``nets.causal_network``): ``gated()``, ``plus_plus()``, ``snail()`` ...
    output   what a cell's elements are distributed as (``nets.cell_outputs``): ``natural``, ``Levels()``,
             ``Together()``, ``Logistics()``.
    block    rows and columns of pixels in a cell; they must divide the picture's.
    """

    network: Stacks = field(default_factory=gated)
    output: Output = natural
    block: tuple[int, int] = (1, 1)
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))


class Raster(nn.Module, ABC):
    """What models of p(x | y) in raster order have in common, whatever y is."""

    def __init__(self, config: PixelCNNConfig, space: Space, given: int) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.cells = Cells(space, config.block)
        self.network = config.network.build(self.cells.inputs, self.cells.size, given)
        self.output = config.output(self.cells, self.network.width)

    @abstractmethod
    def given(self, y: Values | None) -> Tensor | None:
        """Conditions as a network sees them, (b, given), or None where there are none."""

    # -- learning ---------------------------------------------------------------------------------------------------

    def players(self) -> Mapping[str, Player]:
        return {"pixelcnn": Player(module=self, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="pixelcnn", player="pixelcnn", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus log p(x | y) of each example, nats; rng for dropout."""
        index = self.cells.index(pick(batch.x, self.name))
        return Loss.of(-self._score(index, self.given(batch.y), rng))

    @property
    def name(self) -> str:
        """The picture's field."""
        return next(iter(self.space.fields))

    def _score(self, index: Tensor, given: Tensor | None, rng: Rng | None = None) -> Tensor:
        """log p(x | y) of cells (b, m, h, w), nats (b,)."""
        features = self.network(self.cells.network_input(index), given, rng)
        return self.output.log_prob(features, index).flatten(1).sum(1)

    # -- element by element -----------------------------------------------------------------------------------------

    def walk(self, n: int, *, y: Values | None = None, along: StepsOf = Cached) -> RasterWalk:
        """The start of a pass over n pictures, in the order of ``cells.order``; y is required where the space has one.

        along  ``Cached``, or ``Recomputed`` for a whole pass of the network at every pixel.
        """
        given = self.given(y)
        if given is not None and len(given) != n:
            raise ValueError(f"y must hold a condition for each of {n} pictures; got {len(given)}")
        given = None if given is None else given.detach()
        return RasterWalk(self.cells, along(self.network, n, given), self.output.steps(), n)

    @torch.no_grad()
    def _drawn(
        self,
        noise: Tensor,
        y: Tensor | None,
        *,
        kept: tuple[Tensor, Tensor] | None = None,
        temperature: float = 1.0,
        along: StepsOf = Cached,
    ) -> tuple[Tensor, Tensor]:
        """Pictures for uniform numbers (n, size), and the log p, nats (n,), of their known elements given all before.

        kept  level indices and which of them are known, (n, size) each in the order of the walk; None knows nothing.
        """
        walk = self.walk(len(noise), y=y, along=along)
        weight = torch.zeros(len(noise), device=noise.device, dtype=self.cells.numbers.dtype)
        for t, u in enumerate(noise.T.contiguous()):
            log_probs = walk.log_probs()
            if temperature == 0:
                value = log_probs.argmax(1)
            else:
                value = quantile(log_probs if temperature == 1 else log_probs / temperature, u)
            if kept is not None:
                index, known = kept[0][:, t], kept[1][:, t]
                value = torch.where(known, index, value)
                weight = weight + torch.where(known, log_probs.gather(1, index[:, None])[:, 0], 0.0)
            walk.take(value)
        return walk.pictures(), weight

    def _noise(self, n: int, rng: Rng) -> Tensor:
        return rng.uniform((n, self.space.size), dtype=torch.float32, device=self.cells.numbers.device)

    def _draw(self, n: int, y: Tensor | None, rng: Rng, temperature: float, along: StepsOf) -> Tensor:
        if not temperature >= 0:
            raise ValueError(f"temperature must not be negative; got {temperature}")
        parts: list[Tensor] = []
        for first in range(0, max(n, 1), ROWS):
            noise = self._noise(min(ROWS, n - first), rng.rows(first))
            given = None if y is None else y[first : first + ROWS]
            parts.append(self._drawn(noise, given, temperature=temperature, along=along)[0])
        return torch.cat(parts)

    # -- what is partly known ---------------------------------------------------------------------------------------

    def _kept(self, x: Values, known: Values) -> tuple[Tensor, Tensor]:
        """Level indices and mask, (b, size) each in the order of the walk; unknown entries may hold anything."""
        values, mask = pick(x, self.name), pick(known, self.name)
        self._check(values)
        if mask.shape != values.shape or mask.dtype != torch.bool:
            raise ValueError(
                f"known must be a bool tensor like x, {tuple(values.shape)}; got {mask.dtype} {tuple(mask.shape)}"
            )
        first = self.space.only.value(0) if isinstance(self.space.only, Continuous) else 0
        values = torch.where(mask, values, torch.full_like(values, first))
        order = self.cells.order.to(values.device)
        return to_indices(self.space, values)[:, order], mask.flatten(1)[:, order]

    def _check(self, x: Tensor) -> None:
        shape = self.space.only.shape
        if x.ndim != 4 or tuple(x.shape[1:]) != shape:
            raise ValueError(f"x must hold pictures (b, {', '.join(map(str, shape))}); got {tuple(x.shape)}")

    def _weighted(self, kept: tuple[Tensor, Tensor], y: Tensor | None, rng: Rng, draws: int) -> tuple[Tensor, Tensor]:
        """Completions (draws, b, *event) and their log weights (draws, b): p(known) is their mean exponential."""
        if draws < 1:
            raise ValueError(f"completing needs at least one draw; got {draws}")
        found: list[tuple[Tensor, Tensor]] = []
        b = len(kept[0])
        for group in torch.arange(draws).split(max(1, ROWS // max(b, 1))):
            noise = torch.cat([self._noise(b, rng("draw", d)) for d in group.tolist()])
            repeated = (kept[0].repeat(len(group), 1), kept[1].repeat(len(group), 1))
            given = None if y is None else y.repeat(len(group), *[1] * (y.ndim - 1))
            x, weight = self._drawn(noise, given, kept=repeated)
            found.append((x.unflatten(0, (len(group), b)), weight.view(len(group), b)))
        return torch.cat([x for x, _ in found]), torch.cat([weight for _, weight in found])

    def _log_prob(self, x: Values, y: Tensor | None, known: Values | None, rng: Rng, k: int) -> Tensor:
        """log p(x | y), or of its known part, nats (b,)."""
        if known is None:
            values = pick(x, self.name)
            self._check(values)
            index = to_indices(self.space, x).view(values.shape)
            return self._score(self.cells.cut(index), self.given(y))
        kept = self._kept(x, known)
        _, weights = self._weighted(kept, y, rng, 1 if last(kept[1]) else k)
        return weights.logsumexp(0) - torch.tensor(float(len(weights))).log()

    def _likelihood(self, nats: Tensor, known: Values | None, k: int) -> LogLikelihood:
        mask = None if known is None else pick(known, self.name).flatten(1)[:, self.cells.order]
        exact = mask is None or last(mask)
        return LogLikelihood(
            nats=nats,
            kind="exact" if exact else "bound",
            measure=self.space.measure,
            count=elements(self.space, len(nats), known, None),
            method="" if exact else f"unknown pixels drawn in order, {k} times",
        )


class PixelCNN(Raster):
    """p(x) or p(x | y) p(y) of pictures, with y one of finitely many classes."""

    def __init__(self, config: PixelCNNConfig, space: Space, rng: Rng | int = 0) -> None:
        if isinstance(space.y, Space):
            raise ValueError("y is no class here; expected Classes or None: build(config, space) takes vectors too")
        super().__init__(config, space, 0 if space.y is None else len(space.y))
        self.classes: Classes | None = space.y
        self.marginal = LabelMarginal(space.y)
        initialise(self, Rng.of(rng)("weights"))

    def fit(self, data: Data) -> None:
        """Counts the labels."""
        self.marginal.fit(data)

    def given(self, y: Values | None) -> Tensor | None:
        """Labels int64 (b,) as one-hot (b, classes)."""
        # a model of data without classes leaves aside whatever labels a batch carries no space for
        return class_indicator(y, self.classes, self.cells.numbers.dtype)  # type: ignore[arg-type]

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted by ``fit``, each class once more than it was seen."""
        return self.marginal.log_prob()

    def sample(
        self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0, along: StepsOf = Cached
    ) -> Batch:
        """n pictures; y (n,) classes, None: drawn from their learned marginal.

        temperature  below 1 each element is likelier to take its likeliest value, at 0 it does.
        along        ``nets.causal_network.Recomputed`` draws the same in the time that naive sampling takes.
        """
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        return Batch(x=self._draw(n, y, rng("x"), temperature, along), y=y)

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
        k: int = 16,
    ) -> LogLikelihood:
        """log p(x | y), exact, nats (b,); without y the classes are summed out: log sum_y p(y) p(x | y).

        With ``known`` of the known part: exact where the unknown elements come after all known ones, in the order that
        pictures are drawn in. Otherwise a lower bound in expectation: they are drawn in that order, k times, and the
        known ones' probabilities averaged.
        """
        rng = Rng.of(rng)

        def score(label: Tensor | None) -> Tensor:
            return self._log_prob(x, label, known, rng, k)

        if self.classes is not None and y is None:
            nats = self.marginal.sum_out(score, len(pick(x, self.name)))
        else:
            nats = score(y)  # type: ignore[arg-type]
        return self._likelihood(nats, known, k)

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Tensor | None = None, rng: Rng | int, draws: int = 1) -> Batch:
        """Draws what is unknown given what is known (bool like x); without y the class is drawn along with it.

        Exact where all that is unknown comes after all that is known, in the order that pictures are drawn in.
        Elsewhere the unknown elements are drawn given everything before them, which does not heed what is known after
        them: not the conditional distribution. ``draws`` > 1 draws so many completions and keeps one with probability
        in proportion to that of the known elements under it (importance resampling): it tends to the conditional.
        """
        rng, kept = Rng.of(rng), self._kept(x, known)
        one = torch.ones(len(kept[0]), dtype=torch.int64, device=kept[0].device)
        drawn_too = self.classes is not None and y is None
        labels = [c * one for c in range(len(self.classes or ()))] if drawn_too else [y]
        found: list[Tensor] = []
        weights: list[Tensor] = []
        for number, label in enumerate(labels):
            pictures, weight = self._weighted(kept, label, rng("x", number) if drawn_too else rng("x"), draws)
            found.append(pictures)
            weights.append(weight + self.label_log_prob()[number].to(weight) if drawn_too else weight)
        chosen = rng("chosen").categorical(torch.cat(weights).T)
        y = chosen // draws if drawn_too else y
        return Batch(x=chosen_of_each(torch.cat(found), chosen), y=y)


class PixelCNNGiven(Raster):
    """p(x | y) of pictures given a vector y, such as an embedding (van den Oord et al. 2016, section 2.3)."""

    def __init__(self, config: PixelCNNConfig, space: Space, rng: Rng | int = 0) -> None:
        vector = space.y.only if isinstance(space.y, Space) else None
        if not isinstance(vector, Continuous) or len(vector.shape) != 1 or vector.varying:
            raise ValueError(f"y must be one vector of numbers; got {space.y}")
        super().__init__(config, space, vector.shape[0])
        self.vector = vector
        initialise(self, Rng.of(rng)("weights"))

    def given(self, y: Values | None) -> Tensor | None:
        """Vectors (b, d), standardised."""
        if y is None:
            raise ValueError(f"this model is conditional on vectors of {self.vector.shape[0]}; give y=, one a picture")
        values = y if isinstance(y, Tensor) else next(iter(y.values()))
        if values.shape[1:] != self.vector.shape:
            raise ValueError(f"y must hold vectors (b, {self.vector.shape[0]}); got {tuple(values.shape)}")
        return ((values - self.vector.centre) / self.vector.scale).to(self.cells.numbers.dtype)

    def sample_given(self, y: Values, *, rng: Rng | int, temperature: float = 1.0, along: StepsOf = Cached) -> Batch:
        """One picture for each vector; temperature and along as for ``PixelCNN.sample``."""
        rows = y if isinstance(y, Tensor) else next(iter(y.values()))
        return Batch(x=self._draw(len(rows), rows, Rng.of(rng)("x"), temperature, along), y=y)

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
        k: int = 16,
    ) -> LogLikelihood:
        """log p(x | y), nats (b,); known and k as for ``PixelCNN.log_likelihood``."""
        nats = self._log_prob(x, y, known, Rng.of(rng), k)  # type: ignore[arg-type]
        return self._likelihood(nats, known, k)

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Tensor | None = None, rng: Rng | int, draws: int = 1) -> Batch:
        """Draws what is unknown given what is known and y; draws as for ``PixelCNN.complete``."""
        rng, kept = Rng.of(rng), self._kept(x, known)
        found, weights = self._weighted(kept, y, rng("x"), draws)
        chosen = rng("chosen").categorical(weights.T)
        return Batch(x=chosen_of_each(found, chosen), y=y)


def build(config: PixelCNNConfig, space: Space, rng: Rng | int = 0) -> Raster:
    """The model for a space: ``PixelCNNGiven`` where y is a vector, ``PixelCNN`` otherwise."""
    return PixelCNNGiven(config, space, rng) if isinstance(space.y, Space) else PixelCNN(config, space, rng)
