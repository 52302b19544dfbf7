"""Figures of texts: copies are told from what is new, and each figure says what held-out texts come to."""

from __future__ import annotations

import numpy as np
import pytest

from simulacra.evaluation.texts import cut_for, figures_of_texts


def words(rng: np.random.Generator, n: int) -> list[str]:
    return ["".join(rng.choice(list("abcdef"), 7)) for _ in range(n)]


def test_copies_are_told_from_new_texts():
    rng = np.random.default_rng(0)
    train, real, new = words(rng, 300), words(rng, 60), words(rng, 60)
    copied = {f.name: f for f in figures_of_texts(train[:60], real, train=train)}
    fresh = {f.name: f for f in figures_of_texts(new, real, train=train)}
    assert copied["texts that stand whole in training"].value == 1.0
    assert fresh["texts that stand whole in training"].value == 0.0
    assert copied["longest span from training, characters"].value == 7.0
    assert fresh["longest span from training, characters"].value < 5.5
    assert copied["new 4-grams of characters"].value == 0.0
    interval = fresh["new 4-grams of characters"].interval
    assert interval is not None
    low, high = interval
    # new texts and held-out ones are drawn alike
    assert low < float(fresh["new 4-grams of characters"].note.split(": ")[1]) < high


def test_one_text_again_and_again_has_no_variety():
    rng = np.random.default_rng(0)
    train, real = words(rng, 100), words(rng, 40)
    same = {f.name: f.value for f in figures_of_texts(["abcdef"] * 40, real, train=train)}
    assert same["self-BLEU of characters"] == pytest.approx(1.0)
    assert same["distinct 1-grams of characters"] == pytest.approx(6 / 240)


def test_prose_is_compared_by_words():
    assert cut_for(["a text of several words"]).unit == "word"
    assert cut_for(["anna", "bob"]).unit == "character"
    with pytest.raises(ValueError, match="compared from 2 on; got 1 samples"):
        figures_of_texts(["a"], ["b", "c"], train=["d"])
