"""What every adversarial family is once its two networks are built: a ``Duel`` that learns, draws and judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Values
from simulacra.core.optimisers import Optimiser
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.nets.adversarial import Duel


@runtime_checkable
class Rates(Protocol):
    """Settings with an optimiser for each player."""

    @property
    def generator_optimiser(self) -> Optimiser: ...
    @property
    def critic_optimiser(self) -> Optimiser: ...


C = TypeVar("C", bound=Rates)


class Contest(nn.Module, Generic[C]):
    """A generator and its critic, conditional on the class where the space has classes; the family sets ``duel``."""

    duel: Duel

    def __init__(self, config: C, space: Space) -> None:
        super().__init__()
        self.config, self.space = config, space

    @property
    def latent(self) -> Space:
        """The space of codes z, which are N(0, I)."""
        return self.duel.latent

    def players(self) -> Mapping[str, Player]:
        """The generator, whose average is what samples, and the critic."""
        return self.duel.players(self.config.generator_optimiser, self.config.critic_optimiser)

    def turns(self) -> Sequence[Turn]:
        """Generator, critic, lazy regularisers."""
        return self.duel.turns()

    def fit(self, data: Data) -> None:
        """Learn the labels' marginal."""
        self.duel.fit(data)

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,)."""
        return self.duel.label_log_prob()

    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int = 0) -> Batch:
        """n examples, decoded: inside their range and on their levels; y int64 (n,), None: from the marginal."""
        return self.duel.sample(n, y=y, rng=rng)

    def decode(self, z: Tensor, *, y: Values | None = None) -> Values:
        """z (b, latent) -> examples, differentiably and not rounded; y None: the labels' average."""
        return self.duel.decode(z, y=y)

    def criticise(self, x: Values, *, y: Values | None = None) -> Tensor:
        """How real examples look, (b,), higher is more real; y None: judged against the labels' average."""
        return self.duel.criticise(x, y=y)
