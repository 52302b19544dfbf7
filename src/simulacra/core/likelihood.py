"""A log-likelihood that knows what it is: exact, a bound or an estimate, and of which decoded data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["exact", "bound", "estimate"]


@dataclass(frozen=True, kw_only=True)
class LogLikelihood:
    """log p(x) of each example, in nats.

    nats     (b,). A "bound" is a lower bound (in expectation over its draws, where it draws).
    kind     "exact" | "bound" | "estimate" (neither: IWAE-k reported as log p, a chain with nothing said of its end).
    measure  the decoded data it belongs to ("8-bit pixels", "bytes", "standardised columns"): densities in
             different measures are not comparable.
    count    size of an example in that measure's elements, a number or (b,): pixels, bytes, frames.
    method   how it was obtained, in words: "ELBO, 1 draw", "IWAE, k = 1000".
    choices  of a model that decides one thing after another, how many decisions each example took, a number or (b,):
             tokens, with the end where it is decided. None elsewhere. Perplexity is per decision.
    """

    nats: Tensor
    kind: Kind
    measure: str
    count: float | Tensor
    method: str = ""
    choices: float | Tensor | None = None

    def mean(self) -> float:
        """Mean over the examples, nats."""
        return float(self.nats.detach().double().mean())

    def standard_error(self) -> float:
        """Standard error of that mean, nats; infinite for one example."""
        n = len(self.nats)
        return float(self.nats.detach().double().std() / math.sqrt(n)) if n > 1 else math.inf

    def bits_per_element(self) -> float:
        """-log2 p over all examples, divided by the number of elements in them: bits per dim, per byte, per frame."""
        count = self.count.double().sum() if isinstance(self.count, Tensor) else self.count * len(self.nats)
        return float(-self.nats.detach().double().sum() / count / math.log(2))

    def better_than(self, other: LogLikelihood) -> bool | None:
        """Whether this one is larger for certain: True, False, or None where the kinds leave it open.

        A lower bound above an exact value proves the truth is above it too; a bound below proves nothing.
        Estimates prove nothing, nor does what is not a number. Raises ValueError for different measures.
        """
        if self.measure != other.measure:
            raise ValueError(
                f"likelihoods of different data cannot be compared: {self.measure!r} and {other.measure!r};"
                " evaluate both on the same decoded data"
            )
        mine, theirs = self.mean(), other.mean()
        if "estimate" in (self.kind, other.kind) or math.isnan(mine) or math.isnan(theirs):
            return None
        above = mine > theirs
        if above:
            return True if other.kind == "exact" else None
        return False if self.kind == "exact" else None
