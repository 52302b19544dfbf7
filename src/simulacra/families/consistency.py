"""Consistency models: a network that takes noise of any strength to an example in one step, or in a few.

Song et al. 2023 ("Consistency models"), as trained by Song & Dhariwal 2024 and Geng et al. 2024: f(x, s) is where the
trajectory of the probability flow through x at noise level s ends. It is the identity at the lowest level, by its form
(``mathematics.trajectories.anchored``), and the same at neighbouring points of one trajectory, by what it learns:

    E w d(f(x_far, far), f(x_near, near)),  w = 1 / (far - near), d pseudo-Huber, no gradient through the second     (*)

From data alone x_near is the same example with the same noise (training); or x_far, carried by the flow of a diffusion
model that no longer learns (distillation). No average of the weights is needed as a teacher: Song & Dhariwal, 3.2.

What it cannot do: score examples, or take out noise as a mean would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.optimisers import AdamW, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.guidance import guided
from simulacra.mathematics.preconditioning import Preconditioning, edm
from simulacra.mathematics.solvers import karras
from simulacra.mathematics.trajectories import Curriculum, Pair, Refining, Stride, anchored, heun_stride, pseudo_huber
from simulacra.nets.chains import merged
from simulacra.nets.continuum import Continuum
from simulacra.nets.denoisers import Backbone, ByShape
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.initialise import initialise
from simulacra.nets.magnitude_preserving import settle
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.preconditioned import Frozen, conditioned, copy_part

ROWS = 256  # examples drawn at a time
MEASURED = 4096  # examples that the data's standard deviation is taken from

# (x (b, *event), level (b,), condition (b, given) or None) -> E[x_0 | x] in standard units
Teacher = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@runtime_checkable
class Target(Protocol):
    """Where the nearer of two points of a trajectory comes from."""

    def teacher(self, build: Callable[[], Frozen]) -> Frozen | None:
        """The denoiser whose flow is followed; None where none is needed."""
        ...

    def near(self, clean: Tensor, noise: Tensor, pair: Pair, teacher: Teacher | None, given: Tensor | None) -> Tensor:
        """Examples (b, *event) at the nearer levels, on the trajectories of clean + far noise."""
        ...


@dataclass(frozen=True, kw_only=True)
class FromData:
    """The same example with less of the same noise: right on average (Song et al. 2023, theorem 2)."""

    def teacher(self, build: Callable[[], Frozen]) -> None:
        """None is needed."""

    def near(self, clean: Tensor, noise: Tensor, pair: Pair, teacher: Teacher | None, given: Tensor | None) -> Tensor:
        return clean + _wide(pair.near, clean) * noise


@dataclass(frozen=True, kw_only=True)
class FromTeacher:
    """One step of a diffusion model's flow (Song et al. 2023, algorithm 2); ``learn_from`` says of which.

    stride    how the step is taken: ``heun_stride``, ``euler_stride`` (``mathematics.trajectories``).
    guidance  1 follows the flow to p(x | y), more one that is pushed away from p(x) (Ho & Salimans 2022).
    """

    stride: Stride = heun_stride
    guidance: float = 1.0

    def teacher(self, build: Callable[[], Frozen]) -> Frozen:
        """Built like the model itself."""
        return build()

    def near(self, clean: Tensor, noise: Tensor, pair: Pair, teacher: Teacher | None, given: Tensor | None) -> Tensor:
        assert teacher is not None
        denoise = lambda x, s: teacher(x, s, given)  # noqa: E731
        if given is not None:
            nothing = torch.zeros_like(given)
            denoise = guided(denoise, lambda x, s: teacher(x, s, nothing), self.guidance)
        return self.stride(denoise, clean + _wide(pair.far, clean) * noise, pair)


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
    """A consistency model. Noise levels are in units of the space's own scale (``Continuum``).

    backbone         the network (``nets.denoisers``).
    preconditioning  what it is shown and asked for (``mathematics.preconditioning``), before f is anchored.
    curriculum       which two levels: ``Refining`` (Song & Dhariwal) or ``Shrinking`` (Geng et al.), along the budget.
    target           where the nearer point comes from: ``FromData()``, or ``FromTeacher()`` to distil.
    huber            the pseudo-Huber distance's scale, for data of deviation 1/2.
    low, high        the levels at which trajectories end and start.
    """

    backbone: Backbone = field(default_factory=ByShape)
    preconditioning: Preconditioning = edm
    curriculum: Curriculum = field(default_factory=Refining)
    target: Target = field(default_factory=FromData)
    huber: float = 0.03  # larger than the 0.00054 of Song & Dhariwal, whose steep slopes need far longer runs
    low: float = 0.002  # Karras et al. 2022, table 1
    high: float = 80.0
    optimiser: Optimiser = field(default_factory=lambda: AdamW(lr=1e-3, schedule=Warmup(steps=100, decay=0.5)))

    def __post_init__(self) -> None:
        if not 0 < 2 * self.low < self.high:
            raise ValueError(f"low must be positive and below half of high; got {self.low} and {self.high}")
        if not self.huber > 0:
            raise ValueError(f"huber must be positive; got {self.huber}")


class Consistency(nn.Module):
    """A way from noise to examples of any continuous kind; conditional on the class where the space has classes."""

    deviation: Tensor
    done: Tensor

    def __init__(self, config: ConsistencyConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError(
                "a consistency model is conditional on classes only; expected a space whose y is Classes or None"
            )
        self.config, self.space, self.classes = config, space, space.y
        self.continuum = Continuum.of(space, "a consistency model")
        event = self.continuum.event
        self.latent = Space(fields={"z": Continuous(low=-math.inf, high=math.inf, shape=event)}, measure="latent codes")
        self.marginal = LabelMarginal(self.classes)
        build = lambda: config.backbone.build(event, 0, 0 if self.classes is None else len(self.classes))  # noqa: E731
        self.network = build()
        self.teacher = config.target.teacher(lambda: Frozen(build(), config.preconditioning))
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("done", torch.zeros(()))
        for name, network in (("weights", self.network), ("teacher", self.teacher)):
            if network is not None:
                initialise(network, Rng.of(rng)(name))

    # -- learning ---------------------------------------------------------------------------------------------------

    def learn_from(self, weights: Mapping[str, Tensor]) -> None:
        """Begin as a diffusion model of the same backbone and preconditioning: its tensors, by name.

        Its denoiser becomes the teacher as well, where the target needs one; else this is consistency tuning (Geng et
        al. 2024). ValueError for the weights of another network.
        """
        copy_part(self.network, weights, "network.", "the teacher")
        self.deviation.copy_(weights["deviation"])
        if self.teacher is not None:
            copy_part(self.teacher.network, weights, "network.", "the teacher")
            self.teacher.deviation.copy_(weights["deviation"])

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Learns by counting: the labels' shares, and the data's deviation about 0 (or the teacher's)."""
        self.marginal.fit(data)
        if self.teacher is not None:
            self.deviation.copy_(self.teacher.deviation)
            return
        index = torch.arange(min(len(data), MEASURED))
        seen = self.continuum.inward(data.batch(index, Rng(0, ("deviation",))).x)
        self.deviation.copy_(seen.double().square().mean().sqrt().clamp(min=1e-3))

    def players(self) -> Mapping[str, Player]:
        return {"consistency": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="consistency", player="consistency", loss=self.loss, before=self._before, after=self._after)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """The distance of f at two points of a trajectory, divided by their distance: (*)."""
        clean, given = self.continuum.inward(batch.x), self._given(batch.y)
        share = rng("level").uniform((len(clean),), dtype=torch.float32, device=clean.device)
        pair = self.config.curriculum(share, self.done, self.deviation, self.config.low, self.config.high)
        noise = rng("noise").normal(clean.shape, dtype=clean.dtype, device=clean.device)
        with torch.no_grad():
            near = self.config.target.near(clean, noise, pair, self.teacher, given)
            wanted = self._end(near, pair.near, given)
        found = self._end(clean + _wide(pair.far, clean) * noise, pair.far, given)
        missed = pseudo_huber(found, wanted, 2 * self.config.huber * self.deviation)
        return Loss.of(missed / (pair.far - pair.near).to(missed.dtype), missed=missed)

    def _before(self, fraction: float, step: int) -> None:
        self.done.fill_(fraction)

    def _after(self, terms: Mapping[str, Tensor]) -> None:
        settle(self.network)

    # -- the consistency function -----------------------------------------------------------------------------------

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.classes, self.deviation.dtype)  # type: ignore[arg-type]

    def _end(self, x: Tensor, level: Tensor, given: Tensor | None) -> Tensor:
        """f(x, s) in standard units: x (b, *event), level (b,); the answer in x's own type."""
        c = self.config.preconditioning(level, self.deviation.to(level))
        return conditioned(self.network, anchored(c, level, self.config.low), x, given, self.deviation.dtype)

    def _levels(self, steps: int) -> list[float]:
        """The levels that so many steps start from: Karras et al. 2022, eq. 5, but for the lowest."""
        if steps < 1:
            raise ValueError(f"a consistency model takes at least 1 step; got {steps}")
        return karras(steps + 1, self.config.low, self.config.high)[:-2].tolist()

    def _noised(self, x: Tensor, level: float, rng: Rng) -> Tensor:
        """Points on trajectories that end near x: Song et al. 2023, algorithm 1."""
        up = math.sqrt(level**2 - self.config.low**2)
        return x + up * rng.normal(x.shape, dtype=x.dtype, device=x.device)

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int, steps: int = 2) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal.

        steps  looks at the network: 1 goes from noise to examples at once; a further one adds noise and takes it out.
        """
        rng, device = Rng.of(rng), self.deviation.device
        if self.classes is not None and y is None:
            y = self.marginal.draw(n, rng("y"))
        elif y is not None:
            self._given(y)
        levels, parts = self._levels(steps), []
        for first in range(0, max(n, 1), ROWS):
            some = rng.rows(first)
            shape = (min(ROWS, n - first), *self.continuum.event)
            given = self._given(None if y is None else y[first : first + ROWS].to(device))
            x = some("z").normal(shape, dtype=self.deviation.dtype, device=device) * self._prior()
            x = self._end(x, _at(levels[0], x), given)
            for i, level in enumerate(levels[1:]):
                x = self._noised(x, level, some("again", i))
                x = self._end(x, _at(level, x), given)
            parts.append(x)
        return Batch(x=self.continuum.decoded(torch.cat(parts)), y=y)

    def _prior(self) -> float:
        """Standard deviation of examples at the highest level, of which they are drawn."""
        return math.hypot(self.config.high, float(self.deviation))

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """z (b, *event) -> examples in one step, differentiably and not rounded."""
        x = z * self._prior()
        found = self._end(x, _at(self.config.high, x), self._given(y))
        return self.continuum.inside(self.continuum.outward(found))

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

    # -- completion -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int, steps: int = 16) -> Batch:
        """Draws what is unknown given what is known: Song et al. 2023, algorithm 4. Approximate.

        At every level what is known is put back into what was found, and noise added to both.
        """
        rng, clean = Rng.of(rng), self.continuum.inward(x)
        mask, given = self.continuum.flags(known), self._given(y)
        clean = torch.where(mask, clean, 0.0)
        found = clean
        for i, level in enumerate(self._levels(steps)):
            noisy = self._noised(torch.where(mask, clean, found), level, rng("noise", i))
            found = self._end(noisy, _at(level, noisy), given)
        drawn = self.continuum.decoded(torch.where(mask, clean, found))
        return Batch(x=merged(known, x, drawn), y=y)


def _wide(level: Tensor, like: Tensor) -> Tensor:
    """(b,) -> (b, 1, ...), to be multiplied with ``like``."""
    return level.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def _at(level: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), level, dtype=x.dtype, device=x.device)
