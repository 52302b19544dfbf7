"""Similarities of sets that can be counted by hand."""

from __future__ import annotations

import pytest
import torch

from simulacra.mathematics.fingerprints import counts_cosine, internal_diversity, nearest_similarity, tanimoto

SETS = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.uint8)


def test_tanimoto_by_hand():
    third, half = 1 / 3, 0.5
    expected = [[1, third, 0, half], [third, 1, 0, half], [0, 0, 1, 0], [half, half, 0, 1]]
    assert torch.allclose(tanimoto(SETS, SETS), torch.tensor(expected))


def test_diversity_is_the_mean_over_different_pairs():
    assert internal_diversity(SETS) == pytest.approx(1 - 2 * (1 / 3 + 0.5 + 0.5) / 12)
    assert internal_diversity(SETS[:1].expand(5, -1)) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="got 1 rows"):
        internal_diversity(SETS[:1])


def test_diversity_of_many_rows_is_the_same_in_pieces(monkeypatch):
    rows = (torch.arange(40 * 8).view(40, 8) * 7 % 3 == 0).to(torch.uint8)
    whole, near = internal_diversity(rows), nearest_similarity(rows, SETS.repeat(1, 2))
    monkeypatch.setattr("simulacra.mathematics.fingerprints.ROWS", 7)
    assert internal_diversity(rows) == pytest.approx(whole, abs=1e-12)
    assert torch.equal(nearest_similarity(rows, SETS.repeat(1, 2)), near)


def test_nearest_by_hand():
    assert torch.allclose(nearest_similarity(SETS[:2], SETS[2:]), torch.tensor([0.5, 0.5]).double())


def test_cosine_of_counts_by_hand():
    assert counts_cosine({"a": 3, "b": 4}, {"a": 3, "b": 4}) == pytest.approx(1.0)
    assert counts_cosine({"a": 1}, {"b": 1}) == 0.0
    assert counts_cosine({"a": 3, "b": 4}, {"a": 1}) == pytest.approx(0.6)
    assert counts_cosine({}, {"a": 1}) == 0.0
