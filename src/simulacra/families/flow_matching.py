"""Flow matching: a velocity that carries noise to data along lines as straight as they can be had.

Rectified flow (Liu et al. 2023, "Flow straight and fast"), flow matching (Lipman et al. 2023), OT-CFM (Tong et al.
2024). With pairs of an example x_0 and noise n, and x_t = (1 - t) x_0 + t n,

    E_{(x_0, n), t} |v(x_t, t) - (n - x_0)|^2                                                     (Liu et al., eq. 1)

is least for the velocity whose flow carries N(0, I) at t = 1 to the data at t = 0. Which noise goes with which example
is a function passed in (``mathematics.couplings``). With independent pairs this is diffusion along the straight path;
with others it is a flow and no diffusion: it has no denoiser and no bound, but an estimate of log p.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.couplings import Coupling, independent
from simulacra.mathematics.flow_likelihood import Trace, hutchinson
from simulacra.mathematics.guidance import guided
from simulacra.mathematics.preconditioning import quantile
from simulacra.mathematics.velocity import Integrator, Velocity, even_times, log_prob, midpoint, runge_kutta
from simulacra.nets.continuum import Continuum
from simulacra.nets.denoisers import Backbone, ByShape
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.guides import check_guide
from simulacra.nets.initialise import initialise
from simulacra.nets.magnitude_preserving import settle
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.noisy import Reconstruction
from simulacra.nets.preconditioned import copy_part

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
    drawn of the other flow, at every step anew; of the data itself only labels are used. ``learn_from`` says of which.

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
                part of it that a process sees), for straighter lines; or ``Reflow()``, for still straighter ones.
    times       at which times it learns: ``logit_normal`` or ``uniform``.
    unlabelled  share of the labels that training leaves out; 0 where sampling is never guided.
    """

    backbone: Backbone = field(default_factory=ByShape)
    coupling: Coupling | Reflow = independent
    times: Times = logit_normal
    unlabelled: float = 0.1
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"unlabelled is a share in [0, 1); got {self.unlabelled}")


class FlowMatching(nn.Module):
    """A velocity of examples of any continuous kind; conditional on the class where the space has classes."""

    def __init__(self, config: FlowMatchingConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError(
                "flow matching is conditional on classes only; expected a space whose y is Classes or None"
            )
        self.config, self.space, self.classes = config, space, space.y
        self.continuum = Continuum.of(space, "flow matching")
        event = self.continuum.event
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=event)}, measure="latent codes")
        self.reconstruction = Reconstruction(self.continuum)
        self.marginal = LabelMarginal(self.classes)
        build = lambda: config.backbone.build(event, 0, 0 if self.classes is None else len(self.classes))  # noqa: E731
        self.network = build()
        self.teacher = build().requires_grad_(False) if isinstance(config.coupling, Reflow) else None
        for name, network in (("weights", self.network), ("teacher", self.teacher)):
            if network is not None:
                initialise(network, Rng.of(rng)(name))

    # -- learning ---------------------------------------------------------------------------------------------------

    def learn_from(self, weights: Mapping[str, Tensor]) -> None:
        """Begin as another flow of the same backbone: its tensors, by name. With ``Reflow`` it is followed, too.

        ValueError for the weights of another network.
        """
        for network in (self.network, self.teacher):
            if network is not None:
                copy_part(network, weights, "network.", "the other flow")

    def fit(self, data: Data) -> None:
        """Learn the labels' marginal."""
        self.marginal.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"velocity": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="velocity", player="velocity", loss=self.loss, after=self._after)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The squared error of the velocity, a mean over its elements."""
        clean, y = self.continuum.inward(batch.x), batch.y if self.classes is not None else None
        noise = rng("noise").normal(clean.shape, dtype=clean.dtype, device=clean.device)
        if isinstance(self.config.coupling, Reflow):
            clean = self._carried(self.config.coupling, noise, y)
        else:
            noise = self.config.coupling(clean, noise, y if isinstance(y, Tensor) else None)
        share = rng("time").uniform((len(clean),), dtype=torch.float32, device=clean.device)
        t = self.config.times(share).to(clean.dtype)
        given = self._given(y)
        if given is not None and self.config.unlabelled:
            kept = rng("unlabelled").uniform((len(clean),), device=clean.device) >= self.config.unlabelled
            given = given * kept[:, None]
        wide = t.reshape(-1, *[1] * (clean.ndim - 1))
        missed = self._velocity((1 - wide) * clean + wide * noise, t, given) - (noise - clean)
        return Loss.of(missed.square().flatten(1).mean(1))

    @torch.no_grad()
    def _carried(self, reflow: Reflow, noise: Tensor, y: Values | None) -> Tensor:
        """What the other flow makes of noise, (b, *event)."""
        assert self.teacher is not None
        return reflow.integrator(self._field(y, reflow.guidance, self.teacher), noise, even_times(reflow.steps))

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        settle(self.network)

    # -- the velocity -----------------------------------------------------------------------------------------------

    def _given(self, y: Values | None) -> Tensor | None:
        weight = next(self.network.parameters())
        return class_indicator(y, self.classes, weight.dtype)  # type: ignore[arg-type]

    def _velocity(self, x: Tensor, t: Tensor, given: Tensor | None, network: nn.Module | None = None) -> Tensor:
        """v in standard units, of this model's network unless another is given: x (b, *event), t (b,); like x."""
        network = network or self.network
        weight = next(network.parameters())
        return network(x.to(weight.dtype), t.to(weight.dtype), None, given).to(x.dtype)

    def _field(self, y: Values | None, guidance: float = 1.0, network: nn.Module | None = None) -> Velocity:
        """v for these labels, pushed away from v without them where guidance is not 1 (Ho & Salimans 2022)."""
        given = self._given(y)

        def with_labels(x: Tensor, t: Tensor) -> Tensor:
            return self._velocity(x, t, given, network)

        if given is None:
            return with_labels
        nothing = torch.zeros_like(given)
        return guided(with_labels, lambda x, t: self._velocity(x, t, nothing, network), guidance)

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        steps: int = 16,
        guidance: float = 1.0,
        guide: FlowMatching | None = None,
        integrator: Integrator = midpoint,
    ) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        steps     evenly spaced; ``midpoint`` looks twice a step, ``euler`` once.
        guidance  1 samples p(x | y); more pushes away from p(x).
        guide     a weaker model of the same examples that is pushed away from in the place of p(x) (autoguidance).
        """
        rng, weight = Rng.of(rng), next(self.network.parameters())
        if self.classes is not None and y is None:
            y = self.marginal.draw(n, rng("y"))
        elif y is not None:
            self._given(y)
        parts: list[Tensor] = []
        for first in range(0, max(n, 1), ROWS):
            shape = (min(ROWS, n - first), *self.continuum.event)
            z = rng("z").rows(first).normal(shape, dtype=weight.dtype, device=weight.device)
            labels = None if y is None else y[first : first + ROWS].to(weight.device)
            velocity = self._field(labels, guidance) if guide is None else self._guided_by(guide, labels, guidance)
            parts.append(integrator(velocity, z, even_times(steps)))
        return Batch(x=self.continuum.decoded(torch.cat(parts)), y=y)

    def _guided_by(self, guide: FlowMatching, y: Values | None, weight: float) -> Velocity:
        """v pushed away from another model's, on the same path from noise to data."""
        check_guide(self, guide)
        if guide.config.coupling != self.config.coupling:
            raise ValueError(
                "the guide pairs noise and examples otherwise, so it knows another path; expected the same"
            )
        return guided(self._field(y), guide._field(None if guide.classes is None else y), weight)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

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

        def score(labels: Values | None) -> Tensor:
            nats = log_prob(self._field(labels), spread, steps=steps, trace=trace, rng=rng("trace"), last=NEAREST)
            return (nats + added).to(u.dtype)

        nats = self.marginal.sum_out(score, rows(x)) if self.classes is not None and y is None else score(y)
        return LogLikelihood(
            nats=nats, kind="estimate", measure=self.space.measure, count=float(self.space.size),
            method=f"flow, {steps} steps, trace by {trace.__name__}",
        )  # fmt: skip
