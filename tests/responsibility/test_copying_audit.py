"""Copying as an audit sees it: planted copies are found, the innocent pass, the too small are refused."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.responsibility.copying import copying, duplicates, findings_of_copying


def world(name: str, n: int, seed: int = 0) -> torch.Tensor:
    return Rng(seed)(name).normal((n, 6), dtype=torch.float64)


def test_copies_are_found_by_the_tail_and_shown_first():
    train, held, fake = world("train", 800), world("held", 400), world("fake", 400)
    fake[:20] = train[100:120]
    found = copying(fake, held, train)
    tail, _ = findings_of_copying(found, len(held))
    assert tail.verdict == "attention"
    assert found.closest(20).sort().values.tolist() == list(range(20))
    assert found.index[:20].tolist() == list(range(100, 120))


def test_a_model_that_hugs_its_data_everywhere_is_found_by_c_t():
    train, held = world("train", 400), world("held", 400)
    fake = train + 0.3 * world("noise", 400)
    found = findings_of_copying(copying(fake, held, train), 400)
    assert [f.verdict for f in found] == ["attention", "attention"]
    assert found[1].figures[0].value < -3


def test_samples_of_the_truth_pass():
    found = findings_of_copying(copying(world("fake", 400), world("held", 400), world("train", 800)), 400)
    assert [f.verdict for f in found] == ["pass", "pass"]


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="at least 100 samples and held-out examples; got 400 and 99"):
        copying(world("fake", 400), world("held", 99), world("train", 400))


def test_duplicates_in_the_training_data_are_counted():
    train = world("train", 300)
    assert duplicates(train).verdict == "pass"
    train[:5] = train[10:15]
    train[20] = train[30] + 1e-6
    found = duplicates(train)
    assert found.verdict == "attention"
    # a pair counts twice: each of the two has another
    assert [f.value for f in found.figures] == pytest.approx([10 / 300, 12 / 300])
