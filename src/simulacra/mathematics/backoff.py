"""N-grams that predict: what comes next by how often it came after the last few tokens (Witten & Bell 1991, method C).

With c(h w) the number of times that w came after h, c(h) its sum over w and t(h) the number of different w,

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)),    h' being h without its first token,

and p(w) = 1 / k where nothing is known: every token has some probability, and each p( | h) sums to 1.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BEGIN = -1  # stands before every sequence, as often as the longest history asks


class Backoff:
    """A distribution over sequences of tokens 0 .. k - 1, learnt in one pass by counting.

    order  the most tokens that are looked at: the next one and order - 1 before it.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], *, k: int, order: int) -> None:
        if k < 1 or order < 1:
            raise ValueError(f"n-grams need at least one token and an order of 1 or more; got k={k}, order={order}")
        self.k, self.order = k, order
        self.counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for sequence in sequences:
            for history, token in self._pairs(sequence):
                for shorter in range(len(history) + 1):
                    self.counts[history[shorter:]][token] += 1

    def probability(self, history: tuple[int, ...], token: int) -> float:
        """p(token | history), of which the last order - 1 tokens count."""
        p = 1 / self.k
        for length in range(min(len(history), self.order - 1) + 1):
            seen = self.counts.get(history[len(history) - length :])
            if seen is None:
                break  # nor was any longer history seen
            p = (seen[token] + len(seen) * p) / (seen.total() + len(seen))
        return p

    def bits(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """-log2 p of each sequence, (n,)."""
        each = (sum(-math.log2(self.probability(h, token)) for h, token in self._pairs(s)) for s in sequences)
        return np.fromiter(each, np.float64, count=len(sequences))

    def _pairs(self, sequence: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
        """Every token with the history that it is predicted from."""
        padded = (*[BEGIN] * (self.order - 1), *sequence)
        for i, token in enumerate(sequence):
            if not 0 <= token < self.k:
                raise ValueError(f"tokens lie in 0 .. {self.k - 1}; got {token}")
            yield padded[i : i + self.order - 1], token
