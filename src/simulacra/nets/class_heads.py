"""How a critic heeds classes: it projects on the one it is told, or says itself which one it sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn

from simulacra.mathematics.adversarial import class_entropy

ClassLoss = Callable[[Tensor, Tensor], Tensor]


class Projection(nn.Module):
    """(f (b, features), y (b, classes) or None) -> scores (b,): w . f + gain (V y) . f, Miyato & Koyama 2018, eq. 3.

    linear  (into, out) -> a linear layer without bias: games of differences between scores leave a constant where it
            is, it would never learn.
    """

    def __init__(
        self, features: int, classes: int, *, linear: Callable[[int, int], nn.Module], gain: float = 1.0
    ) -> None:
        super().__init__()
        self.score, self.gain = linear(features, 1), gain
        self.labels = linear(classes, features) if classes else None

    def forward(self, f: Tensor, y: Tensor | None) -> Tensor:
        score = self.score(f).squeeze(1)
        return score if self.labels is None or y is None else score + self.gain * (self.labels(y) * f).sum(1)


class Telling(Protocol):
    """A critic that says of which class an example is."""

    def classify(self, u: Tensor) -> Tensor:
        """u (b, *event) -> logits (b, classes)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Auxiliary:
    """An auxiliary classifier, Odena, Olah & Shlens 2017 ("Conditional image synthesis with ACGANs"), section 3.

    The critic judges without being told the class, and says itself which one it sees; both players want that to be
    right, the critic of real and generated examples, the generator of its own. What is easily told is then drawn most,
    so that samples of one class may become alike: ``ModeCollapse`` watches for it.

    loss       (logits (b, classes), probabilities y (b, classes)) -> (b,).
    critic, generator  what the term weighs in each player's loss.
    """

    loss: ClassLoss = class_entropy
    critic: float = 1.0
    generator: float = 1.0

    def __post_init__(self) -> None:
        if self.critic < 0 or self.generator < 0:
            raise ValueError(f"weights must not be negative; got critic={self.critic}, generator={self.generator}")

    def of(self, critic: nn.Module, u: Tensor, y: Tensor | None) -> Tensor:
        """The loss of what the critic says of u, (b,)."""
        assert y is not None
        return self.loss(cast(Telling, critic).classify(u), y)
