"""Figures beyond the usual ones: each says what it should of samples whose fault is known, and withstands odd ones."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.evaluation import classes, further
from simulacra.evaluation.every import FURTHER
from simulacra.evaluation.further import Sets
from simulacra.evaluation.separability import logistic, neighbours, perceptron, separability, told_apart
from simulacra.evaluation.statistics import Origin
from simulacra.mathematics.frechet import frechet_distance
from simulacra.mathematics.two_sample import kernel_distance

ORIGIN = Origin(extractor="points", extractor_hash="ab", seed=3)


def normal(name: str, n: int, d: int = 8, seed: int = 0) -> torch.Tensor:
    return Rng(seed)(name).normal((n, d), dtype=torch.float64)


def by_name(sets: Sets, *statistics):
    return {f.name: f for s in statistics or FURTHER for f in s(sets, ORIGIN)}


def labelled(n: int, seed: int, *, lost: int | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three clusters far apart with their labels and a classifier's view of them; one may be lost."""
    y = Rng(seed)("y").integers(3, (n,))
    if lost is not None:
        y = torch.where(y == lost, (lost + 1) % 3, y)
    x = 10 * torch.eye(8, dtype=torch.float64)[y] + normal("x", n, seed=seed)
    return x, y, torch.softmax(x[:, :3], 1)


def test_everything_is_said_of_ordinary_sets():
    (fake, fy, fp), (real, ry, rp) = labelled(500, 1), labelled(600, 2)
    train, _, _ = labelled(700, 3)
    sets = Sets(fake=fake, real=real, train=train, fake_p=fp, real_p=rp, fake_y=fy, real_y=ry, classes=("a", "b", "c"))
    found = by_name(sets)
    assert {
        "Frechet distance, extrapolated", "Gaussian kernel distance", "sliced Wasserstein distance",
        "divergence frontier area",
        "precision (k=5, open balls)", "told from real data", "feature likelihood divergence", "authenticity",
        "Vendi score", "diversity", "class score, mean of 10 parts", "labels kept", "class imbalance",
        "diversity within classes", "diversity between classes", "share, class b", "coverage (k=5), class c",
        "labels kept, class a", "diversity, class b",
    } <= set(found)  # fmt: skip
    for figure in found.values():
        assert (figure.extractor, figure.extractor_hash, figure.seed) == ("points", "ab", 3)
        assert math.isfinite(figure.value)
        assert figure.interval_method.startswith("none: ") == (figure.interval is None)
        if figure.interval:
            assert figure.interval[0] <= figure.value <= figure.interval[1]
    assert "CMMD" not in found
    # equal distributions: nothing notices anything
    assert abs(found["Frechet distance, extrapolated"].value) < 0.5
    assert found["told from real data"].value < 0.58
    assert found["class imbalance"].value < 0.08
    assert abs(found["feature likelihood divergence"].value) < 5
    assert found["diversity"].interval[0] <= 1 <= found["diversity"].interval[1]
    assert 0.9 < found["diversity within classes"].value < 1.1


def test_a_lost_class_is_noticed():
    (fake, _, fp), (real, _, rp) = labelled(500, 1, lost=1), labelled(500, 2)
    found = by_name(Sets(fake=fake, real=real, fake_p=fp, real_p=rp))
    assert found["class imbalance"].value > 0.28
    assert "1 of 3 classes never drawn" in found["class imbalance"].note
    assert "p = 0 " not in found["class imbalance"].note
    assert found["share, class 1"].value == 0
    assert "coverage (k=5), class 1" not in found
    assert found["told from real data"].value > 0.6
    assert found["diversity"].value < 0.9


def test_wrong_labels_are_noticed():
    (fake, fy, fp), (real, ry, rp) = labelled(300, 1), labelled(300, 2)
    sets = {"right": fy, "wrong": (fy + 1) % 3}
    found = {k: by_name(Sets(fake=fake, real=real, fake_p=fp, real_p=rp, fake_y=y, real_y=ry), classes.label_accuracy)
             for k, y in sets.items()}  # fmt: skip
    assert found["right"]["labels kept"].value > 0.99
    assert found["wrong"]["labels kept"].value < 0.01
    assert found["right"]["labels kept"].note.startswith("held-out real data: 1.0")


def test_memorised_samples_are_noticed():
    train, real = normal("train", 400), normal("real", 400)
    fresh, copied = normal("fresh", 400), train + 1e-3 * normal("e", 400)
    each = {
        name: by_name(Sets(fake=x, real=real, train=train), further.authenticity, further.likelihood_of_features)
        for name, x in (("fresh", fresh), ("copied", copied))
    }
    assert each["copied"]["authenticity"].value == 0
    assert each["fresh"]["authenticity"].value > 0.3
    assert (
        each["copied"]["feature likelihood divergence"].value
        > 100 + each["fresh"]["feature likelihood divergence"].value
    )


def test_cmmd_is_of_clip_alone():
    """A thousandth of it is the kernel distance of unit rows with a Gaussian of scale 10."""
    x, y = normal("x", 60), normal("y", 50) + 0.5
    (figure,) = further.cmmd(Sets(fake=x, real=y), Origin(extractor="CLIP ViT-L/14"))
    unit = [torch.nn.functional.normalize(t, dim=1) for t in (x, y)]
    k = [(-torch.cdist(a, b).square() / 200).exp() for a in unit for b in unit]
    truth = (k[0].sum() - 60) / (60 * 59) + (k[3].sum() - 50) / (50 * 49) - 2 * k[1].mean()
    assert figure.value == pytest.approx(1000 * float(truth), rel=1e-9)
    assert figure.name == "CMMD"


def test_the_frontier_sees_what_is_lost_and_what_is_invented():
    """Equal sets have an area near 1, sets apart the least there is, 1 / binomial(10, 5); a lost half lies between."""
    (equal,) = further.frontier(Sets(fake=normal("a", 400), real=normal("b", 400)), ORIGIN)
    (apart,) = further.frontier(Sets(fake=normal("a", 400) + 30, real=normal("b", 400)), ORIGIN)
    real = normal("b", 400)
    real[:200] += 30
    (half,) = further.frontier(Sets(fake=normal("a", 400) + 30, real=real), ORIGIN)
    assert equal.value > 0.8
    assert apart.value == pytest.approx(1 / 252, rel=1e-3)
    assert apart.value < half.value < equal.value
    assert further.frontier(Sets(fake=normal("a", 19), real=normal("b", 19)), ORIGIN) == []


def test_subsets_are_of_inception_alone(monkeypatch):
    """Subsets that hold every row are all alike, and the kernel distance of all pairs is their mean."""
    monkeypatch.setattr(further, "SUBSET", 40)
    rng = Rng(0)
    sets = Sets(fake=rng("a").normal((40, 6)), real=rng("b").normal((40, 6)) + 0.3)
    assert further.kernel_of_subsets(sets, Origin(extractor="pixels")) == []
    (found,) = further.kernel_of_subsets(sets, Origin(extractor="Inception-v3 (FID)"))
    assert found.value == pytest.approx(kernel_distance(sets.fake, sets.real).value, rel=1e-9)
    monkeypatch.setattr(further, "SUBSET", 41)
    assert further.kernel_of_subsets(sets, Origin(extractor="Inception-v3 (FID)")) == []


def test_extrapolation_needs_rows_enough():
    assert further.extrapolated_frechet(Sets(fake=normal("x", 100), real=normal("y", 300)), ORIGIN) == []
    (figure,) = further.extrapolated_frechet(Sets(fake=normal("x", 300), real=normal("y", 300)), ORIGIN)
    assert figure.value < frechet_distance(normal("x", 300), normal("y", 300))


@pytest.mark.parametrize("discriminator", [perceptron, logistic, neighbours])
def test_a_shift_is_told_apart_by_every_discriminator(discriminator):
    found = told_apart(normal("x", 400) + 0.8, normal("y", 500), rng=Rng(0), discriminator=discriminator)
    assert found.n == 400
    assert found.hits > 300
    assert found.p < 1e-12
    assert found.area[0] > 0.85


@pytest.mark.parametrize("discriminator", [logistic, neighbours])
def test_equal_distributions_are_told_apart_no_more_often_than_a_coin_says(discriminator):
    """200 tests at level 0.05: ten alarms, within four deviations of three."""
    alarms = sum(
        told_apart(normal("x", 80, 3, i), normal("y", 80, 3, i), rng=Rng(i), discriminator=discriminator).p < 0.05
        for i in range(200)
    )
    assert alarms <= 22


def test_a_difference_of_spread_needs_more_than_a_line():
    x, y = 2 * normal("x", 600), normal("y", 600)
    assert told_apart(x, y, rng=Rng(0), discriminator=logistic).hits < 350
    assert told_apart(x, y, rng=Rng(0), discriminator=perceptron).hits > 450


def test_told_apart_says_how_many_it_needs():
    with pytest.raises(ValueError, match="at least 20 examples a side; got 12"):
        told_apart(normal("x", 12), normal("y", 90), rng=Rng(0))
    assert separability(Sets(fake=normal("x", 12), real=normal("y", 90)), ORIGIN) == []


@pytest.mark.parametrize("n", [2, 3, 6, 25])
@pytest.mark.parametrize("alike", [False, True])
def test_few_and_identical_samples_are_withstood(n, alike):
    """Figures that apply are finite, the others are left out, whatever else is known."""
    fake = torch.ones(n, 8, dtype=torch.float64) if alike else normal("x", n)
    y = torch.zeros(n).long()
    p = torch.full((n, 2), 0.5, dtype=torch.float64)
    for real, ry, rp in ((fake, y, p), (normal("r", 40), torch.arange(40) % 2, torch.full((40, 2), 0.5))):
        sets = Sets(fake=fake, real=real, train=normal("t", 30), fake_y=y, real_y=ry, fake_p=p, real_p=rp)
        assert all(math.isfinite(f.value) for f in by_name(sets).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fake": torch.ones(1, 8)}, "at least 2 examples; the samples have 1"),
        ({"fake": torch.full((9, 8), math.nan)}, "9 of 9 rows of the samples hold NaN"),
        ({"fake": torch.ones(9, 7)}, "samples have 7, the real data 8"),
        ({"fake_y": torch.zeros(4).long()}, "the samples are 9 with 4 labels"),
        ({"real_y": torch.full((9,), 5)}, r"labels of the real data lie in 5 .. 5; expected 0 .. 1"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(change, message):
    given = {"fake": torch.ones(9, 8), "real": torch.ones(9, 8), "classes": ("a", "b"), **change}
    with pytest.raises(ValueError, match=message):
        Sets(**given)
