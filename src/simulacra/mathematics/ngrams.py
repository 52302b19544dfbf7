"""N-grams of sequences: how varied they are, how alike, how new, and how long a span of one stands in another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Sequence_ = Sequence[int]
Hashes = NDArray[np.uint64]
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, bits well mixed: the golden ratio's
MISSED = 0.1  # what a precision without a hit counts as hits: Chen & Cherry 2014, method 1


def span_hashes(tokens: Sequence_ | NDArray[np.int64], n: int) -> Hashes:
    """A 64-bit hash of every span of n tokens, (t - n + 1,): a polynomial in BASE modulo 2^64, by doubling.

    Different spans share one with probability about 2^-64 for each pair.
    """
    each = np.asarray(tokens, np.int64).astype(np.uint64)
    if n < 1:
        raise ValueError(f"a span has at least one token; got {n}")
    if len(each) < n:
        return np.zeros(0, np.uint64)
    # tokens are mixed first, so that small ones fill the word
    power = (each + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
    power ^= power >> np.uint64(31)
    done, width, factor = None, 0, np.full(1, BASE)  # an array: those wrap around without a warning
    span = 1
    while True:
        if n & span:
            # h(i, a + b) = h(i, a) BASE^b + h(i + a, b)
            done = power if done is None else done[: len(power) - width] * factor + power[width:][: len(done)]
            width += span
        span *= 2
        if span > n:
            assert done is not None
            return done[: len(each) - n + 1]
        power = power[: len(power) - span // 2] * factor + power[span // 2 :]
        factor = factor * factor


def joined(sequences: Sequence[Sequence_]) -> NDArray[np.int64]:
    """All sequences one after another, with -1 after each: no span of tokens runs on from one into the next."""
    parts = [np.array([*s, -1], np.int64) for s in sequences]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def distinct(sequences: Sequence[Sequence_], n: int) -> float:
    """distinct-n (Li et al. 2016): different n-grams over all n-grams of the sequences; nan where there are none."""
    found = np.concatenate([span_hashes(s, n) for s in sequences]) if sequences else np.zeros(0, np.uint64)
    return len(np.unique(found)) / len(found) if len(found) else math.nan


def novelty(sequences: Sequence[Sequence_], known: Hashes, n: int) -> NDArray[np.float64]:
    """Of each sequence with an n-gram, the share of its n-grams that are not among the hashes ``known``."""
    found = [span_hashes(s, n) for s in sequences]
    lengths = np.array([len(f) for f in found])
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return np.zeros(0)
    new = (~np.isin(np.concatenate(found), known)).astype(np.float64)
    return np.add.reduceat(new, np.cumsum(lengths) - lengths) / lengths


def longest_shared(sequences: Sequence[Sequence_], corpus: Sequence_ | NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each sequence, the length of its longest span that stands somewhere in the corpus, (n,).

    Spans of a length are looked up for all sequences at once; each length is found by bisection.
    """
    corpus = np.asarray(corpus, np.int64)
    low, high = np.zeros(len(sequences), np.int64), np.array([min(len(s), len(corpus)) for s in sequences], np.int64)
    while (open_ := low < high).any():
        middle = np.where(open_, (low + high + 1) // 2, -1)
        n = int(middle[open_].min())
        known = np.unique(span_hashes(corpus, n))
        for i in np.flatnonzero(middle == n).tolist():
            if np.isin(span_hashes(sequences[i], n), known).any():
                low[i] = n
            else:
                high[i] = n - 1
    return low


def self_bleu(sequences: Sequence[Sequence_], n: int = 4) -> NDArray[np.float64]:
    """Self-BLEU (Zhu et al. 2018): the BLEU of each sequence with all the others as its references, (sequences,).

    Papineni et al. 2002: the geometric mean of clipped precisions of orders 1 .. n, times exp(1 - r / c) where the
    closest reference, r, is longer; precisions without a hit as ``MISSED``. 1 where all are the same.
    """
    if len(sequences) < 2:
        raise ValueError(f"self-BLEU compares at least 2 sequences; got {len(sequences)}")
    log_precision = np.zeros(len(sequences))
    for order in range(1, n + 1):
        counts = [_counted(s, order) for s in sequences]
        # the largest count of each n-gram, and the largest among the others of whoever has it
        most: dict[int, tuple[int, int, int]] = {}
        for i, counted in enumerate(counts):
            for gram, c in counted.items():
                first, who, second = most.get(gram, (0, -1, 0))
                most[gram] = (c, i, first) if c > first else (first, who, max(second, c))
        for i, counted in enumerate(counts):
            hits = sum(min(c, most[g][2] if most[g][1] == i else most[g][0]) for g, c in counted.items())
            total = sum(counted.values())
            log_precision[i] += math.log((hits or MISSED) / max(total, 1)) / n
    lengths = np.array([len(s) for s in sequences])
    penalty = np.zeros(len(sequences))
    for i, c in enumerate(lengths.tolist()):
        others = np.delete(lengths, i)
        # of two equally close the shorter one
        r = int(others[np.lexsort((others, np.abs(others - c)))[0]])
        penalty[i] = min(0.0, 1 - r / c) if c else -math.inf
    return np.exp(log_precision + penalty)


def _counted(sequence: Sequence_, n: int) -> Counter[int]:
    grams: list[int] = span_hashes(sequence, n).tolist()
    return Counter(grams)
