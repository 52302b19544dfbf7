"""Exact intervals, corrected shares, and what an attacker can tell."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from simulacra.core.randomness import Rng
from simulacra.mathematics.attackers import calibrated, hits_at
from simulacra.mathematics.shares import clopper_pearson, confusion, corrected


@pytest.mark.parametrize("hits", [0, 1, 7, 19, 20])
def test_clopper_pearson_is_scipys_and_covers(hits):
    theirs = stats.binomtest(hits, 20).proportion_ci(0.95, method="exact")
    assert clopper_pearson(hits, 20) == pytest.approx((theirs.low, theirs.high))


def test_clopper_pearson_never_covers_less_than_it_says():
    bounds = [clopper_pearson(k, 15) for k in range(16)]
    for p in torch.linspace(0.01, 0.99, 50).tolist():
        inside = sum(stats.binom.pmf(k, 15, p) for k, (low, high) in enumerate(bounds) if low <= p <= high)
        assert inside >= 0.95 - 1e-12


def test_shares_behind_a_known_confusion_are_found_again():
    errs = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.3, 0.7]], dtype=torch.float64)
    p = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    assert torch.allclose(corrected(p @ errs, errs), p, atol=1e-6)
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(corrected(p, identity), p)


def test_corrected_shares_stay_on_the_simplex():
    errs = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    # a direct solution would be 1.14 and -0.14
    p = corrected(torch.tensor([1.0, 0.0], dtype=torch.float64), errs)
    assert p.tolist() == pytest.approx([1, 0], abs=1e-6)


def test_confusion_counts_rows_of_truth_and_refuses_the_unlabelled():
    truth, seen = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    assert torch.allclose(confusion(truth, seen, 2), torch.tensor([[2 / 3, 1 / 3], [0, 1]], dtype=torch.float64))
    with pytest.raises(ValueError, match="group 2 has no labelled example"):
        confusion(truth, seen, 3)


def test_hits_at_few_false_alarms():
    others = torch.arange(2000).double()
    members = torch.cat([torch.zeros(90), torch.full((10,), 1998.5)]).double()
    # two of 2,000 may lie above: the threshold is the third largest, 1997
    found = hits_at(members, others)
    assert found.threshold == 1997
    assert found.value == 0.1
    assert found.interval == pytest.approx(clopper_pearson(10, 100))
    with pytest.raises(ValueError, match="at least 1000 held-out"):
        hits_at(members, others[:999])


def test_calibration_takes_out_what_every_model_finds_easy():
    easy = 10 * Rng(0)("easy").normal((500,), dtype=torch.float64)
    references = easy + Rng(0)("noise").normal((4, 500), dtype=torch.float64)
    bonus = torch.zeros(500, dtype=torch.float64)
    bonus[:250] = 3
    found = calibrated(easy + bonus, references)
    # what is left is the bonus over the references' deviation of 1, and the error of a mean of four
    assert float(found[:250].mean() - found[250:].mean()) == pytest.approx(3, abs=0.3)
    with pytest.raises(ValueError, match="at least 2 reference"):
        calibrated(easy, references[:1])
