"""Diffusion models: a network that takes noise of any strength out of examples, and so can make them from noise.

Sohl-Dickstein et al. 2015; Ho et al. 2020; Song et al. 2021; in the form of Karras et al. 2022 ("Elucidating the design
space of diffusion-based generative models"): a denoiser D(x, s) ~ E[x_0 | x = x_0 + s n], trained by

    E_{x_0, s, n} weight(s) |D(x_0 + s n, s) - x_0|^2                                                     (eq. 2-3, 8)

Which path the noise comes along, what the network predicts and how its errors are weighted are functions passed in
(``mathematics.preconditioning``); every solver (``mathematics.solvers``) is a function of D. ``fit`` learns the labels'
shares and the data's standard deviation.

Conditional on whatever y is (``nets.conditions``): ``Diffusion`` on a class or nothing, ``DiffusionGiven`` on a y that
is itself an example: a caption, a picture, a vector. y is left out at times, so that sampling can be guided.

What it cannot do: sample in one step, and exact likelihoods: it has a lower bound (Kingma et al. 2021) and, by the
probability flow, an estimate.
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
from simulacra.core.space import Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.flow_likelihood import Trace, hutchinson
from simulacra.mathematics.guidance import guided
from simulacra.mathematics.preconditioning import Levels, LogNormal, Preconditioning, Weighting, edm, uniform_edm
from simulacra.mathematics.repaint import repaint
from simulacra.mathematics.solvers import Denoise, Solver, dpm_solver_2m, heun, karras
from simulacra.nets.chains import merged
from simulacra.nets.conditions import Told, condition, in_parts, steered
from simulacra.nets.continuum import Continuum
from simulacra.nets.denoisers import Backbone, ByShape
from simulacra.nets.guides import check_guide
from simulacra.nets.initialise import initialise
from simulacra.nets.magnitude_preserving import settle
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.noisy import Reconstruction, flow_estimate, variational_bound
from simulacra.nets.text_encoder import Convolved, TextEncoder

ROWS = 256  # examples drawn or completed at a time
MEASURED = 4096  # examples that the data's standard deviation is taken from


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """A diffusion model. Noise levels are in units of the space's own scale (``Continuum``).

    backbone         the network (``nets.denoisers``).
    preconditioning  what it is shown and asked for: ``edm``, ``epsilon``, ``v``, ``clean``, ``velocity``.
    weighting        what errors count at each level: ``uniform_edm``, ``uniform_epsilon``, ``min_snr`` ...
    levels           at which noise levels it learns: ``LogNormal()``, ``AlongPath(path=Cosine())``.
    low, high        the levels that sampling ends and starts at.
    unlabelled       share of the conditions that training leaves out; 0 where sampling is never guided.
    text             what reads a condition that is a sequence (``nets.text_encoder``).
    """

    backbone: Backbone = field(default_factory=ByShape)
    preconditioning: Preconditioning = edm
    weighting: Weighting = uniform_edm
    levels: Levels = field(default_factory=LogNormal)
    low: float = 0.002  # Karras et al. 2022, table 1
    high: float = 80.0
    unlabelled: float = 0.1
    text: TextEncoder = field(default_factory=Convolved)
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"low must lie in (0, high); got {self.low} and {self.high}")
        if math.isinf(self.high):
            raise ValueError(
                "high must be finite: at an infinite level nothing of the data is left (zero terminal signal-to-noise"
                " ratio), where noise says nothing of the example it hides; take 80 or so"
            )
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"unlabelled is a share in [0, 1); got {self.unlabelled}")


class Denoising(nn.Module, ABC):
    """A denoiser of examples of any continuous kind, told of y: what diffusion models have in common, whatever y is."""

    deviation: Tensor

    def __init__(self, config: DiffusionConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.continuum = Continuum.of(space, "diffusion")
        event = self.continuum.event
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=event)}, measure="latent codes")
        self.reconstruction = Reconstruction(self.continuum)
        self.condition = condition(space.y, event, config.text)
        self.network = config.backbone.build(event, self.condition.beside, self.condition.given)
        self.register_buffer("deviation", torch.ones(()))
        initialise(self.network, Rng.of(rng)("weights"))
        initialise(self.condition, Rng.of(rng)("condition"))

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Learns the standard deviation of the data about 0."""
        index = torch.arange(min(len(data), MEASURED))
        seen = self.continuum.inward(data.batch(index, Rng(0, ("deviation",))).x)
        self.deviation.copy_(seen.double().square().mean().sqrt().clamp(min=1e-3))

    def players(self) -> Mapping[str, Player]:
        learning = nn.ModuleList([self.network, self.condition])
        return {"denoiser": Player(module=learning, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="denoiser", player="denoiser", loss=self.loss, after=self._after)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The weighted squared error of the denoised example, a mean over its elements."""
        clean = self.continuum.inward(batch.x)
        share = rng("level").uniform((len(clean),), dtype=torch.float32, device=clean.device).to(clean.dtype)
        level = self.config.levels(share, self.deviation)
        noisy = clean + _wide(level, clean) * rng("noise").normal(clean.shape, dtype=clean.dtype, device=clean.device)
        told = self.condition(batch.y, batch.y_length).left_out(self.config.unlabelled, rng("unlabelled"))
        missed = (self._denoise(noisy, level, told) - clean).square().flatten(1).mean(1)
        return Loss.of(self.config.weighting(level, self.deviation) * missed, missed=missed)

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        settle(self.network)

    # -- the denoiser -----------------------------------------------------------------------------------------------

    def _denoise(self, x: Tensor, level: Tensor, told: Told) -> Tensor:
        """D(x, s) in standard units: x (b, *event), level (b,); the answer in x's own type."""
        c = self.config.preconditioning(level, self.deviation.to(level))
        into = (_wide(c.into, x) * x).to(self.deviation.dtype)
        answer = self.network(into, c.noise.to(into.dtype), told.beside, told.given)
        return _wide(c.skip, x) * x + _wide(c.out, x) * answer.to(x.dtype)

    def _denoiser(
        self,
        y: Values | None,
        weight: float = 1.0,
        interval: tuple[float, float] = (0.0, math.inf),
        *,
        length: Tensor | None = None,
    ) -> Denoise:
        """D for these conditions, pushed away from D without them where weight is not 1."""
        return steered(self._denoise, self.condition(y, length), weight, interval)

    @torch.no_grad()
    def denoise(self, x: Values, sigma: float | Tensor, *, y: Values | None = None) -> Values:
        """E[clean example | x], x the example with noise; sigma its standard deviation, a number or (b,), in units of
        each field's scale. Without y, where the space has one: of examples of which no y is known.
        """
        noisy = self.continuum.inward(x)
        level = torch.as_tensor(sigma, dtype=noisy.dtype, device=noisy.device).expand(len(noisy))
        told = self.condition.nothing(len(noisy)) if y is None else self.condition(y)
        return self.continuum.outward(self._denoise(noisy, level, told))

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _drawn(
        self,
        n: int,
        y: Values | None,
        rng: Rng,
        solver: Solver,
        *,
        steps: int,
        guidance: float,
        interval: tuple[float, float],
        length: Tensor | None = None,
        guide: nn.Module | None = None,
    ) -> Values:
        other = None if guide is None else self._checked(guide)
        if other is None:
            self.condition.check_guidance(guidance, self.config.unlabelled)
        levels, device = karras(steps, self.config.low, self.config.high), self.deviation.device
        parts: list[Tensor] = []
        for count, some_y, some_lengths, some in in_parts(n, ROWS, y, length, rng, device):
            shape = (count, *self.continuum.event)
            z = some("z").normal(shape, dtype=torch.float64, device=device) * self._prior()
            denoise = self._denoiser(some_y, guidance if other is None else 1.0, interval, length=some_lengths)
            if other is not None:
                weak = other._denoiser(None if other.space.y is None else some_y, length=some_lengths)
                denoise = guided(denoise, weak, guidance, low=interval[0], high=interval[1])
            parts.append(solver(denoise, z, levels, some("solver")))
        return self.continuum.decoded(torch.cat(parts).to(self.deviation.dtype))

    def _checked(self, guide: nn.Module) -> Denoising:
        """A guide, known to be of the same examples at all of these noise levels; ValueError for another."""
        check_guide(self, guide, Denoising, "diffusion model")
        assert isinstance(guide, Denoising)
        ours, theirs = self.config, guide.config
        if theirs.low > ours.low or theirs.high < ours.high:
            raise ValueError(
                f"the guide knows noise levels from {theirs.low:g} to {theirs.high:g};"
                f" expected all from {ours.low:g} to {ours.high:g}"
            )
        return guide

    def _prior(self) -> float:
        """Standard deviation of examples at the highest level, of which they are drawn."""
        return math.hypot(self.config.high, float(self.deviation))

    # -- codes ------------------------------------------------------------------------------------------------------

    def encode(self, x: Values, *, y: Values | None = None, steps: int = 32) -> Tensor:
        """The noise that the probability flow turns into these examples (DDIM inversion), near N(0, I), (b, *event)."""
        u = self.continuum.inward(x)
        levels = karras(steps, self.config.low, self.config.high)[:-1].flip(0)
        return (heun(self._denoiser(y), u.double(), levels) / self._prior()).to(u.dtype)

    def decode(self, z: Tensor, *, y: Values | None = None, steps: int = 32) -> Values:
        """z (b, *event) -> examples by the probability flow, differentiably and not rounded."""
        levels = karras(steps, self.config.low, self.config.high)
        found = heun(self._denoiser(y), z.double() * self._prior(), levels).to(z.dtype)
        return self.continuum.inside(self.continuum.outward(found))

    # -- completion -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def complete(
        self,
        x: Values,
        known: Values,
        *,
        y: Values | None = None,
        rng: Rng | int,
        steps: int = 50,
        rounds: int = 4,
    ) -> Batch:
        """Draws what is unknown given what is known: RePaint (``mathematics.repaint``). Approximate."""
        levels = karras(steps, self.config.low, self.config.high).tolist()
        found = repaint(
            self._denoiser(y), self.continuum.inward(x).double(), self.continuum.flags(known), levels,
            prior=self._prior(), rounds=rounds, rng=Rng.of(rng),
        )  # fmt: skip
        return Batch(x=merged(known, x, self.continuum.decoded(found.to(self.deviation.dtype))), y=y)

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
        draws: int = 32,
    ) -> LogLikelihood:
        """A lower bound of log p(x), or log p(x | y), in expectation over its draws; nats (b,).

        The variational bound in continuous time (Kingma et al. 2021, eq. 11-15) with ``draws`` noise levels an
        example, one in each of as many strata. A class-conditional model without y sums over the classes.
        Raises ValueError for draws below 1, and for examples of which parts are unknown.
        """
        if draws < 1:
            raise ValueError(f"draws must be at least 1; got {draws}")
        if known is not None and not bool(self.continuum.flags(known).all()):
            raise ValueError("diffusion scores whole examples; got known with gaps, complete them first")
        rng, u = Rng.of(rng), self.continuum.inward(x)
        score = lambda y: variational_bound(  # noqa: E731
            self._denoiser(y), u, self.reconstruction, high=self.config.high,
            low=self.reconstruction.low(self.config.low), prior=self._prior(), draws=draws, rng=rng,
        )  # fmt: skip
        return LogLikelihood(
            nats=self._over_y(score, y, rows(x)), kind="bound", measure=self.space.measure,
            count=float(self.space.size), method=f"variational bound, {draws} noise levels",
        )  # fmt: skip

    @torch.no_grad()
    def flow_log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        rng: Rng | int | None = None,
        steps: int = 50,
        trace: Trace = hutchinson,
    ) -> LogLikelihood:
        """An estimate of log p(x), or log p(x | y), by the probability flow (Song et al. 2021, eq. 39); nats (b,)."""
        rng, u = Rng.of(rng), self.continuum.inward(x)
        nats = flow_estimate(
            self._denoiser(y), u, self.reconstruction, low=self.config.low, high=self.config.high,
            prior=self._prior(), steps=steps, rng=rng, trace=trace,
        )  # fmt: skip
        return LogLikelihood(
            nats=nats, kind="estimate", measure=self.space.measure, count=float(self.space.size),
            method=f"probability flow, {steps} steps, trace by {trace.__name__}",
        )  # fmt: skip


class Diffusion(Denoising):
    """p(x), or p(x | y) p(y) with y one of finitely many classes."""

    def __init__(self, config: DiffusionConfig, space: Space, *, rng: Rng | int = 0) -> None:
        if isinstance(space.y, Space):
            raise ValueError("y is no class here; expected Classes or None: build(config, space) takes any y")
        super().__init__(config, space, rng=rng)
        self.marginal = LabelMarginal(space.y)

    def fit(self, data: Data) -> None:
        """Learns what is learnt by counting: the labels' shares, and the standard deviation of the data about 0."""
        self.marginal.fit(data)
        super().fit(data)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

    def sample(
        self,
        n: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        steps: int = 32,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, math.inf),
        guide: nn.Module | None = None,
        solver: Solver = dpm_solver_2m,
    ) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        steps     of the solver; ``heun`` looks twice a step.
        guidance  1 samples p(x | y); more pushes away from p(x) (classifier-free guidance), at levels in ``interval``.
        guide     a weaker model of the same examples, pushed away from in the place of p(x): autoguidance (Karras et
                  al. 2024, "Guiding a diffusion model with a bad version of itself", eq. 1).
        """
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        x = self._drawn(n, y, rng, solver, steps=steps, guidance=guidance, interval=interval, guide=guide)
        return Batch(x=x, y=y)

    def _over_y(self, score: Callable[[Values | None], Tensor], y: Values | None, n: int) -> Tensor:
        return self.marginal.sum_out(score, n) if self.marginal.classes and y is None else score(y)


class DiffusionGiven(Denoising):
    """p(x | y) with y an example of another space: a caption, a picture, a vector. It knows no p(y)."""

    def __init__(self, config: DiffusionConfig, space: Space, *, rng: Rng | int = 0) -> None:
        if not isinstance(space.y, Space):
            raise ValueError("there is no y to be given; expected a space whose y is a Space: build takes any y")
        super().__init__(config, space, rng=rng)

    def sample_given(
        self,
        y: Values,
        *,
        rng: Rng | int,
        y_length: Tensor | None = None,
        steps: int = 32,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, math.inf),
        solver: Solver = dpm_solver_2m,
    ) -> Batch:
        """One example for each condition; steps, guidance, interval and solver as for ``Diffusion.sample``."""
        x = self._drawn(
            rows(y), y, Rng.of(rng), solver, steps=steps, guidance=guidance, interval=interval, length=y_length
        )
        return Batch(x=x, y=y, y_length=y_length)

    def _over_y(self, score: Callable[[Values | None], Tensor], y: Values | None, n: int) -> Tensor:
        return score(y)


def build(config: DiffusionConfig, space: Space, *, rng: Rng | int = 0) -> Diffusion | DiffusionGiven:
    """The model for a space: ``DiffusionGiven`` where y is a space, ``Diffusion`` otherwise."""
    return (DiffusionGiven if isinstance(space.y, Space) else Diffusion)(config, space, rng=rng)


def _wide(level: Tensor, like: Tensor) -> Tensor:
    """(b,) -> (b, 1, ...), to be multiplied with ``like``."""
    return level.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
