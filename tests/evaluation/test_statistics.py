"""Figures over feature arrays: what they say, what they refuse, and that their intervals hold the truth."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.statistics import Origin, figures_of_features, frechet, kernel, neighbourhoods, score
from simulacra.mathematics.frechet import frechet_distance


def normal(name: str, n: int, d: int, seed: int = 0) -> torch.Tensor:
    return Rng(seed)(name).normal((n, d), dtype=torch.float64)


def test_every_figure_says_what_it_rests_on():
    origin = Origin(extractor="pixels", extractor_hash="ab", seed=7)
    p = torch.softmax(3 * normal("p", 600, 4), 1)
    figures = figures_of_features(normal("x", 600, 8), normal("y", 500, 8) + 0.3, origin=origin, probabilities=p)
    names = [f.name for f in figures]
    assert names == [
        "Frechet distance", "Frechet distance without bias", "kernel distance",
        "precision (k=5)", "recall (k=5)", "density (k=5)", "coverage (k=5)", "class score",
    ]  # fmt: skip
    for figure in figures:
        assert (figure.extractor, figure.extractor_hash, figure.seed, figure.n) == ("pixels", "ab", 7, 600)
        assert figure.n_real == (None if figure.name == "class score" else 500)
        assert figure.interval_method
        if figure.interval is None:
            assert figure.interval_method.startswith("none: ")
        else:
            assert figure.interval[0] <= figure.value <= figure.interval[1]


@pytest.mark.parametrize(
    ("fake", "real", "message"),
    [
        (torch.ones(5, 3), torch.ones(5, 4), "samples have 3, the real data 4"),
        (torch.ones(1, 3), torch.ones(5, 3), "at least 2 examples; the samples have 1"),
        (torch.ones(5, 3), torch.full((5, 3), math.nan), "5 of 5 rows of the real data hold NaN"),
        (torch.tensor([[1.0, math.inf], [1.0, 1.0]]), torch.ones(5, 2), "1 of 2 rows of the samples hold NaN"),
        (torch.ones(5, 3, 2), torch.ones(5, 3), "shape \\(5, 3, 2\\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(fake, real, message):
    for function in (figures_of_features, frechet, kernel, neighbourhoods):
        with pytest.raises(ValueError, match=message):
            function(fake, real)


def test_fewer_examples_than_features_are_said():
    (figure,) = frechet(normal("x", 20, 30), normal("y", 40, 30))
    assert figure.note == "fewer examples (20) than features (30): mostly bias"
    assert figure.interval is None


def test_constant_features_have_a_distance_and_no_interval():
    x, y = normal("x", 600, 9), normal("y", 600, 9)
    x[:, 1] = y[:, 1] = 0.5
    (figure,) = frechet(x, y)
    assert figure.interval_method == "none: constant or dependent features"
    assert figure.value == pytest.approx(frechet_distance(*(t[:, [0, *range(2, 9)]] for t in (x, y))), rel=1e-9)


def test_small_sets_are_judged_by_what_applies():
    assert [f.name for f in figures_of_features(normal("x", 2, 3), normal("y", 2, 3))] == ["Frechet distance"]
    assert len(figures_of_features(normal("x", 5, 3), normal("y", 5, 3))) == 2


def test_bias_is_taken_off():
    """Equal distributions: the plain distance is far from nought, the other one is not."""
    plain, free = frechet(normal("x", 600, 16), normal("y", 600, 16))
    assert plain.value > 0.2
    assert free.interval is not None
    assert 0 <= free.value < 0.1
    assert all(
        f.interval and 0 <= f.interval[0] <= f.value <= f.interval[1]
        for f in (frechet(normal("x", 500, 8, i), normal("y", 500, 8, i))[1] for i in range(10))
    )


def test_wilson_s_score():
    """Brown, Cai & DasGupta 2001 print no table, so: the bounds solve (p - q)^2 = z^2 q (1 - q) / n."""
    bounds = intervals.of_share(95, 100).bounds
    assert bounds is not None
    for q in bounds:
        assert (0.95 - q) ** 2 == pytest.approx(1.959964**2 * q * (1 - q) / 100, rel=1e-5)
    assert intervals.of_share(0, 10).bounds == (0.0, pytest.approx(0.2775, abs=1e-4))


def test_mean_interval_is_student_s():
    """1, 2 ... 31: mean 16, deviation 9.0921, t_30(0.975) = 2.0423."""
    bounds = intervals.of_mean(torch.arange(1.0, 32.0)).bounds
    assert bounds == pytest.approx((16 - 2.0423 * 9.0921 / 31**0.5, 16 + 2.0423 * 9.0921 / 31**0.5), rel=1e-4)
    assert intervals.of_mean(torch.ones(29)).bounds is None


def covered(repeat, truth: float, repetitions: int) -> float:
    found = [repeat(i) for i in range(repetitions)]
    return sum(low <= truth <= high for low, high in found) / repetitions


def test_frechet_interval_covers_where_a_bootstrap_never_does():
    """N = 500, D = 32, N(0, I) against N(0.1, I): truth 0.32. 60 repetitions: 95 % is 57, four deviations are 7."""

    def repeat(i: int) -> tuple[float, float]:
        figures = frechet(normal("x", 500, 32, i) + 0.1, normal("y", 500, 32, i))
        assert figures[1].interval
        return figures[1].interval

    assert covered(repeat, 0.32, 60) >= 50 / 60


def test_class_score_interval_covers():
    p = lambda i, n: torch.softmax(2 * normal("p", n, 5, i), 1)  # noqa: E731
    truth = score(p(999, 400_000)).value

    def repeat(i: int) -> tuple[float, float]:
        found = score(p(i, 400)).interval
        assert found
        return found

    assert covered(repeat, truth, 150) >= 0.87


def test_class_score_interval_is_centred_on_the_truth_at_small_n():
    """The plain score falls short at n = 100 by what its ten classes' shares are misjudged; its interval does not."""
    p = lambda i, n: torch.softmax(3 * normal("p", n, 10, i), 1)  # noqa: E731
    truth = math.log(score(p(999, 400_000)).value)
    middles, plain = [], []
    for i in range(400):
        found = score(p(i, 100))
        assert found.interval
        middles.append(sum(map(math.log, found.interval)) / 2)
        plain.append(math.log(found.value))
    error = torch.tensor(middles).std() / math.sqrt(400)
    assert abs(sum(middles) / 400 - truth) < 4 * error
    assert truth - sum(plain) / 400 > 4 * error


@pytest.mark.slow
def test_intervals_cover():
    """Kernel distance, precision and recall, 100 repetitions: 95 % within four standard errors."""
    kernels, hoods = [], []
    for i in range(100):
        x, y = normal("x", 1000, 32, i) * 0.9 + 0.1, normal("y", 1000, 32, i)
        kernels.append(kernel(x, y))
        hoods.append(neighbourhoods(x[:500] / 0.9, y[:500])[:2])
    for figures in (kernels, *zip(*hoods, strict=True)):
        truth = sum(f.value for f in figures) / len(figures)
        assert all(f.interval for f in figures)
        assert sum(f.interval[0] <= truth <= f.interval[1] for f in figures) >= 87, figures[0].name
