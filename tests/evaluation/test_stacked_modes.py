"""Modes of stacks are what the classifier of single digits says of their colours."""

import pytest
import torch
from torch.nn import functional as F

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.evaluation.extractors import Extractor
from simulacra.evaluation.stacked import figures_of_modes, modes_of_samples, modes_seen


def level(x: torch.Tensor) -> torch.Tensor:
    """A classifier whose class is the level of the first pixel."""
    return F.one_hot(x[:, 0, 0, 0].round().long(), 10).double()


JUDGE = Extractor(name="classifier", hash="h", features=lambda x: x, classify=level, accuracy=(0.99, 500))


class Draws:
    """Digits that are independent and equally likely, each a picture of its own level."""

    def sample(self, n: int, *, y=None, rng=0) -> Batch:
        digits = Rng.of(rng)("digits").integers(10, (n, 3)).float()
        return Batch(x=digits[:, :, None, None].expand(n, 3, 2, 2).contiguous())


def test_each_colour_is_classified_by_itself():
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 9.0]])[:, :, None, None].expand(2, 3, 2, 2)
    assert modes_seen(x, level).tolist() == [123, 9]
    with pytest.raises(ValueError, match="three colours"):
        modes_seen(x[:, :2], level)


def test_all_modes_of_even_draws():
    weights = torch.full((1000,), 1e-3, dtype=torch.float64)
    found = modes_of_samples(Draws(), JUDGE, weights, n=12_500)
    assert (found.modes, found.n) == (1000, 12_500)
    assert found.reverse_kl == pytest.approx(999 / 25_000, rel=0.25)  # 5 deviations of chi^2_999 / 999 are 0.22
    modes, kl = figures_of_modes(found, JUDGE, seed=3)
    assert (modes.value, modes.unit, kl.unit, kl.direction) == (1000, "modes", "nats", "lower")
    assert "99.0 % of 500" in kl.note
    assert "0.040 in expectation" in kl.note
