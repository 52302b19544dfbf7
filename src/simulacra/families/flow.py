"""Normalizing flows of vectors: data is carried to N(0, I) by a bijection whose determinant is cheap.

    log p(x) = log N(f(x); 0, I) + log |det df/dx|                     (change of variables; Dinh et al. 2015, eq. 2)

and learning maximises it. f is a sequence of transforms, each a setting: couplings or autoregressive layers around an
additive, affine or spline map of single elements. The presets are NICE (Dinh et al. 2015), RealNVP (Dinh et al. 2017),
MAF (Papamakarios et al. 2017), IAF (Kingma et al. 2016) and neural spline flows (Durkan et al. 2019).

Likelihoods of real values are exact densities in the data's own units; values on levels are spread over their cells
(``nets.dequantise``), and theirs are lower bounds. A field with two ends passes through a logit, one with a single end
through the inverse of a softplus, so that no density lies outside the range.

Categories are spread like levels, in an order that means nothing: it learns tables, others learn them better.

What it cannot do: examples with gaps or of varying length; and a bijection keeps the topology of R^d, so that modes far
apart stay joined by thin bridges. Its networks are dense: pictures have flows of their own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.nets.autoregressive import Autoregressive
from simulacra.nets.coupling import Coupling
from simulacra.nets.dequantise import Reals
from simulacra.nets.embeddings import Embed, class_indicator
from simulacra.nets.initialise import initialise
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.transforms import Additive, Affine, Composed, Inverted, LULinear, Reverse, Spline, Transform

LOG_TWO_PI = math.log(2 * math.pi)


def nice(layers: int = 5, hidden: tuple[int, ...] = (128, 128)) -> tuple[Transform, ...]:
    """NICE (Dinh et al. 2015): additive couplings, then a scale for each dimension (here a triangular matrix)."""
    return (*_alternating(Coupling(univariate=Additive(), hidden=hidden), layers), LULinear())


def realnvp(layers: int = 5, hidden: tuple[int, ...] = (128, 128)) -> tuple[Transform, ...]:
    """RealNVP (Dinh et al. 2017): affine couplings."""
    return _alternating(Coupling(univariate=Affine(), hidden=hidden), layers)


def maf(layers: int = 5, hidden: tuple[int, ...] = (128, 128)) -> tuple[Transform, ...]:
    """Masked autoregressive flow (Papamakarios et al. 2017): fast to learn and to score, slower to draw from."""
    return _alternating(Autoregressive(univariate=Affine(), hidden=hidden), layers)


def iaf(layers: int = 5, hidden: tuple[int, ...] = (128, 128)) -> tuple[Transform, ...]:
    """Inverse autoregressive flow (Kingma et al. 2016): fast to draw from, slow to learn and to score."""
    return _alternating(Inverted(transform=Autoregressive(univariate=Affine(), hidden=hidden)), layers)


def nsf_coupling(layers: int = 5, hidden: tuple[int, ...] = (128, 128), bins: int = 8) -> tuple[Transform, ...]:
    """Neural spline flow of couplings (Durkan et al. 2019): fast both ways."""
    return _alternating(Coupling(univariate=Spline(bins=bins), hidden=hidden), layers)


def nsf_autoregressive(layers: int = 5, hidden: tuple[int, ...] = (128, 128), bins: int = 8) -> tuple[Transform, ...]:
    """Neural spline flow of autoregressive layers (Durkan et al. 2019): the closest fit, slower to draw from."""
    return _alternating(Autoregressive(univariate=Spline(bins=bins), hidden=hidden), layers)


def _alternating(layer: Transform, layers: int) -> tuple[Transform, ...]:
    """A layer so many times, the dimensions reversed between two of them."""
    if layers < 1:
        raise ValueError(f"a flow needs at least one layer; got {layers}")
    return (*[t for _ in range(layers - 1) for t in (layer, Reverse())], layer)


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """A normalizing flow.

    transforms  from data to noise: what a preset returns (``nsf_coupling(layers=5)`` ...), or any sequence of
                ``nets.transforms``, ``Coupling`` and ``Autoregressive``.
    """

    transforms: tuple[Transform, ...] = field(default_factory=nsf_coupling)
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.7)))

    def __post_init__(self) -> None:
        if not self.transforms:
            raise ValueError("a flow needs at least one transform; got none, e.g. transforms=nsf_coupling()")


class Density(nn.Module, ABC):
    """A flow given a context: everything but what the context is, and what a caller may leave out of it."""

    def __init__(self, config: FlowConfig, space: Space, given: int) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.reals = Reals(space, "a flow")
        self.dims = math.prod(self.reals.event)
        self.bijection = Composed([t.build(self.dims, given) for t in config.transforms])
        self.latent = Space(
            fields={"z": Continuous(low=-math.inf, high=math.inf, shape=(self.dims,))}, measure="latent codes"
        )

    @abstractmethod
    def context(self, y: Values | None, length: Tensor | None = None) -> Tensor | None:
        """Conditions as the bijection takes them, (b, c); None where there are none to give."""

    # -- learning ---------------------------------------------------------------------------------------------------

    def players(self) -> Mapping[str, Player]:
        return {"flow": Player(module=self, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="flow", player="flow", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """Minus log p(x | y), nats."""
        y = None if self.space.y is None else batch.y
        return Loss.of(-self.log_density(batch.x, self.context(y, batch.y_length), rng))

    def log_density(self, x: Values, given: Tensor | None, rng: Rng) -> Tensor:
        """log p(x | given), nats (b,), x on levels spread over its cells: then in expectation a lower bound."""
        spread, added = self.reals.spread(x, rng("dequantise"))
        z, log_det = self._forth(spread, given)
        return log_det + added - 0.5 * (z.square().sum(0) + self.dims * LOG_TWO_PI)

    def _forth(self, x: Values, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """Values, spread or real -> z, features first (d, b), and log |det dz/dx|, nats (b,)."""
        u, slope = self.reals.inward(x)
        z, log_det = self.bijection(u.flatten(1).t().contiguous(), None if given is None else given.t())
        return z, log_det + slope

    def _back(self, z: Tensor, given: Tensor | None) -> Tensor:
        """z (b, d) -> u (b, *event), which ``reals`` takes to values."""
        u, _ = self.bijection.inverse(z.t().contiguous(), None if given is None else given.t())
        return u.t().reshape(-1, *self.reals.event)

    # -- drawing and scoring, for those who have the context ----------------------------------------------------------

    def draw(self, n: int, given: Tensor | None, rng: Rng, temperature: float) -> Values:
        """n examples on their levels, from noise N(0, temperature^2 I)."""
        like = next(self.parameters())
        z = temperature * rng("z").normal((n, self.dims), dtype=like.dtype, device=like.device)
        return self.reals.decoded(self._back(z, given))

    def scored(self, nats: Tensor) -> LogLikelihood:
        """The log-likelihoods of whole examples, as what they are."""
        return LogLikelihood(
            nats=nats,
            kind=self.reals.kind,
            measure=self.space.measure,
            count=float(self.space.size),
            method="uniform dequantisation, 1 draw" if self.reals.levels else "change of variables",
        )

    def check(self, x: Values, known: Values | None) -> None:
        """Raise ValueError where x is not whole examples of the space."""
        self.reals.check(x)
        masks = list(known.values()) if isinstance(known, Mapping) else [] if known is None else [known]
        if not all(bool(mask.all()) for mask in masks):
            raise ValueError("a flow scores whole examples; got known with gaps, impute them first")

    # -- codes ------------------------------------------------------------------------------------------------------

    def to_latent(self, x: Values, *, y: Values | None = None) -> tuple[Tensor, Tensor]:
        """x -> z (b, d), N(0, I) under the model, and log |det dz/dx|, nats (b,); values on levels as they are."""
        z, log_det = self._forth(x, self.context(y))
        return z.t(), log_det

    def from_latent(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The inverse: z (b, d) -> values that are not rounded to levels; differentiable."""
        return self.reals.outward(self._back(z, self.context(y)))

    def encode(self, x: Values, *, y: Values | None = None) -> Tensor:
        """z (b, d) of examples; of values on levels, of the middle of their cells."""
        return self.to_latent(x, y=y)[0]

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """The example that each code stands for, inside its range and not rounded to levels; differentiable."""
        return self.reals.inside(self.from_latent(z, y=y))


class Flow(Density):
    """A flow of the examples of a space, conditional on the class where it has classes."""

    def __init__(self, config: FlowConfig, space: Space, rng: Rng | int = 0) -> None:
        if isinstance(space.y, Space):
            raise ValueError("a Flow is conditional on classes only; use ConditionalFlow for a y that is a space")
        super().__init__(config, space, 0 if space.y is None else len(space.y))
        self.classes: Classes | None = space.y
        self.labels = LabelMarginal(self.classes)
        initialise(self, Rng.of(rng)("weights"))

    def context(self, y: Values | None, length: Tensor | None = None) -> Tensor | None:
        return class_indicator(y, self.classes, next(self.parameters()).dtype)  # type: ignore[arg-type]

    def fit(self, data: Data) -> None:
        """Learn the labels' marginal."""
        self.labels.fit(data)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted by ``fit``, each class once more than it was seen."""
        return self.labels.log_prob()

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        temperature  standard deviation of the noise; below 1 more typical and less varied.
        """
        rng = Rng.of(rng)
        y = self.labels.draw(n, rng("y")) if y is None else y
        return Batch(x=self.draw(n, self.context(y), rng, temperature), y=y)

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
    ) -> LogLikelihood:
        """log p(x | y), or with y None log p(x), the classes summed out; nats (b,).

        Exact for real values, a lower bound (with one draw from ``rng``) where there are levels.
        Raises ValueError for examples that are not of the space, or not whole.
        """
        self.check(x, known)
        rng = Rng.of(rng)
        score = lambda y: self.log_density(x, self.context(y), rng)  # noqa: E731
        sum_out = self.classes is not None and y is None
        return self.scored(self.labels.sum_out(score, rows(x)) if sum_out else score(y))


class ConditionalFlow(Density):
    """A flow of x given a y that is an example of another space: a density p(x | y), no model of y."""

    def __init__(self, config: FlowConfig, space: Space, rng: Rng | int = 0) -> None:
        if not isinstance(space.y, Space):
            raise ValueError("a ConditionalFlow needs a space whose y is a Space; use Flow for classes or no y")
        embed = Embed(space.y)
        super().__init__(config, space, math.prod(embed.shape))
        self.embed = embed
        initialise(self, Rng.of(rng)("weights"))

    def context(self, y: Values | None, length: Tensor | None = None) -> Tensor:
        if y is None:
            raise ValueError("this model is conditional on another space; give y=, a condition for each example")
        return self.embed(y, None, length).flatten(1)

    @torch.no_grad()
    def sample_given(
        self, y: Values, *, rng: Rng | int, y_length: Tensor | None = None, temperature: float = 1.0
    ) -> Batch:
        """One example for each condition."""
        x = self.draw(rows(y), self.context(y, y_length), Rng.of(rng), temperature)
        return Batch(x=x, y=y, y_length=y_length)

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
        y_length: Tensor | None = None,
    ) -> LogLikelihood:
        """log p(x | y), nats (b,), exact or a bound as for ``Flow``; ValueError without y."""
        self.check(x, known)
        return self.scored(self.log_density(x, self.context(y, y_length), Rng.of(rng)))


def flow(config: FlowConfig, space: Space, rng: Rng | int = 0) -> Flow | ConditionalFlow:
    """The flow that a space asks for: given classes or nothing, or given another space."""
    return ConditionalFlow(config, space, rng) if isinstance(space.y, Space) else Flow(config, space, rng)
