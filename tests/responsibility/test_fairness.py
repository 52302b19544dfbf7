"""Shares corrected for a classifier's confusion, and what is done about them."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.responsibility.conditions import condition_gap
from simulacra.responsibility.fairness import (
    Labelled,
    amplification,
    balanced,
    group_shares,
    quality_by_group,
    reweighted,
)

ERRS = torch.tensor([[0.95, 0.05], [0.30, 0.70]], dtype=torch.float64)


def saw(truth: torch.Tensor, rng: Rng) -> torch.Tensor:
    """What a classifier with these errors says."""
    return rng.categorical(ERRS[truth].log())


def draw(share: float, n: int, name: str, seed: int = 0) -> torch.Tensor:
    return (Rng(seed)(name).uniform((n,)) < share).long()


def labelled(n: int = 2000, seed: int = 0) -> Labelled:
    truth = draw(0.5, n, "labelled", seed)
    return Labelled(truth=truth, seen=saw(truth, Rng(seed)("seen labelled")))


def test_the_correction_undoes_the_classifiers_bias():
    truth = draw(0.4, 4000, "fake")
    seen = saw(truth, Rng(0)("seen"))
    found = group_shares(seen, labelled(), 2)
    # counted, the second group is too rare: 0.6 * 0.05 + 0.4 * 0.7 = 0.31
    assert float(found.counted[1]) == pytest.approx(0.31, abs=0.03)
    low, high = found.interval(1)
    assert low < 0.4 < high
    assert high - low < 0.12


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    inside = 0
    for seed in range(100):
        seen = saw(draw(0.4, 400, "fake", seed), Rng(seed)("seen"))
        low, high = group_shares(seen, labelled(200, seed), 2, rng=seed, repeats=100).interval(1)
        inside += low <= 0.4 <= high
    # 95 of 100 less four standard errors
    assert inside >= 86


@pytest.mark.slow
def test_amplification_holds_nothing_where_there_is_none_and_the_dose_where_there_is_one():
    target = torch.tensor([0.6, 0.4], dtype=torch.float64)
    for share, verdict in ((0.4, "pass"), (0.55, "attention")):
        said, held = [], 0
        for seed in range(5):  # 95 of 100 intervals hold the truth: fewer than 3 of 5 are one case in a thousand
            seen = saw(draw(share, 3000, "fake", seed), Rng(seed)("seen"))
            (found,) = amplification(seen, labelled(), target, ["a", "b"])
            low, high = found.figures[1].interval  # pyright: ignore[reportGeneralTypeIssues]
            said.append(found.verdict)
            held += low <= share - 0.4 <= high
        assert said.count(verdict) >= 3
        assert held >= 3


def test_a_group_of_five_is_not_measured_and_the_others_are():
    truth = torch.cat([torch.zeros(200), torch.ones(200), torch.full((5,), 2)]).long()
    seen = Labelled(truth=truth, seen=truth)
    found = amplification(truth, seen, torch.tensor([200, 200, 5]).double() / 405, ["a", "b", "rare"])
    assert [f.verdict for f in found] == ["pass", "not measured"]
    assert found[1].why.startswith("5 labelled examples")
    assert [f.name for f in found[0].figures] == ["amplification of a", "amplification of b"]


def test_a_target_of_another_size_is_refused():
    with pytest.raises(ValueError, match="gives each of 2 groups a share"):
        amplification(torch.zeros(9).long(), labelled(), torch.ones(3) / 3, ["a", "b"])


def test_a_group_that_is_poorly_drawn_is_named():
    real = Rng(0)("real").normal((600, 4), dtype=torch.float64)
    fake = Rng(0)("fake").normal((600, 4), dtype=torch.float64)
    groups = torch.arange(600) % 3
    same, *_ = quality_by_group(fake, groups, real, groups, ["a", "b", "c"])
    assert same.verdict == "pass"
    fake[groups == 1] *= 0.1
    found, *rest = quality_by_group(fake, groups, real, groups, ["a", "b", "c"])
    assert found.verdict == "attention"
    assert "(b)" in found.why
    assert not rest


def test_quality_of_a_group_of_five_is_not_measured():
    x = Rng(0)("x").normal((205, 3), dtype=torch.float64)
    groups = torch.cat([torch.arange(200) % 2, torch.full((5,), 2)])
    found = quality_by_group(x, groups, x, groups, ["a", "b", "rare"])
    assert found[-1].verdict == "not measured"
    assert found[-1].why.startswith("5 examples")


def test_reweighted_samples_have_the_targets_shares_though_the_classifier_errs():
    truth = draw(0.2, 6000, "fake")
    seen = saw(truth, Rng(0)("seen"))
    kept = reweighted(seen, labelled(), torch.tensor([0.6, 0.4], dtype=torch.float64), 1000)
    assert len(kept.unique()) == 1000
    # 4 standard errors of a share of 1,000, and as much for the confusion's own
    assert float(truth[kept].double().mean()) == pytest.approx(0.4, abs=0.08)
    with pytest.raises(ValueError, match="draw more, or keep fewer"):
        reweighted(seen, labelled(), torch.tensor([0.3, 0.7], dtype=torch.float64), 6000)


def test_balanced_numbers_have_every_group_alike():
    groups = torch.tensor([0] * 50 + [1] * 3 + [4] * 7)
    chosen = balanced(groups, 31)
    assert torch.bincount(groups[chosen])[[0, 1, 4]].tolist() == [11, 10, 10]
    assert set(chosen[groups[chosen] == 1].tolist()) == {50, 51, 52}


def test_the_condition_that_is_not_kept_is_named_and_one_kept_better_than_real_is_no_fault():
    truth = torch.arange(300) % 3
    known = Labelled(truth=truth, seen=torch.where(torch.arange(300) < 60, (truth + 1) % 3, truth))
    assert condition_gap(truth, truth, known, ["a", "b", "c"]).verdict == "pass"
    wrong = torch.where((truth == 2) & (torch.arange(300) < 200), 0, truth)
    found = condition_gap(truth, wrong, known, ["a", "b", "c"])
    assert found.verdict == "attention"
    assert "class: c" in found.why
    few = condition_gap(truth[:60], truth[:60], known, ["a", "b", "c"])
    assert few.verdict == "not measured"
