"""The posterior of a ladder of latent groups, as a distribution over its standardised codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Size, Tensor
from torch.distributions import Distribution, Normal

from simulacra.nets.ladder import Downwards


class LadderPosterior(Distribution):
    """q over standardised codes (b, size) given b examples; its draws come from torch's generator, as torch's do."""

    arg_constraints = {}  # type: ignore[assignment]  # noqa: RUF012
    has_rsample = True

    def __init__(self, down: Downwards, data: Sequence[Tensor], given: Tensor | None) -> None:
        self.down, self.data, self.given = down, data, given
        super().__init__(Size([len(data[0])]), Size([down.size]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean of each group given the means of those above it, (b, size)."""
        return self.down.through(self.data, self.given, lambda j, m, s: m).code

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, (*sample_shape, b, size); differentiable."""
        draws = math.prod(sample_shape)
        code = self.down.through(self.data, self.given, lambda j, m, s: Normal(m, s.exp()).rsample(), draws).code
        return code.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def decide(self, pick: Callable[[Normal], Tensor]) -> Tensor:
        """Codes (b, size) whose groups are picked, (b, elements of the group), one after another."""

        def choose(j: int, mean: Tensor, log_scale: Tensor) -> Tensor:
            normal = Normal(mean.flatten(1), log_scale.exp().flatten(1), validate_args=False)
            return pick(normal).reshape(mean.shape)

        return self.down.through(self.data, self.given, choose).code

    def log_prob(self, value: Tensor) -> Tensor:
        """log q of codes (..., b, size), nats (..., b)."""
        parts = self.down.parts(value.reshape(-1, value.shape[-1]))
        draws = len(parts[0]) // self.batch_shape[0]
        walked = self.down.through(self.data, self.given, lambda j, m, s: parts[j], draws)
        return walked.log_q.reshape(value.shape[:-1])
