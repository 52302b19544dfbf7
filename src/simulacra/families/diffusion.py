"""Diffusion models: a network that takes noise of any strength out of examples, and so can make them from noise.

Sohl-Dickstein et al. 2015; Ho et al. 2020; Song et al. 2021; in the form of Karras et al. 2022 ("Elucidating the design
space of diffusion-based generative models"): a denoiser D(x, s) ~ E[x_0 | x = x_0 + s n], trained by

    E_{x_0, s, n} weight(s) |D(x_0 + s n, s) - x_0|^2                                                     (eq. 2-3, 8)

Which path the noise comes along, what the network predicts and how its errors are weighted are functions passed in
(``mathematics.preconditioning``); every solver (``mathematics.solvers``) is a function of D. ``fit`` learns the labels'
shares and the data's standard deviation. Labels are left out at times, so that sampling can be guided.

What it cannot do: sample in one step, and exact likelihoods: it has a lower bound (Kingma et al. 2021) and, by the
probability flow, an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

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
from simulacra.mathematics.solvers import Denoise, Solver, dpm_solver_2m, heun, karras
from simulacra.nets.chains import merged
from simulacra.nets.continuum import Continuum
from simulacra.nets.denoisers import Backbone, ByShape
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.guides import check_guide
from simulacra.nets.initialise import initialise
from simulacra.nets.magnitude_preserving import settle
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.noisy import Reconstruction, flow_estimate, variational_bound

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
    unlabelled       share of the labels that training leaves out; 0 where sampling is never guided.
    """

    backbone: Backbone = field(default_factory=ByShape)
    preconditioning: Preconditioning = edm
    weighting: Weighting = uniform_edm
    levels: Levels = field(default_factory=LogNormal)
    low: float = 0.002  # Karras et al. 2022, table 1
    high: float = 80.0
    unlabelled: float = 0.1
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"low must lie in (0, high); got {self.low} and {self.high}")
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"unlabelled is a share in [0, 1); got {self.unlabelled}")


class Diffusion(nn.Module):
    """A denoiser of examples of any continuous kind; conditional on the class where the space has classes."""

    deviation: Tensor

    def __init__(self, config: DiffusionConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError("diffusion is conditional on classes only; expected a space whose y is Classes or None")
        self.config, self.space, self.classes = config, space, space.y
        self.continuum = Continuum.of(space, "diffusion")
        event = self.continuum.event
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=event)}, measure="latent codes")
        self.reconstruction = Reconstruction(self.continuum)
        self.marginal = LabelMarginal(self.classes)
        self.network = config.backbone.build(event, 0, 0 if self.classes is None else len(self.classes))
        self.register_buffer("deviation", torch.ones(()))
        initialise(self.network, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Learns what is learnt by counting: the labels' shares, and the standard deviation of the data about 0."""
        self.marginal.fit(data)
        index = torch.arange(min(len(data), MEASURED))
        seen = self.continuum.inward(data.batch(index, Rng(0, ("deviation",))).x)
        self.deviation.copy_(seen.double().square().mean().sqrt().clamp(min=1e-3))

    def players(self) -> Mapping[str, Player]:
        return {"denoiser": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="denoiser", player="denoiser", loss=self.loss, after=self._after)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The weighted squared error of the denoised example, a mean over its elements."""
        clean = self.continuum.inward(batch.x)
        share = rng("level").uniform((len(clean),), dtype=torch.float32, device=clean.device).to(clean.dtype)
        level = self.config.levels(share, self.deviation)
        noisy = clean + _wide(level, clean) * rng("noise").normal(clean.shape, dtype=clean.dtype, device=clean.device)
        given = self._given(batch.y)
        if given is not None and self.config.unlabelled:
            kept = rng("unlabelled").uniform((len(clean),), device=clean.device) >= self.config.unlabelled
            given = given * kept[:, None]
        missed = (self._denoise(noisy, level, given) - clean).square().flatten(1).mean(1)
        return Loss.of(self.config.weighting(level, self.deviation) * missed, missed=missed)

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        settle(self.network)

    # -- the denoiser -----------------------------------------------------------------------------------------------

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.classes, self.deviation.dtype)  # type: ignore[arg-type]

    def _denoise(self, x: Tensor, level: Tensor, given: Tensor | None) -> Tensor:
        """D(x, s) in standard units: x (b, *event), level (b,); the answer in x's own type."""
        c = self.config.preconditioning(level, self.deviation.to(level))
        into = (_wide(c.into, x) * x).to(self.deviation.dtype)
        answer = self.network(into, c.noise.to(into.dtype), None, given)
        return _wide(c.skip, x) * x + _wide(c.out, x) * answer.to(x.dtype)

    def _denoiser(
        self, y: Values | None, weight: float = 1.0, interval: tuple[float, float] = (0.0, math.inf)
    ) -> Denoise:
        """D for these labels, pushed away from D without them where weight is not 1."""
        given = self._given(y)

        def with_labels(x: Tensor, s: Tensor) -> Tensor:
            return self._denoise(x, s, given)

        if weight == 1.0 or given is None:
            return with_labels
        nothing = torch.zeros_like(given)
        return guided(with_labels, lambda x, s: self._denoise(x, s, nothing), weight, low=interval[0], high=interval[1])

    @torch.no_grad()
    def denoise(self, x: Values, sigma: float | Tensor, *, y: Values | None = None) -> Values:
        """E[clean example | x], x the example with noise; sigma its standard deviation, a number or (b,), in units of
        each field's scale. Without y, where there are classes: of examples of no known class.
        """
        noisy = self.continuum.inward(x)
        level = torch.as_tensor(sigma, dtype=noisy.dtype, device=noisy.device).expand(len(noisy))
        unlabelled = y is None and self.classes is not None
        given = self.deviation.new_zeros(len(noisy), self.marginal.classes) if unlabelled else self._given(y)
        return self.continuum.outward(self._denoise(noisy, level, given))

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        y: Tensor | None = None,
        rng: Rng | int,
        steps: int = 32,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, math.inf),
        guide: Diffusion | None = None,
        solver: Solver = dpm_solver_2m,
    ) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        steps     of the solver; ``heun`` looks twice a step.
        guidance  1 samples p(x | y); more pushes away from p(x) (classifier-free guidance), at levels in ``interval``.
        guide     a weaker model of the same examples that is pushed away from in the place of p(x) (autoguidance).
        """
        rng, device = Rng.of(rng), self.deviation.device
        if self.classes is not None and y is None:
            y = self.marginal.draw(n, rng("y"))
        elif y is not None:
            self._given(y)
        levels = karras(steps, self.config.low, self.config.high)
        parts: list[Tensor] = []
        for first in range(0, max(n, 1), ROWS):
            some = rng.rows(first)
            shape = (min(ROWS, n - first), *self.continuum.event)
            z = some("z").normal(shape, dtype=torch.float64, device=device) * self._prior()
            labels = None if y is None else y[first : first + ROWS].to(device)
            denoise = self._denoiser(labels, guidance, interval)
            if guide is not None:
                denoise = self._guided_by(guide, labels, guidance, interval)
            parts.append(solver(denoise, z, levels, some("solver")))
        return Batch(x=self.continuum.decoded(torch.cat(parts).to(self.deviation.dtype)), y=y)

    def _guided_by(self, guide: Diffusion, y: Values | None, weight: float, interval: tuple[float, float]) -> Denoise:
        """D pushed away from another model's (Karras et al. 2024, "Guiding a diffusion model ...", eq. 1)."""
        check_guide(self, guide)
        ours, theirs = self.config, guide.config
        if theirs.low > ours.low or theirs.high < ours.high:
            raise ValueError(
                f"the guide knows noise levels from {theirs.low:g} to {theirs.high:g};"
                f" expected all from {ours.low:g} to {ours.high:g}"
            )
        weak = guide._denoiser(None if guide.classes is None else y)
        return guided(self._denoiser(y), weak, weight, low=interval[0], high=interval[1])

    def _prior(self) -> float:
        """Standard deviation of examples at the highest level, of which they are drawn."""
        return math.hypot(self.config.high, float(self.deviation))

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

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
        """Draws what is unknown given what is known: RePaint, Lugmayr et al. 2022, algorithm 1. Approximate.

        At every level the known elements are put in with the noise of that level; going back up and down again, so
        many ``rounds`` a step, lets the rest agree with them.
        """
        rng, clean = Rng.of(rng), self.continuum.inward(x).double()
        mask = self.continuum.flags(known)
        clean = torch.where(mask, clean, 0.0)
        denoise = self._denoiser(y)
        levels = karras(steps, self.config.low, self.config.high).tolist()
        noise = lambda *name: rng(*name).normal(clean.shape, dtype=clean.dtype, device=clean.device)  # noqa: E731
        state = self._prior() * noise("z")
        for i, (now, then) in enumerate(pairwise(levels)):
            for turn in range(rounds if then > 0 else 1):
                here = torch.where(mask, clean + now * noise("known", i, turn), state)
                d = denoise(here, torch.full((len(here),), now, dtype=here.dtype, device=here.device))
                up = then * math.sqrt(1 - (then / now) ** 2)
                state = d + (then / now) ** 2 * (here - d) + up * noise("down", i, turn)
                if turn + 1 < rounds and then > 0:
                    state = state + math.sqrt(now**2 - then**2) * noise("up", i, turn)
        drawn = self.continuum.decoded(torch.where(mask, clean, state).to(self.deviation.dtype))
        return Batch(x=merged(known, x, drawn), y=y)

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

        The variational bound in continuous time (Kingma et al. 2021, eq. 11-15) with ``draws`` noise levels an
        example, one in each of as many strata. A class-conditional model without y sums over the classes.
        Raises ValueError for draws below 1, and for examples of which parts are unknown.
        """
        if draws < 1:
            raise ValueError(f"draws must be at least 1; got {draws}")
        if known is not None and not bool(self.continuum.flags(known).all()):
            raise ValueError("diffusion scores whole examples; got known with gaps, complete them first")
        rng, u = Rng.of(rng), self.continuum.inward(x)
        score = lambda labels: variational_bound(  # noqa: E731
            self._denoiser(labels), u, self.reconstruction, high=self.config.high,
            low=self.reconstruction.low(self.config.low), prior=self._prior(), draws=draws, rng=rng,
        )  # fmt: skip
        nats = self.marginal.sum_out(score, rows(x)) if self.classes is not None and y is None else score(y)
        method = f"variational bound, {draws} noise levels"
        return LogLikelihood(
            nats=nats, kind="bound", measure=self.space.measure, count=float(self.space.size), method=method
        )

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


def _wide(level: Tensor, like: Tensor) -> Tensor:
    """(b,) -> (b, 1, ...), to be multiplied with ``like``."""
    return level.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
