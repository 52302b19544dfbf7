"""Epsilon beside what guessing shows: the bound's arithmetic, a memorising model, a private run."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from simulacra.core.randomness import Rng
from simulacra.mathematics.attackers import epsilon_shown
from simulacra.responsibility.privacy import guessing
from simulacra.runs import load
from simulacra.runs.audits import CARD, audit_run
from simulacra.runs.fitting import fit
from simulacra.training.settings import Privacy, Training


def test_all_guesses_right_show_what_that_many_coins_cannot():
    """(e / (1 + e))^r = 5 % at the bound, for delta = 0."""
    q = 0.05 ** (1 / 100)
    assert epsilon_shown(100, 100, 100, 0.0) == pytest.approx(math.log(q / (1 - q)), abs=1e-5)


def test_half_of_the_guesses_right_show_nothing():
    assert epsilon_shown(500, 1000, 1000, 1e-5) == 0.0
    assert epsilon_shown(0, 10, 10, 1e-5) == 0.0


def test_delta_and_the_level_weaken_the_bound():
    strict = epsilon_shown(900, 1000, 1000, 0.0)
    assert 0 < epsilon_shown(900, 1000, 1000, 1e-5) < strict
    assert epsilon_shown(900, 1000, 1000, 0.0, level=0.99) < strict
    with pytest.raises(ValueError, match="right <= guesses <= examples"):
        epsilon_shown(11, 10, 10, 0.0)


def test_the_bound_is_too_high_in_no_more_than_one_run_of_twenty():
    """Randomised response: each coin is told truly with probability e^1 / (1 + e^1), which is 1-private."""
    told = np.random.default_rng(0).binomial(500, 1 / (1 + math.exp(-1.0)), 400)
    shown = {v: epsilon_shown(v, 500, 500, 0.0) for v in set(told.tolist())}
    high = sum(shown[v] > 1.0 for v in told.tolist())
    assert high <= stats.binom.isf(1e-3, 400, 0.05)
    assert high > 0


def test_guesses_are_of_the_highest_and_the_lowest_scores():
    members = torch.tensor([9.0, 8.0, 2.0, 1.0] * 50)
    others = torch.tensor([7.0, 6.0, 5.0, 4.0] * 50)
    # the highest quarter are members, and so are the lowest: half of the guesses are right
    assert guessing(members, others, share=0.5, delta=0.0) == 0.0
    assert guessing(members + 10, others, share=0.5, delta=0.0) == epsilon_shown(200, 200, 400, 0.0)


@pytest.fixture(scope="module")
def private_run(tmp_path_factory):
    settings = Training(steps=30, batch=200, private=Privacy(epsilon=3.0, delta=1e-4))
    return fit("vae", "digits", training=settings, out=tmp_path_factory.mktemp("runs") / "private", seed=0)


@pytest.mark.slow
def test_a_run_keeps_its_epsilon_and_no_secret(private_run):
    again = load(private_run.path)
    assert again.recipe.privacy == private_run.trained.private
    assert 2.9 < again.recipe.privacy["epsilon"] <= 3.0
    assert again.recipe.training.private == Privacy(epsilon=3.0, delta=1e-4)
    assert again.recipe.verdicts == ()
    (notes,) = (private_run.path / "resume").rglob("*.json")
    secret = str(json.loads(notes.read_text())["private"])
    public = [p for p in private_run.path.rglob("*") if p.is_file() and "resume" not in p.parts]
    assert public
    assert not any(secret.encode() in p.read_bytes() for p in public)


@pytest.mark.slow
def test_an_audit_shows_no_more_than_epsilon(private_run):
    findings = {f.name: f for f in audit_run(private_run, n=500)}
    found = findings["differential privacy"]
    assert found.verdict == "pass"
    guaranteed, shown = found.figures
    assert 0 <= shown.value <= guaranteed.value == private_run.recipe.privacy["epsilon"]
    card = (private_run.path / CARD).read_text()
    assert "epsilon = " in card
    assert "at delta = 0.0001" in card


@pytest.mark.slow
def test_no_private_run_stands_on_its_own_examples(private_run, tmp_path):
    again = Training(steps=2, batch=200, private=Privacy(epsilon=3.0))
    with pytest.raises(ValueError, match="has learned from the same examples"):
        fit("vae", "digits", training=again, parent=private_run, out=tmp_path / "child")
    with pytest.raises(ValueError, match="a codec has learned from the examples without noise"):
        fit("vae", "digits", training=again, codec=private_run.path, out=tmp_path / "codes")


def test_a_model_that_knows_its_examples_shows_much():
    """Scores of a kernel about the training data itself refute every small epsilon."""
    train, held = Rng(0)("train").normal((500, 16)), Rng(0)("held").normal((500, 16))
    score = [-torch.cdist(x, train).square().min(1).values for x in (train, held)]
    assert guessing(*score, share=1.0, delta=1e-5) > 4
