"""Entropy coding: what is pushed is popped, the length is the information, shares are those of the probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from simulacra.core.randomness import Rng
from simulacra.mathematics import coding
from simulacra.mathematics.coding import BITS, CODE_BITS, EvenBins, NormalBins, Stack, finder, of_symbols, shares


def steps_of(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.minimum(np.rint(-64 * np.log2(p)), coding.SMALLEST + 1).astype(np.int64)


def distributions(m: int, k: int, seed: int = 0) -> np.ndarray:
    logits = 3 * Rng(seed)("logits").normal((m, k), dtype=torch.float64).numpy()
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def drawn(p: np.ndarray, seed: int = 1) -> np.ndarray:
    u = Rng(seed)("u").uniform((len(p), 1)).numpy().astype(np.float64)
    return np.minimum((p.cumsum(1) <= u).sum(1), p.shape[1] - 1)


@pytest.mark.parametrize("lanes", [1, 3, 64])
@pytest.mark.parametrize("m", [1, 64, 1000])
def test_what_is_pushed_is_popped_and_the_stack_is_as_it_was(lanes, m):
    p = distributions(m, 7)
    symbol, count = drawn(p), shares(steps_of(p))
    stack = Stack(lanes)
    stack.push(*of_symbols(count, symbol))
    again = Stack.from_bytes(stack.to_bytes(), lanes)
    assert again.bits == 8 * len(stack.to_bytes())
    np.testing.assert_array_equal(again.pop(m, finder(count)), symbol)
    assert again.untouched()
    assert not stack.untouched()


def test_the_length_is_the_information():
    p = distributions(40_000, 5)
    symbol = drawn(p)
    stack = Stack(1)
    stack.push(*of_symbols(shares(steps_of(p)), symbol))
    ideal = -np.log2(p[np.arange(len(p)), symbol]).sum()
    # a head of 64 bits begins with 31 bits of nothing, and ends somewhere between half and wholly filled
    assert -1e-4 * ideal < stack.bits - 31 - ideal < 33 + 1e-4 * ideal


def test_a_value_that_is_nearly_certain_costs_next_to_nothing():
    p = np.tile([1e-6, 1 - 1e-6], (20_000, 1))
    stack = Stack(1)
    stack.push(*of_symbols(shares(steps_of(p)), np.ones(len(p), np.int64)))
    assert stack.bits - 64 <= 32  # 0.03 bits of information


def test_shares_are_whole_positive_and_sum_to_all():
    p = distributions(50, 256)
    p[0] = np.eye(256)[3]  # one value is certain: the others keep a share, so that they can be coded
    count = shares(steps_of(p))
    assert count.min() == 1
    assert (count.sum(1) == 1 << BITS).all()
    assert count[0, 3] == (1 << BITS) - 255
    # rounding to 64ths of a bit changes a probability by half of one at most, normalising by as much again
    shown = count[1:] / (1 << BITS)
    assert (np.abs(np.log2(shown / p[1:]))[p[1:] > 1e-4] < 1.05 / 64 + 1e-2).all()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (np.full((1, 2), coding.SMALLEST + 1), "not normalised"),
        (np.zeros((1, (1 << 16) + 1), np.int64), "at most 65536 values"),
    ],
)
def test_impossible_distributions_are_refused(steps, said):
    with pytest.raises(ValueError, match=said):
        shares(steps)


def test_the_powers_are_whole_roots():
    powers = coding._powers()
    assert powers[0] == 1 << 30
    assert powers[64] == 1 << 29
    assert powers[32] == math.isqrt(1 << 59)
    assert powers[-1] == 0


def test_more_than_was_pushed_is_refused_without_a_supply_and_drawn_with_one():
    count = np.full((200, 4), 1 << (BITS - 2))
    with pytest.raises(ValueError, match="more was popped than was pushed"):
        Stack(2).pop(200, finder(count))
    supply = Rng(5)
    stack = Stack(2, supply=supply)
    symbol = stack.pop(200, finder(count))
    assert stack.supplied > 0
    assert set(symbol) == {0, 1, 2, 3}
    stack.push(*of_symbols(count, symbol))
    assert stack.untouched(supply)
    assert not stack.untouched(Rng(6))


def test_heads_that_are_added_cost_nothing_and_are_taken_back():
    p = distributions(3000, 5)
    symbol, count = drawn(p), shares(steps_of(p))
    narrow, wide = Stack(1), Stack(1)
    narrow.push(*of_symbols(count, symbol))
    for first, last, lanes in ((0, 1000, 1), (1000, 2000, 4), (2000, 3000, 9)):
        if lanes > 1:
            wide.widen(lanes)
        wide.push(*of_symbols(count[first:last], symbol[first:last]))
    assert wide.bits - narrow.bits < 8 * 34  # what the heads are not filled with at the end
    again = Stack.from_bytes(wide.to_bytes(), 9)
    with pytest.raises(ValueError, match="does not end as it began"):
        Stack.from_bytes(wide.to_bytes(), 9).narrow(4)
    for first, last, lanes in ((2000, 3000, 4), (1000, 2000, 1), (0, 1000, 1)):
        np.testing.assert_array_equal(again.pop(1000, finder(count[first:last])), symbol[first:last])
        again.narrow(lanes)
    assert again.untouched()


def test_popping_draws_from_the_distribution():
    p = np.tile([0.1, 0.2, 0.7], (20_000, 1))
    symbol = Stack(16, supply=Rng(0)).pop(len(p), finder(shares(steps_of(p))))
    for value, share in enumerate(p[0]):
        error = math.sqrt(share * (1 - share) / len(p))
        assert abs((symbol == value).mean() - share) < 4 * error


@pytest.mark.parametrize("drop", [0, 5, 13])
def test_normal_bins_have_the_normals_mass(drop):
    mean, log_scale = np.array([0, 700, -3000, 8000]), np.array([0, -96, 40, -200])
    bins = 1 << (CODE_BITS - drop)
    edges = stats.norm.ppf(np.arange(bins + 1) / bins)
    for m, s in zip(mean, log_scale, strict=True):
        exact = np.diff(stats.norm.cdf(edges, m / 2048, 2.0 ** (s / 32)))
        normal = NormalBins(np.full(bins, m), np.full(bins, s), np.full(bins, drop))
        start, count = normal.of_symbols(np.arange(bins))
        assert start[0] == 0
        assert (np.diff(start) == count[:-1]).all()
        assert start[-1] + count[-1] == 1 << coding.NORMAL_BITS
        assert count.min() >= 1
        assert np.abs(count / (1 << coding.NORMAL_BITS) - exact).sum() < 3e-3


def test_codes_of_a_normal_are_popped_as_they_were_pushed():
    rng = Rng(2)
    m = 500
    drop = rng("drop").integers(CODE_BITS + 1, (m,)).numpy()
    index = rng("index").integers(1 << CODE_BITS, (m,)).numpy() >> drop
    normal = NormalBins(rng("m").integers(9000, (m,)).numpy() - 4500, rng("s").integers(300, (m,)).numpy() - 250, drop)
    even = EvenBins(drop)
    stack = Stack(7)
    stack.push(*normal.of_symbols(index), coding.NORMAL_BITS)
    stack.push(*even.of_symbols(index), CODE_BITS)
    np.testing.assert_array_equal(stack.pop(m, even.find, CODE_BITS), index)
    np.testing.assert_array_equal(stack.pop(m, normal.find, coding.NORMAL_BITS), index)
    assert stack.untouched()


def test_even_bins_cost_their_own_bits():
    stack = Stack(1)
    for drop in (14, 9, 0):
        before = stack.bits
        stack.push(*EvenBins(np.full(3200, drop)).of_symbols(np.zeros(3200, np.int64)), CODE_BITS)
        assert abs(stack.bits - before - 3200 * (CODE_BITS - drop)) <= 32


@pytest.mark.parametrize("drop", [0, 1, 8, 14])
def test_centres_halve_their_bins(drop):
    index = np.arange(1 << (CODE_BITS - drop))
    exact = stats.norm.ppf((index + 0.5) / len(index))
    np.testing.assert_allclose(coding.centres(index, np.full(len(index), drop)), exact, atol=2.0**-20)


@pytest.mark.parametrize("drop", [0, 8])
def test_drawn_codes_are_normal(drop):
    n = 4000
    drops = np.full(n, drop)
    normal = NormalBins(np.full(n, 1024), np.full(n, -32), drops)  # N(1/2, (1/2)^2)
    z = coding.centres(Stack(32, supply=Rng(3)).pop(n, normal.find, coding.NORMAL_BITS), drops)
    # to within a bin: its edges hold the normal's own mass
    edges = stats.norm.cdf(stats.norm.ppf(np.arange(1, 64) / 64), 0.5, 0.5)
    share = (z[:, None] < stats.norm.ppf(np.arange(1, 64) / 64)).mean(0)
    assert (np.abs(share - edges) < 5 * np.sqrt(edges * (1 - edges) / n) + 1e-12).all()
