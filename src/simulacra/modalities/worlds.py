"""A world: an endless source of examples whose law is known exactly, so that truths can be tested against it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space


class World(ABC):
    """Points drawn afresh whenever they are asked for: data that no model can memorise.

    It is ``core.batch.Data`` (one batch is as many fresh points as it has numbers; row r is row r of the draw),
    a ``Sampler``, and, through ``ExactWorld``, a ``Likelihood``: the perfect model of itself.

    space    one field "point", (d,), unbounded.
    name     names the draws and the data.
    nominal  what ``len`` says, so that epochs and splits have a meaning.
    """

    def __init__(self, *, name: str, space: Space, nominal: int, parameters: str) -> None:
        if nominal < 1:
            raise ValueError(f"a world's nominal size must be at least 1; got {nominal}")
        self.name, self.space, self.nominal = name, space, nominal
        self.fingerprint = hashlib.sha256(f"{name}\n{nominal}\n{parameters}".encode()).hexdigest()

    def __len__(self) -> int:
        return self.nominal

    @abstractmethod
    def draw(self, n: int, rng: Rng) -> Float[Tensor, "n d"]:
        """n points of the world, in torch's default dtype."""

    def batch(self, index: Tensor, rng: Rng) -> Batch:
        """As many fresh points as there are numbers in the index (int64, (b,))."""
        return Batch(x=self.draw(len(index), rng(self.name)).to(index.device))

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n points. y must be None: a world has no classes."""
        if y is not None:
            raise ValueError(f"the world {self.name!r} has no classes; expected y=None")
        return Batch(x=self.draw(n, Rng.of(rng)(self.name)))


class ExactWorld(World):
    """A world that knows its density."""

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log p(x), nats; -inf where the world has no points."""

    def log_likelihood(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        known: Tensor | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
    ) -> LogLikelihood:
        """The exact log p(x), nats (b,), of points that are known in full."""
        if y is not None or length is not None or (known is not None and not bool(known.all())):
            raise ValueError(f"the world {self.name!r} scores whole points; expected no y, no length, all of x known")
        return LogLikelihood(
            nats=self.log_prob(x), kind="exact", measure=self.space.measure, count=x.shape[1], method="closed form"
        )


def points(d: int, *, centre: float = 0.0, scale: float = 1.0) -> Space:
    """The space of d real coordinates, measure "plane" for two; centre and scale say where they typically lie."""
    field = Continuous(low=-torch.inf, high=torch.inf, shape=(d,), centre=centre, scale=scale)
    return Space(fields={"point": field}, measure="plane" if d == 2 else f"{d} real coordinates")
