"""Sequences as a task: samples whose worth is known."""

import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.evaluation.prediction import prediction, token_rows
from simulacra.mathematics.backoff import Backoff

END = 3


def walks(n: int, seed: int, *, stay: float = 0.9) -> list[list[int]]:
    """Rows of a chain of three states, each as long as it likes."""
    moved = (Rng(seed)("moved").uniform((n, 30)) > stay).long()
    rows = (moved.cumsum(1) + Rng(seed)("first").integers(3, (n, 1))) % 3
    length = 5 + Rng(seed)("length").integers(25, (n,))
    return token_rows(Batch(x=rows, length=length), END)


def found(fake: list[list[int]]):
    figures = prediction(fake, walks(200, 1), walks(300, 2), k=END + 1, order=3)
    return {f.name: f for f in figures}


def test_samples_of_the_same_distribution_are_as_good_as_data():
    good = found(walks(200, 3))
    real, fake = good["next token, real on real"], good["next token, samples on real"]
    assert real.interval[0] < fake.value < real.interval[1]
    # twice as much to learn from helps, and that is seen
    assert good["bits saved by samples"].interval[0] > 0
    saved = real.value - good["next token, both on real"].value
    assert good["bits saved by samples"].value == pytest.approx(saved)


def test_samples_of_another_distribution_are_worth_less():
    other = found(walks(200, 3, stay=0.3))
    assert other["next token, samples on real"].interval[0] > other["next token, real on real"].interval[1]
    assert other["bits saved by samples"].value < 0


def test_copies_of_one_sequence_are_found_poor():
    one = found(walks(1, 3) * 200)
    assert one["next token, samples on real"].value > 1.5 * one["next token, real on real"].value


def test_both_sides_learn_from_equally_many():
    train, held, fake = walks(200, 1), walks(300, 2), walks(50, 3)
    figures = {f.name: f for f in prediction(fake, train, held, k=END + 1, order=3)}
    alone = Backoff(train[:50], k=END + 1, order=3).bits(held).mean()
    assert figures["next token, real on real"].value == pytest.approx(alone)


def test_rows_end_where_they_end():
    x = torch.tensor([[1, 2, 0], [2, 0, 0]])
    assert token_rows(Batch(x=x, length=torch.tensor([2, 3])), 7) == [[1, 2, 7], [2, 0, 0, 7]]
    assert token_rows(Batch(x=x), 7) == x.tolist()
    with pytest.raises(ValueError, match="leave --tasks out"):
        token_rows(Batch(x=x.double()), 7)


def test_few_sequences_are_refused():
    with pytest.raises(ValueError, match="at least 20 sequences; there are 5 samples"):
        prediction(walks(5, 0), walks(30, 1), walks(30, 2), k=END + 1)
