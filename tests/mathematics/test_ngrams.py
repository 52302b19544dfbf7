"""N-grams: hashes tell spans apart and alike, and the measures are what counting by hand gives."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from simulacra.mathematics.ngrams import distinct, joined, longest_shared, novelty, self_bleu, span_hashes


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
def test_spans_share_a_hash_exactly_where_they_are_equal(n):
    tokens = np.random.default_rng(0).integers(0, 2, 400)
    found = span_hashes(tokens, n)
    assert len(found) == 400 - n + 1
    by_hash = Counter(found.tolist())
    by_hand = Counter(tuple(tokens[i : i + n]) for i in range(400 - n + 1))
    assert sorted(by_hash.values()) == sorted(by_hand.values())
    # the same span has the same hash wherever it stands
    assert span_hashes(tokens[7 : 7 + n], n)[0] == found[7]
    assert len(span_hashes(tokens[: n - 1], n)) == 0


def test_distinct_is_a_share_of_all():
    assert distinct([[1, 2, 1, 2], [1, 2]], 1) == pytest.approx(2 / 6)
    assert distinct([[1, 2, 1, 2], [1, 2]], 2) == pytest.approx(2 / 4)
    assert math.isnan(distinct([[1]], 2))


def test_novelty_is_what_was_never_seen():
    known = np.unique(span_hashes(joined([[1, 2, 3], [4, 5]]), 2))
    assert novelty([[1, 2, 3], [2, 3, 4], [1], [9, 9]], known, 2).tolist() == [0.0, 0.5, 1.0]
    assert novelty([[3, 4]], known, 2).tolist() == [1.0]  # the end of one and the beginning of the next are no span


def test_the_longest_shared_span_is_found():
    corpus = np.random.default_rng(1).integers(0, 9, 500)
    texts = [[*[10] * 3, *corpus[40:57].tolist(), 11], corpus[490:].tolist(), [20, 21], [], corpus.tolist()]
    assert longest_shared(texts, corpus).tolist() == [17, 10, 0, 0, 500]


def test_self_bleu_is_one_for_copies_and_counted_by_hand_elsewhere():
    assert self_bleu([[1, 2, 3, 4, 5]] * 3).tolist() == pytest.approx([1, 1, 1])
    # order 1: two of three words; order 2: one of two pairs; both references as long as it is
    found = self_bleu([[1, 2, 3], [1, 2, 4], [7, 8, 9]], n=2)
    assert found[0] == pytest.approx(math.sqrt(2 / 3 * 1 / 2))
    assert found[2] == pytest.approx(math.sqrt(0.1 / 3 * 0.1 / 2))
    # a clipped count: of four 1s the other has two; brevity: the closest other is longer by two
    assert self_bleu([[1, 1, 1, 1], [1, 1, 2, 2, 2, 2]], n=1)[0] == pytest.approx(0.5 * math.exp(1 - 6 / 4))
    with pytest.raises(ValueError, match="at least 2 sequences; got 1"):
        self_bleu([[1]])
