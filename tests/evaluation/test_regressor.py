"""The regressor: features that follow numbers, kept by the data's fingerprint."""

import pytest
import torch

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.evaluation.classifier import ClassifierConfig
from simulacra.evaluation.regressor import regressor

PICTURE = Continuous(low=-1, high=1, shape=(1, 8, 8))
PLACE = Space(fields={"place": Continuous(low=0, high=7, shape=(2,), centre=3.5, scale=2.3)}, measure="pixels")
QUICK = ClassifierConfig(features=8, channels=8, examples=6_000)


def spots(n: int, seed: int) -> Stored:
    """Blurred spots, labelled with where they are."""
    place = 7 * Rng(seed)("place").uniform((n, 2))
    rows = torch.arange(8.0)
    away = (rows[:, None] - place[:, 0, None, None]) ** 2 + (rows - place[:, 1, None, None]) ** 2
    x = 2 * torch.exp(-away / 4)[:, None] - 1
    return Stored(space=Space(fields={"picture": PICTURE}, y=PLACE, measure="pixels"), x=x, y=place, name="spots")


def explained(features: torch.Tensor, place: torch.Tensor) -> float:
    """Share of the variance of places that a linear map of features explains."""
    known = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    fitted = known @ torch.linalg.lstsq(known, place.double()).solution
    return float(1 - (fitted - place).square().sum() / (place - place.mean(0)).square().sum())


def test_its_features_follow_the_numbers_and_are_kept(tmp_path):
    data, fresh = spots(600, 0), spots(300, 1)
    first = regressor(data, folder=tmp_path, config=QUICK)
    assert explained(first(fresh.x), fresh.y) > 0.95
    # the same network that has learnt something else knows less of them
    shuffled = Stored(space=data.space, x=data.x, y=data.y[Rng(2)("order").permutation(600)], name="shuffled")
    assert explained(regressor(shuffled, config=QUICK)(fresh.x), fresh.y) < explained(first(fresh.x), fresh.y)
    assert abs(float(first(fresh.x).std()) - 1) < 0.3
    again = regressor(data, folder=tmp_path, config=QUICK)
    assert again.hash == first.hash
    assert (first.classify, first.accuracy) == (None, None)


def test_labels_that_are_no_numbers_are_refused():
    classes = Space(fields={"picture": PICTURE}, y=Classes(names=("a", "b")), measure="pixels")
    data = Stored(space=classes, x=torch.zeros(30, 1, 8, 8), y=torch.zeros(30, dtype=torch.int64), name="letters")
    with pytest.raises(ValueError, match="those of letters are not: use classifier"):
        regressor(data)
    with pytest.raises(ValueError, match="20 or more; got 5 examples of spots"):
        regressor(spots(5, 0))
