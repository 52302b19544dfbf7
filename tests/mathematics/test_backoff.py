"""N-grams that predict: by hand, sums, what endless data come to."""

import itertools
import math

import numpy as np
import pytest

from simulacra.core.randomness import Rng
from simulacra.mathematics.backoff import BEGIN, Backoff


def test_probabilities_by_hand():
    model = Backoff([[0, 1, 0, 0]], k=3, order=2)
    # three of four tokens are 0, two differ: (3 + 2 / 3) / (4 + 2), and so on
    alone = [(3 + 2 / 3) / 6, (1 + 2 / 3) / 6, (0 + 2 / 3) / 6]
    assert [model.probability((), token) for token in range(3)] == pytest.approx(alone)
    # after 0 came 1 and 0, once each
    assert model.probability((0,), 1) == pytest.approx((1 + 2 * alone[1]) / 4)
    # after 2 nothing came: what is known without it
    assert model.probability((2,), 1) == pytest.approx(alone[1])
    # the first token is predicted from where it stands
    assert model.probability((BEGIN,), 0) == pytest.approx((1 + alone[0]) / 2)
    assert model.bits([[0, 1]]) == pytest.approx(
        [-math.log2(model.probability((BEGIN,), 0)) - math.log2(model.probability((0,), 1))]
    )


@pytest.mark.parametrize("order", [1, 2, 4])
def test_every_history_leads_to_a_distribution(order):
    learnt = [[0, 2, 1, 1, 0, 2], [2, 2, 0], [1]]
    model = Backoff(learnt, k=4, order=order)
    for history in itertools.product(range(-1, 4), repeat=3):
        assert sum(model.probability(history, token) for token in range(4)) == pytest.approx(1)


def test_much_data_of_a_chain_come_to_its_entropy_rate():
    stay, n = 0.9, 20_000
    flips = (Rng(0)("flips").uniform((n,)) > stay).long()
    chain = flips.cumsum(0) % 2
    learnt, tried = chain[: n // 2].tolist(), chain[n // 2 :].tolist()
    entropy = -(stay * math.log2(stay) + (1 - stay) * math.log2(1 - stay))
    spread = math.sqrt(stay * (1 - stay) / (n // 2)) * math.log2(stay / (1 - stay))
    found = Backoff([learnt], k=2, order=2).bits([tried])[0] / len(tried)
    assert abs(found - entropy) < 4 * spread
    # without a history it knows nothing: both come equally often
    assert Backoff([learnt], k=2, order=1).bits([tried])[0] / len(tried) == pytest.approx(1, abs=0.01)


def test_what_was_never_seen_costs_the_uniform_distribution():
    np.testing.assert_allclose(Backoff([], k=8, order=3).bits([[1, 7], []]), [6, 0])


def test_tokens_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"tokens lie in 0 \.\. 2; got 3"):
        Backoff([[0, 3]], k=3, order=2)
    with pytest.raises(ValueError, match="order"):
        Backoff([[0]], k=3, order=0)
