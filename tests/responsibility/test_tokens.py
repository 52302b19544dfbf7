"""Marks in tokens: exact nulls, no bias of the tournament, and marked text found at a false-positive rate of 1e-6."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from simulacra.core.randomness import Rng
from simulacra.mathematics.discrete import support_quantile
from simulacra.responsibility.keys import Key
from simulacra.responsibility.tokens import Green, Tournament
from simulacra.responsibility.verdicts import threshold, verdict

K = 12


def key(number: int) -> Key:
    return Key(secret=number.to_bytes(32, "big"))


def drawn(mark, n: int, t: int, seed: int = 0) -> torch.Tensor:
    """Sequences of independent tokens of equal probability, drawn with a mark or none."""
    seen, u = torch.zeros(n, 0, dtype=torch.int64), Rng(seed)("u").uniform((n, t))
    for i in range(t):
        log_probs = torch.full((n, K), 1 / K).log()
        log_probs = log_probs if mark is None else mark(log_probs, seen)
        seen = torch.cat([seen, support_quantile(log_probs, u[:, i])[:, None]], dim=1)
    return seen


def test_thresholds_are_exact():
    assert threshold(256, 1e-6) == 167
    assert stats.binom.sf(166, 256, 0.5) <= 1e-6 < stats.binom.sf(165, 256, 0.5)
    assert threshold(8, 0.5**8) == 8
    assert threshold(8, 0.5**9) == 9


@pytest.mark.parametrize("make", [Green, Tournament])
def test_marked_texts_are_found_and_others_are_not(make):
    mark = make(key=key(1))
    texts = drawn(mark, 10, 200).tolist()
    assert max(mark.look(text, K).p for text in texts) < 1e-6
    assert min(make(key=key(2)).look(text, K).p for text in texts) > 1e-4
    assert min(mark.look(text, K).p for text in drawn(None, 10, 200).tolist()) > 1e-4


@pytest.mark.parametrize("make", [Green, Tournament])
def test_the_null_is_exact_over_keys_even_in_repetitive_text(make):
    """A text that repeats itself: without leaving out repeated pairs its level would be far above nominal."""
    text = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 30
    found = [make(key=key(100 + i)).look(text, K) for i in range(1500)]
    trials = found[0].trials
    assert trials == 10 * (1 if make is Green else 8)
    for rate in (0.1, 0.01):
        level = float(stats.binom.sf(threshold(trials, rate) - 1, trials, 0.5))
        hits = sum(v.p <= rate for v in found)
        assert stats.binomtest(hits, len(found), level).pvalue > 1e-4


def test_a_tournament_keeps_the_distribution_over_keys():
    """Over all bits of two tokens in two layers, by enumeration, the mean of the changed distribution is p itself."""
    p = torch.tensor([0.7, 0.3], dtype=torch.float64)
    total = torch.zeros(2, dtype=torch.float64)
    for bits in itertools.product([0.0, 1.0], repeat=4):
        q = p
        for g in torch.tensor(bits, dtype=torch.float64).view(2, 2):
            q = q * (1 + g - (q * g).sum())
        total += q / 16
    torch.testing.assert_close(total, p)
    # and the function itself, over many keys: five standard errors of values within [0, 1]
    seen = torch.tensor([[5, 1, 0, 1]])
    mean = sum(Tournament(key=key(i), layers=3)(p.log()[None], seen).exp()[0] for i in range(2000)) / 2000
    assert float((mean - p).abs().max()) < 5 * 0.5 / 2000**0.5


def test_contexts_that_were_there_before_are_left_unmarked():
    mark = Tournament(key=key(3), context=2)
    log_probs = torch.full((2, K), 1 / K).log()
    seen = torch.tensor([[1, 2, 3, 1, 2], [1, 2, 3, 1, 4]])
    changed = mark(log_probs, seen)
    assert torch.equal(changed[0], log_probs[0])
    assert not torch.allclose(changed[1], log_probs[1])


def test_green_tokens_are_likelier_by_delta():
    log_probs = torch.randn(3, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    changed = Green(key=key(4), delta=1.5)(log_probs, torch.zeros(3, 5, dtype=torch.int64))
    torch.testing.assert_close(changed.exp().sum(1), torch.ones(3, dtype=torch.float64))
    gain = changed - log_probs
    high, low = gain.amax(1, keepdim=True), gain.amin(1, keepdim=True)
    torch.testing.assert_close(high - low, torch.full((3, 1), 1.5, dtype=torch.float64))
    assert bool(torch.minimum((gain - high).abs(), (gain - low).abs()).max() < 1e-12)


def test_what_cannot_be_looked_at_is_refused():
    with pytest.raises(ValueError, match="5 tokens or more; got 3"):
        Green(key=key(0)).look([1, 2, 3], K)
    with pytest.raises(ValueError, match=r"lie in 0 \.\. 11; got 40"):
        Green(key=key(0)).look([40, 2, 3, 4, 5, 6], K)


def test_absence_is_said_honestly():
    assert "does not show that a person made it" in verdict(5, 10).words(1e-6)
    assert "marked with this key" in verdict(100, 100).words(1e-6)
    assert not verdict(20, 20).found(1e-6, examples=2)
