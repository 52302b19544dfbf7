"""Tasks: what samples are good for, of samples whose worth is known."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.evaluation import tasks as tasks_module
from simulacra.evaluation.tasks import Labelled, convolutional, logistic, scored, tasks


def clusters(n: int, seed: int, *, lost: int | None = None) -> Labelled:
    """Three Gaussians in the plane that overlap a little."""
    y = Rng(seed)("y").integers(3, (n,))
    if lost is not None:
        y = torch.where(y == lost, (lost + 1) % 3, y)
    centres = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    return Labelled(x=centres[y] + Rng(seed)("x").normal((n, 2)), y=y)


def found(fake: Labelled, **options):
    figures = tasks(fake, clusters(300, 1), clusters(600, 2), classes=3, learner=logistic, **options)
    return {f.name: f for f in figures}


def test_samples_of_the_same_distribution_are_as_good_as_data():
    good = found(clusters(300, 3))
    real, fake = good["accuracy, real on real"], good["accuracy, samples on real"]
    assert real.interval[0] < fake.value < real.interval[1]
    assert 0.85 < fake.value < 0.97
    assert good["area, samples on real"].value > 0.95
    assert (fake.n, good["accuracy, real on samples"].n) == (600, 300)
    assert good["gain from samples"].interval[0] <= 0.01
    assert abs(good["gain from samples"].value) < 0.03


def test_a_lost_class_costs_its_share_and_is_not_seen_the_other_way_round():
    lost = found(clusters(300, 3, lost=1))
    assert lost["accuracy, samples on real"].value < 0.68
    assert lost["accuracy, real on samples"].value > 0.85


def test_wrong_labels_are_seen_both_ways():
    wrong = clusters(300, 3)
    wrong = found(Labelled(x=wrong.x, y=(wrong.y + 1) % 3))
    assert wrong["accuracy, samples on real"].value < 0.1
    assert wrong["accuracy, real on samples"].value < 0.1
    assert wrong["gain from samples"].interval[1] < 0


def test_samples_help_where_real_examples_are_few():
    """Labelled noise dimensions: 20 real examples are too few to find the two that matter, 400 samples are not."""
    wide = lambda some, seed: Labelled(x=torch.cat([some.x, Rng(seed)("w").normal((len(some), 60))], 1), y=some.y)  # noqa: E731
    few, many, held = (wide(clusters(n, s), s) for n, s in ((30, 1), (30, 3), (600, 2)))
    figures = {f.name: f for f in tasks(many, few, held, classes=3, learner=logistic)}
    assert figures["gain from samples"].value > 0
    assert "30 samples beside 30 real" in figures["gain from samples"].note


def test_a_convolutional_learner_reads_pictures(monkeypatch):
    monkeypatch.setattr(tasks_module, "SEEN", 1_500)
    y = Rng(0)("y").integers(2, (300,))
    x = 0.3 * Rng(0)("x").normal((300, 1, 8, 8))
    x[torch.arange(300), 0, :, 3] += 1.0
    x = torch.where(y[:, None, None, None] == 1, x.mT, x)
    probabilities = convolutional(x[:200], y[:200], 2, Rng(1))
    tried = scored(probabilities, Labelled(x=x[200:], y=y[200:]), 2)
    assert float(tried.right.double().mean()) > 0.95
    assert tried.area > 0.98
    torch.testing.assert_close(probabilities(x).sum(1), torch.ones(300).double())


def test_one_class_alone_is_learnt_as_such():
    p = logistic(torch.zeros(9, 2), torch.full((9,), 2), 3, Rng(0))(torch.zeros(4, 2))
    assert p.argmax(1).tolist() == [2] * 4


def test_what_makes_no_task():
    good = clusters(300, 1)
    with pytest.raises(ValueError, match="at least 20 labelled examples; there are 9 samples with 9"):
        found(good.first(9))
    with pytest.raises(ValueError, match=r"labels of the samples lie in 5 .. 7; expected 0 .. 2"):
        found(Labelled(x=good.x, y=good.y + 5))
