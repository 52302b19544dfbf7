"""A likelihood knows what it is, and refuses what cannot be compared."""

import math

import pytest
import torch

from simulacra.core.likelihood import LogLikelihood


def value(kind, mean, measure="8-bit pixels"):
    return LogLikelihood(nats=torch.tensor([mean - 1.0, mean + 1.0]), kind=kind, measure=measure, count=4)


# (kind, mean) of this one and of the other -> what is certain of the true values
CERTAIN = [
    ("exact", -1, "exact", -2, True),
    ("exact", -2, "exact", -1, False),
    ("exact", -1, "exact", -1, False),
    ("bound", -1, "exact", -2, True),  # the truth lies above the bound, which lies above the other
    ("bound", -2, "exact", -1, None),  # a bound below proves nothing: it never loses to an exact value
    ("exact", -2, "bound", -1, False),
    ("exact", -1, "bound", -2, None),
    ("bound", -1, "bound", -2, None),
    ("bound", -2, "bound", -1, None),
    ("estimate", -1, "exact", -2, None),
    ("exact", -1, "estimate", -2, None),
    ("estimate", -1, "bound", -2, None),
    ("exact", math.nan, "exact", -2, None),
    ("exact", -1, "bound", math.nan, None),
]


@pytest.mark.parametrize(("kind", "mean", "other_kind", "other_mean", "certain"), CERTAIN)
def test_only_what_is_certain_is_said(kind, mean, other_kind, other_mean, certain):
    assert value(kind, mean).better_than(value(other_kind, other_mean)) is certain


def test_certainty_holds_for_every_truth_the_kinds_allow():
    # whatever the true value behind each number, an answer that was given must be right
    truths = {"exact": [0.0], "bound": [0.0, 0.5, 3.0]}
    for kind, other in [("exact", "bound"), ("bound", "exact"), ("bound", "bound")]:
        for a, b in [(-2.0, -1.0), (-1.0, -2.0)]:
            said = value(kind, a).better_than(value(other, b))
            ways = {a + x > b + y for x in truths[kind] for y in truths[other]}
            assert said in (ways if len(ways) == 1 else {None})


def test_different_measures_are_refused():
    with pytest.raises(ValueError, match="'bytes' and '8-bit pixels'"):
        value("exact", -1, "bytes").better_than(value("exact", -1))


def test_a_fair_coin_is_one_bit_an_element():
    # 12 fair coins have log p = -12 log 2
    coins = LogLikelihood(nats=torch.full((5,), -12 * math.log(2)), kind="exact", measure="coins", count=12)
    assert coins.bits_per_element() == pytest.approx(1)
    # of unequal lengths: all bits over all elements, not the mean of the ratios
    lengths = torch.tensor([1.0, 3.0])
    uneven = LogLikelihood(nats=-math.log(2) * torch.tensor([1.0, 9.0]), kind="exact", measure="bytes", count=lengths)
    assert uneven.bits_per_element() == pytest.approx(10 / 4)


def test_mean_and_its_standard_error():
    nats = torch.tensor([1.0, 2.0, 3.0, 6.0])
    given = LogLikelihood(nats=nats, kind="exact", measure="m", count=1)
    assert given.mean() == 3
    assert given.standard_error() == pytest.approx(math.sqrt(14 / 3 / 4))
    assert LogLikelihood(nats=nats[:1], kind="exact", measure="m", count=1).standard_error() == math.inf


def test_mean_is_taken_in_float64():
    nats = torch.full((1 << 20,), 0.1, dtype=torch.float32)
    assert LogLikelihood(nats=nats, kind="exact", measure="m", count=1).mean() == pytest.approx(
        float(nats[0]), abs=1e-12
    )
