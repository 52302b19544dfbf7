"""Flow matching: a velocity that carries noise to data along lines as straight as they can be had.

Rectified flow (Liu et al. 2023, "Flow straight and fast"), flow matching (Lipman et al. 2023), OT-CFM (Tong et al.
2024). With pairs of an example x_0 and noise n, and x_t = (1 - t) x_0 + t n,

    E_{(x_0, n), t} |v(x_t, t) - (n - x_0)|^2                                                     (Liu et al., eq. 1)

is least for the velocity whose flow carries N(0, I) at t = 1 to the data at t = 0. Which noise goes with which example
is a function passed in (``mathematics.couplings``). With independent pairs this is diffusion along the straight path;
with others it is a flow and no diffusion: it has no denoiser and no bound, but an estimate of log p. Conditional on
whatever y is, as diffusion is: ``FlowMatching`` on a class or nothing, ``FlowMatchingGiven`` on another space.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.couplings import Coupling, independent
from simulacra.mathematics.flow_likelihood import Trace, hutchinson
from simulacra.mathematics.guidance import guided
from simulacra.mathematics.preconditioning import quantile
from simulacra.mathematics.velocity import Integrator, Velocity, even_times, log_prob, midpoint, runge_kutta
from simulacra.nets.conditions import Told, condition, in_parts, steered
from simulacra.nets.continuum import Continuum
from simulacra.nets.denoisers import Backbone, ByShape
from simulacra.nets.guides import check_guide
from simulacra.nets.initialise import initialise
from simulacra.nets.magnitude_preserving import settle
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.noisy import Reconstruction
from simulacra.nets.preconditioned import copy_part
from simulacra.nets.text_encoder import Convolved, TextEncoder

ROWS = 256  # examples drawn at a time
NEAREST = 1e-3  # the time at which log p is taken: at 0 levels have no density to learn

Times = Callable[[Tensor], Tensor]  # uniform shares in [0, 1) -> the times to learn at, in (0, 1)


def uniform(share: Tensor) -> Tensor:
    """Every time as often (Liu et al. 2023; Lipman et al. 2023)."""
    return share


def logit_normal(share: Tensor) -> Tensor:
    """log t / (1 - t) ~ N(0, 1): the middle oftener, where it is hardest (Esser et al. 2024, section 3.1)."""
    return torch.sigmoid(quantile(share))


@dataclass(frozen=True, kw_only=True)
class Reflow:
    """Noise goes with what the flow of another model makes of it: Liu et al. 2023, section 2.2 (rectification).

    Such pairs' lines hardly cross, so that a flow that learns them runs nearly straight, and few steps do. Examples are
    drawn of the other flow, at every step anew; of the data itself only y is used. ``learn_from`` says of which flow.

    integrator, steps  how the other flow is followed; ``midpoint`` looks twice a step.
    guidance           1 follows it to p(x | y); more follows one that is pushed away from p(x).
    """

    integrator: Integrator = midpoint
    steps: int = 8
    guidance: float = 1.0

    def __post_init__(self) -> None:
        even_times(self.steps)


@dataclass(frozen=True, kw_only=True)
class FlowMatchingConfig:
    """A flow between noise and data.

    backbone    the network (``nets.denoisers``).
    coupling    which noise goes with which example: ``independent``, or ``optimal_transport`` within the batch (the
                part of it that a process sees) and among examples of equal y, for straighter lines;
                or ``Reflow()``, for still straighter ones.
    times       at which times it learns: ``logit_normal`` or ``uniform``.
    unlabelled  share of the conditions that training leaves out; 0 where sampling is never guided.
    text        what reads a condition that is a sequence (``nets.text_encoder``).
    """

    backbone: Backbone = field(default_factory=ByShape)
    coupling: Coupling | Reflow = independent
    times: Times = logit_normal
    unlabelled: float = 0.1
    text: TextEncoder = field(default_factory=Convolved)
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"unlabelled is a share in [0, 1); got {self.unlabelled}")


class Other(nn.Module):
    """The network of another flow, and what it is told of y; neither learns."""

    def __init__(self, config: FlowMatchingConfig, y: Classes | Space | None, event: tuple[int, ...]) -> None:
        super().__init__()
        self.condition = condition(y, event, config.text)
        self.network = config.backbone.build(event, self.condition.beside, self.condition.given)
        self.requires_grad_(False)


class Flowing(nn.Module, ABC):
    """A velocity of examples of any continuous kind, told of y: what these models have in common, whatever y is."""

    def __init__(self, config: FlowMatchingConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.continuum = Continuum.of(space, "flow matching")
        event = self.continuum.event
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=event)}, measure="latent codes")
        self.reconstruction = Reconstruction(self.continuum)
        self.condition = condition(space.y, event, config.text)
        self.network = config.backbone.build(event, self.condition.beside, self.condition.given)
        initialise(self.network, Rng.of(rng)("weights"))
        initialise(self.condition, Rng.of(rng)("condition"))
        self.teacher = Other(config, space.y, event) if isinstance(config.coupling, Reflow) else None
        if self.teacher is not None:
            initialise(self.teacher, Rng.of(rng)("teacher"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def learn_from(self, weights: Mapping[str, Tensor]) -> None:
        """Begin as another flow of the same backbone: its tensors, by name. With ``Reflow`` it is followed, too.

        ValueError for the weights of another network.
        """
        for model in (self, self.teacher):
            if model is not None:
                copy_part(model.network, weights, "network.", "the other flow")
                copy_part(model.condition, weights, "condition.", "the other flow")

    def players(self) -> Mapping[str, Player]:
        learning = nn.ModuleList([self.network, self.condition])
        return {"velocity": Player(module=learning, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="velocity", player="velocity", loss=self.loss, after=self._after)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The squared error of the velocity, a mean over its elements."""
        clean, y = self.continuum.inward(batch.x), batch.y if self.space.y is not None else None
        noise = rng("noise").normal(clean.shape, dtype=clean.dtype, device=clean.device)
        if isinstance(self.config.coupling, Reflow):
            clean = self._carried(self.config.coupling, noise, y, batch.y_length)
        else:
            noise = self.config.coupling(clean, noise, self.condition.alike(y))
        share = rng("time").uniform((len(clean),), dtype=torch.float32, device=clean.device)
        t = self.config.times(share).to(clean.dtype)
        told = self.condition(y, batch.y_length).left_out(self.config.unlabelled, rng("unlabelled"))
        wide = t.reshape(-1, *[1] * (clean.ndim - 1))
        missed = self._velocity((1 - wide) * clean + wide * noise, t, told) - (noise - clean)
        return Loss.of(missed.square().flatten(1).mean(1))

    @torch.no_grad()
    def _carried(self, reflow: Reflow, noise: Tensor, y: Values | None, length: Tensor | None = None) -> Tensor:
        """What the other flow makes of noise, (b, *event)."""
        assert self.teacher is not None
        network, told = self.teacher.network, self.teacher.condition(y, length)
        velocity = steered(lambda x, t, told: _look(network, x, t, told), told, reflow.guidance)
        return reflow.integrator(velocity, noise, even_times(reflow.steps))

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        settle(self.network)

    # -- the velocity -----------------------------------------------------------------------------------------------

    def _velocity(self, x: Tensor, t: Tensor, told: Told) -> Tensor:
        """v in standard units: x (b, *event), t (b,); the answer in x's own type."""
        return _look(self.network, x, t, told)

    def _field(self, y: Values | None, guidance: float = 1.0, *, length: Tensor | None = None) -> Velocity:
        """v for these conditions, pushed away from v without them where guidance is not 1 (Ho & Salimans 2022)."""
        return steered(self._velocity, self.condition(y, length), guidance)

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _drawn(
        self,
        n: int,
        y: Values | None,
        rng: Rng,
        integrator: Integrator,
        *,
        steps: int,
        guidance: float,
        length: Tensor | None = None,
        guide: nn.Module | None = None,
    ) -> Values:
        other = None if guide is None else self._checked(guide)
        if other is None:
            self.condition.check_guidance(guidance, self.config.unlabelled)
        weight = next(self.network.parameters())
        parts: list[Tensor] = []
        for count, some_y, some_lengths, some in in_parts(n, ROWS, y, length, rng, weight.device):
            shape = (count, *self.continuum.event)
            z = some("z").normal(shape, dtype=weight.dtype, device=weight.device)
            velocity = self._field(some_y, guidance if other is None else 1.0, length=some_lengths)
            if other is not None:
                weak = other._field(None if other.space.y is None else some_y, length=some_lengths)
                velocity = guided(velocity, weak, guidance)
            parts.append(integrator(velocity, z, even_times(steps)))
        return self.continuum.decoded(torch.cat(parts))

    def _checked(self, guide: nn.Module) -> Flowing:
        """A guide, known to be of the same examples on the same path from noise; ValueError for another."""
        check_guide(self, guide, Flowing, "flow matching model")
        assert isinstance(guide, Flowing)
        if guide.config.coupling != self.config.coupling:
            raise ValueError("the guide pairs noise and examples otherwise: it knows another path; expected the same")
        return guide

    # -- codes ------------------------------------------------------------------------------------------------------

    def encode(self, x: Values, *, y: Values | None = None, steps: int = 32) -> Tensor:
        """The noise that the flow, run backwards, turns these examples into, (b, *event)."""
        u = self.continuum.inward(x)
        return runge_kutta(self._field(y), u, even_times(steps, first=0.0, last=1.0))

    def decode(self, z: Tensor, *, y: Values | None = None, steps: int = 32) -> Values:
        """z (b, *event) -> examples by the flow, differentiably and not rounded."""
        found = runge_kutta(self._field(y), z, even_times(steps))
        return self.continuum.inside(self.continuum.outward(found))

    # -- scoring ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def _over_y(self, score: Callable[[Values | None], Tensor], y: Values | None, n: int) -> Tensor:
        """The score of n examples given y, nats (n,), or what stands for it where there is no y."""

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
        steps: int = 32,
        trace: Trace = hutchinson,
    ) -> LogLikelihood:
        """An estimate of log p(x), or log p(x | y), by the flow (Chen et al. 2018, eq. 8); nats (b,).

        Levels are spread evenly over their cells. A class-conditional model without y sums over the classes.
        Raises ValueError for steps below 1, and for examples of which parts are unknown.
        """
        if known is not None and not bool(self.continuum.flags(known).all()):
            raise ValueError("flow matching scores whole examples; got known with gaps, impute them first")
        rng, u = Rng.of(rng), self.continuum.inward(x)
        spread, added = self.reconstruction.spread(u.double(), rng("cell"))

        def score(y: Values | None) -> Tensor:
            nats = log_prob(self._field(y), spread, steps=steps, trace=trace, rng=rng("trace"), last=NEAREST)
            return (nats + added).to(u.dtype)

        return LogLikelihood(
            nats=self._over_y(score, y, rows(x)), kind="estimate", measure=self.space.measure,
            count=float(self.space.size), method=f"flow, {steps} steps, trace by {trace.__name__}",
        )  # fmt: skip


class FlowMatching(Flowing):
    """p(x), or p(x | y) p(y) with y one of finitely many classes."""

    def __init__(self, config: FlowMatchingConfig, space: Space, *, rng: Rng | int = 0) -> None:
        if isinstance(space.y, Space):
            raise ValueError("y is no class here; expected Classes or None: build(config, space) takes any y")
        super().__init__(config, space, rng=rng)
        self.marginal = LabelMarginal(space.y)

    def fit(self, data: Data) -> None:
        """Learn the labels' marginal."""
        self.marginal.fit(data)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

    def sample(
        self,
        n: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        steps: int = 16,
        guidance: float = 1.0,
        guide: nn.Module | None = None,
        integrator: Integrator = midpoint,
    ) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        steps     evenly spaced; ``midpoint`` looks twice a step, ``euler`` once.
        guidance  1 samples p(x | y); more pushes away from p(x).
        guide     a weaker model of the same examples, pushed away from in the place of p(x) (autoguidance).
        """
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        return Batch(x=self._drawn(n, y, rng, integrator, steps=steps, guidance=guidance, guide=guide), y=y)

    def _over_y(self, score: Callable[[Values | None], Tensor], y: Values | None, n: int) -> Tensor:
        return self.marginal.sum_out(score, n) if self.marginal.classes and y is None else score(y)


class FlowMatchingGiven(Flowing):
    """p(x | y) with y an example of another space: a caption, a picture, a vector. It knows no p(y)."""

    def __init__(self, config: FlowMatchingConfig, space: Space, *, rng: Rng | int = 0) -> None:
        if not isinstance(space.y, Space):
            raise ValueError("there is no y to be given; expected a space whose y is a Space: build takes any y")
        super().__init__(config, space, rng=rng)

    def sample_given(
        self,
        y: Values,
        *,
        rng: Rng | int,
        y_length: Tensor | None = None,
        steps: int = 16,
        guidance: float = 1.0,
        integrator: Integrator = midpoint,
    ) -> Batch:
        """One example for each condition; steps, guidance and integrator as for ``FlowMatching.sample``."""
        x = self._drawn(rows(y), y, Rng.of(rng), integrator, steps=steps, guidance=guidance, length=y_length)
        return Batch(x=x, y=y, y_length=y_length)

    def _over_y(self, score: Callable[[Values | None], Tensor], y: Values | None, n: int) -> Tensor:
        return score(y)


def _look(network: nn.Module, x: Tensor, t: Tensor, told: Told) -> Tensor:
    weight = next(network.parameters())
    return network(x.to(weight.dtype), t.to(weight.dtype), told.beside, told.given).to(x.dtype)


def build(config: FlowMatchingConfig, space: Space, *, rng: Rng | int = 0) -> FlowMatching | FlowMatchingGiven:
    """The model for a space: ``FlowMatchingGiven`` where y is a space, ``FlowMatching`` otherwise."""
    return (FlowMatchingGiven if isinstance(space.y, Space) else FlowMatching)(config, space, rng=rng)
