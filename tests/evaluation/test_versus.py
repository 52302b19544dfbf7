"""Generative against discriminative: what is known of the methods, of the sweeps, and of what is said of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from simulacra.core.randomness import Rng
from simulacra.evaluation.report.versus import Contest, Section, render_versus, said
from simulacra.evaluation.versus import words
from simulacra.evaluation.versus.changes import at_random, ending, lower_rows
from simulacra.evaluation.versus.classical import Logistic, NaiveBayes
from simulacra.evaluation.versus.sweeps import ERROR, SIZE, Plan, Sweep, error, examine, mislabelled
from simulacra.evaluation.versus.task import Task, shuffled


def gaussians(d: int = 4, apart: float = 1.0, n: int = 40_000) -> Task:
    """Two normal classes of unit variance; the least error is Phi(-apart sqrt(d) / 2)."""
    y = torch.arange(n) % 2
    x = (2 * y - 1)[:, None].double() * apart / 2 + Rng(5)("x").normal((n, d), dtype=torch.float64)
    return Task(name="gaussians", x=x, y=y, classes=("a", "b"), columns=(0,) * d)


def mixed(n: int = 4_000) -> Task:
    """A number and two categories, independent given the class."""
    y = Rng(1)("y").integers(3, (n,))
    number = y.double() + Rng(1)("u").normal((n,), dtype=torch.float64)
    odds = torch.tensor([[2.0, 0, 0, 1], [0, 2, 0, 1], [0, 0, 2, 1]])
    c = Rng(1)("c").categorical(odds[y])
    b = Rng(1)("b").categorical(odds[y][:, :2])
    x = torch.stack([number, c.double(), b.double()], dim=1)
    return Task(name="mixed", x=x, y=y, classes=("a", "b", "c"), columns=(0, 4, 2))


@pytest.mark.parametrize("method", [NaiveBayes(), Logistic()])
def test_where_naive_bayes_is_right_both_reach_the_least_error(method):
    task = gaussians()
    least = 0.5 * math.erfc(4**0.5 / 2 / 2**0.5)  # Phi(-1) = 0.1587
    train, test = task.rows(torch.arange(0, 10_000)), task.rows(torch.arange(10_000, 40_000))
    found = error(method.fit(train, Rng(0)).log_probs(test.x), test.y)
    # three standard errors of 30,000 answers, and what 10,000 examples leave to learn: less than 0.001
    assert abs(found - least) < 3 * math.sqrt(least * (1 - least) / 30_000) + 1e-3


def test_naive_bayes_is_linear_where_the_classes_share_variances():
    fitted = NaiveBayes().fit(gaussians(n=2_000), Rng(0))
    x = Rng(2)("x").normal((3, 4), dtype=torch.float64)
    between = torch.stack([x[0], (x[0] + x[1]) / 2, x[1]])
    log_odds = (p := fitted.log_probs(between))[:, 1] - p[:, 0]
    torch.testing.assert_close(log_odds[1], (log_odds[0] + log_odds[2]) / 2)


def test_naive_bayes_sums_out_what_is_unknown():
    """p(y | x_1) is the mean of p(y | x_1, c) under p(c | x_1), by hand over all values of the categories."""
    task = mixed()
    fitted = NaiveBayes().fit(task, Rng(0))
    x = task.x[:5].clone()
    known = torch.tensor([True, False, False]).expand(5, 3)
    joint = torch.zeros(5, 3, dtype=torch.float64)
    for c in range(4):
        for b in range(2):
            each = x.clone()
            each[:, 1], each[:, 2] = c, b
            joint += fitted._joint(each, None).exp()
    torch.testing.assert_close(fitted.log_probs_of(x, known), joint.log().log_softmax(1))


def test_completions_keep_what_is_known_and_follow_the_class():
    task = mixed()
    fitted = NaiveBayes().fit(task, Rng(0))
    x = task.x[:1].expand(20_000, 3).clone()
    known = torch.tensor([True, False, True]).expand_as(x)
    drawn = fitted.complete(x, known, Rng(3))
    assert torch.equal(drawn[:, [0, 2]], x[:, [0, 2]])
    p_y = fitted.log_probs_of(x[:1], known[:1]).exp()[0]
    expected = (p_y[:, None] * fitted.tables[1].exp()).sum(0)
    found = torch.bincount(drawn[:, 1].long(), minlength=4) / 20_000
    assert float((found - expected).abs().max()) < 4 * math.sqrt(0.25 / 20_000)


def test_logistic_regression_agrees_with_newtons_method():
    """One column, a weak penalty: the gradient of the log likelihood is nought at what was found."""
    task = gaussians(d=1, n=500)
    fitted = Logistic(strengths=(1e6,)).fit(task, Rng(0))
    p = fitted.log_probs(task.x).exp()[:, 1]
    residual = task.y.double() - p
    assert abs(float(residual.mean())) < 1e-3
    assert abs(float((residual * task.x[:, 0]).mean())) < 1e-3


def test_any_beginning_holds_every_class():
    y = torch.cat([torch.zeros(95, dtype=torch.int64), torch.ones(3, dtype=torch.int64), torch.tensor([2, 2])])
    for seed in range(20):
        order = shuffled(y, Rng(seed))
        assert sorted(order.tolist()) == list(range(100))
        assert set(y[order[:3]].tolist()) == {0, 1, 2}


def test_wrong_labels_are_as_many_as_said_and_hold_the_fewer():
    task = mixed(20_000)
    less, more = mislabelled(task, 0.1, Rng(0)), mislabelled(task, 0.3, Rng(0))
    for changed, rate in ((less, 0.1), (more, 0.3)):
        share = float((changed.y != task.y).double().mean())
        assert abs(share - rate) < 4 * math.sqrt(rate * (1 - rate) / 20_000)
    wrong = less.y != task.y
    assert torch.equal(less.y[wrong], more.y[wrong])


def test_what_is_hidden_is_as_much_as_said_and_more_holds_less():
    x = torch.zeros(50, 10)
    some, most = at_random(x, 0.3, Rng(0)), at_random(x, 0.7, Rng(0))
    assert torch.equal((~some).sum(1), torch.full((50,), 3))
    assert not bool((most & ~some).any())
    assert bool(at_random(x, 1.0, Rng(0)).any(1).all())
    assert ending(torch.zeros(2, 16), 0.25, Rng(0)).sum(1).tolist() == [12, 12]
    rows = lower_rows(torch.zeros(2, 1, 14, 14), 4 / 7, Rng(0))
    assert bool(rows[:, :, :6].all())
    assert not bool(rows[:, :, 6:].any())


def test_learning_curves_are_paired_and_the_same_seed_gives_the_same():
    task = gaussians(n=900)
    plan = Plan(sizes=(8, 64), base=64, repetitions=3, test=300, spare=100, noise=(0.0, 0.4), priors=(0.2, 0.5))
    one = examine(task, [NaiveBayes(), Logistic()], plan, Rng(0))
    two = examine(task, [NaiveBayes(), Logistic()], plan, Rng(0))
    for a, b in zip(one, two, strict=True):
        assert all(torch.equal(a.results[who], b.results[who]) for who in a.results)
    by = {(s.asked.partition(",")[0].partition(" among")[0], s.measure): s for s in one}
    size, noise = by["more training examples", ERROR], by["wrong labels", ERROR]
    # no wrong labels at the base size is the learning curve's own place
    assert torch.equal(noise.results["naive Bayes"][:, 0], size.results["naive Bayes"][:, 1])
    assert Sweep.from_json(size.to_json()).to_json() == size.to_json()


def test_known_new_priors_help_where_the_model_is_right():
    task = gaussians(d=1, n=30_000)
    plan = Plan(sizes=(5_000,), base=5_000, repetitions=2, test=20_000, priors=(0.05, 0.95))
    (priors,) = [s for s in examine(task, [NaiveBayes(), Logistic()], plan, Rng(0)) if "shares" in s.asked]
    for share in range(2):
        told, untold = (float(priors.results[who].mean(0)[share]) for who in (priors.pair[0], "naive Bayes"))
        # the least error under priors 0.05 and 0.95: the threshold moves by log(19) / apart
        t = math.log(19.0)
        p = torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor([-0.5 - t, -0.5 + t], dtype=torch.float64))
        assert abs(told - float(0.95 * p[0] + 0.05 * p[1])) < 0.01
        assert told < untold


def sweep(differences: np.ndarray, task: str = "planted") -> Sweep:
    """Naive Bayes at 0.3, the regression that much better."""
    d = torch.from_numpy(differences)
    return Sweep(
        task=task, asked="more training examples", axis=SIZE, values=(10, 20, 40, 80), measure=ERROR,
        results={"naive Bayes": torch.full_like(d, 0.3), "logistic regression": 0.3 - d},
        generative=("naive Bayes",), pair=("naive Bayes", "logistic regression"), logarithmic=True, features=8,
    )  # fmt: skip


def rows(mean: list[float]) -> np.ndarray:
    return np.array(mean) + 1e-4 * np.array([[-1.0], [0.0], [1.0], [0.5]])


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        ([-0.1, -0.05, 0.05, 0.1], "the curves cross at 28"),
        ([0.1, 0.05, 0.05, 0.1], "Logistic regression has the lower error than naive Bayes everywhere from 10 to 80"),
        (
            [-0.1, 0.0, 0.0, -0.1],
            "Naive Bayes has the lower error than logistic regression at 10 and 80, and",
        ),
        ([0.0, 0.0, 0.0, 0.0], "cannot be told apart anywhere from 10 to 80"),
        ([-0.1, 0.1, 0.1, -0.1], "they cross more than once"),
    ],
)
def test_sentences_follow_the_numbers(mean, expected):
    assert expected in words.compare(sweep(rows(mean))).text


def test_the_page_says_what_the_sentences_say_and_asks_nothing_of_the_network():
    there = [sweep(rows([-0.1, -0.05, 0.05, 0.1]), "one, with a comma"), sweep(rows([0.1] * 4), "two")]
    contest = Contest(
        sections=[
            Section(title="Learning curves", sweeps=there, learning=True),
            Section(title="Tables", sweeps=[replace(there[0], asked="wrong labels", logarithmic=False)]),
        ],
        seed=0,
        command="simulacra reproduce generative-vs-discriminative",
    )
    lines = said(contest)
    assert any("Of 2 data sets the curves of naive Bayes and logistic regression cross in 1" in line for line in lines)
    page = render_versus(contest)
    assert all(line.split(":")[0] in page for line in lines)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_slopes_of_the_theory_are_those_of_planted_arrivals():
    """Curves that arrive at 8 d for the one and at 16 for the other."""
    sizes = tuple(2.0**k for k in range(3, 14))
    sweeps = []
    for d in (2, 4, 8, 16, 32, 64):
        ends = {"naive Bayes": 16.0, "logistic regression": 8.0 * d}
        results = {
            # straight in the logarithm from 0.5 down to 0.1 at the end, which it then keeps; within NEAR of it before
            who: torch.tensor([[0.1 + max(0.0, math.log2(end / n)) * 0.06 for n in sizes]] * 2, dtype=torch.float64)
            for who, end in ends.items()
        }
        base = sweep(rows([0.0] * 4), f"d = {d}")
        sweeps.append(replace(base, values=sizes, results=results, features=d))
    found = {a.features: a.sizes for a in words.arrivals(sweeps)}
    assert found[32]["naive Bayes"] == pytest.approx(16 / 2**0.5)
    assert found[32]["logistic regression"] == pytest.approx(256 / 2**0.5)
    lines = " ".join(words.theory(sweeps))
    assert "For naive Bayes that number grows like the 0.00th power" in lines
    assert "For logistic regression that number grows like the 1.00th power" in lines
