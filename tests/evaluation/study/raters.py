"""Raters that answer a study as people do, over HTTP or straight into its store, with a known truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bench.served import MEASURED

from simulacra.evaluation.study import Study
from simulacra.evaluation.study.store import Store
from simulacra.evaluation.study.trials import Trial


def answer_all(study: Study, answer: Callable[[int, Trial, float | None], str], raters: int, **measured: Any) -> None:
    """``raters`` raters answer all their trials; ``answer`` says what each chooses, given the exposure."""
    store = Store(study)
    store._db.execute("PRAGMA synchronous = OFF")  # what is tested with these answers is not the disk
    try:
        for rater in range(raters):
            token = store.begin()
            for _ in range(study.plan.length):
                trial, asked, _ahead = store.next(token)
                assert trial is not None
                shown = {"shown_ms": asked} if asked else {}
                choice = answer(rater, trial, asked)
                store.answer(token, trial.id, choice, {**MEASURED, **shown, **measured})
            assert store.next(token)[0] is None
    finally:
        store.close()


def attentive(choose: Callable[[int, Trial, float | None], str]) -> Callable[[int, Trial, float | None], str]:
    """The same, but every attention check is passed."""
    return lambda rater, trial, asked: trial.expected[0] if trial.check else choose(rater, trial, asked)


def wrong_with(probability: Callable[[int, str], float], seed: int = 0) -> Callable[[int, Trial, float | None], str]:
    """Wrong with the probability that a rater has for a group; right otherwise."""
    rng = np.random.default_rng(seed)

    def choose(rater: int, trial: Trial, asked: float | None) -> str:
        others = {"left": "right", "right": "left", "real": "generated", "generated": "real"}
        right = trial.expected[0]
        return others[right] if rng.random() < probability(rater, trial.group) else right

    return attentive(choose)
