"""How a critic looks at examples: at real and generated ones in as few passes as may be, alone or in company."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from simulacra.core.batch import Values
from simulacra.mathematics.adversarial import input_gradient, slope_of
from simulacra.nets.shown import Opinion


class Look:
    """A critic looking at real and generated examples; its slope there costs no second forward pass.

    A critic whose attribute ``alone`` is true scores each example by itself and looks at both halves in one pass. With
    an ``opinion`` of the generated ones only the real ones are looked at; without, ``at_fake`` holds while they are.
    """

    def __init__(
        self,
        critic: nn.Module,
        real: Tensor,
        fake: Tensor,
        y: Tensor | None,
        *,
        slopes: bool,
        opinion: Opinion | None = None,
        at_fake: contextlib.AbstractContextManager[object] | None = None,
    ) -> None:
        self.critic, self.y, self.halves = critic, y, (real, fake)
        at_once = bool(getattr(critic, "alone", False))
        given = y if y is None or not at_once else y.repeat(2, 1)
        self.points = [(torch.cat([real, fake]) if at_once else real.detach()).requires_grad_(slopes)]
        self.scores = [critic(self.points[0], given)]
        if opinion is not None:
            self.points.append(opinion.point)
            self.scores.append(opinion.scores)
        elif not at_once:
            self.points.append(fake.detach().requires_grad_(slopes))
            with at_fake or contextlib.nullcontext():
                self.scores.append(critic(self.points[1], y))
        self.slopes: dict[int, Tensor] = {}

    def __iter__(self) -> Iterator[Tensor]:
        """Scores of the real examples and of the generated ones, (b,) each."""
        return iter(self.scores[0].chunk(2) if len(self.scores) == 1 else self.scores)

    def slope(self, x: Tensor) -> Tensor:
        """Gradient of the scores at x, (b, size): at the examples looked at, or anywhere else."""
        for half, seen in enumerate(self.halves):
            if seen is x:
                if len(self.points) == 1:
                    return self._at(0).chunk(2)[half]
                return self._at(half)
        return slope_of(lambda u: self.critic(u, self.y))(x)

    def _at(self, point: int) -> Tensor:
        if point not in self.slopes:
            self.slopes[point] = input_gradient(self.scores[point], self.points[point])
        return self.slopes[point]


def first(x: Values) -> Tensor:
    """A tensor that tells a batch from all others."""
    return x if isinstance(x, Tensor) else next(iter(x.values()))


def beside(x: Tensor, company: Tensor) -> Tensor:
    """(b, c, ...) -> (b, m c, ...): each example packed with the same m - 1 others, (m - 1, c, ...)."""
    others = company.to(x).unsqueeze(0).expand(len(x), *company.shape)
    return torch.cat([x.unsqueeze(1), others], dim=1).reshape(len(x), -1, *x.shape[2:])


class evaluating:
    """A module in evaluation mode for a while: batch norm uses what it has seen, not the batch."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.before = module, module.training

    def __enter__(self) -> None:
        self.module.eval()

    def __exit__(self, *error: object) -> None:
        self.module.train(self.before)
