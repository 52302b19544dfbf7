"""Imputation: breast cancer (scikit-learn's, 569 x 30, standardised), half of it hidden at random, ten masks.

Squared error on what is hidden, of the mean of the draws, paired by mask; and how much of it the draws' central 90 %
intervals hold. The setting of our best model is chosen for each mask by hiding a tenth of what is visible, and nothing
else: what is hidden is looked at for the figures alone. Opponents: a Gaussian by EM (ours, without prior),
scikit-learn's iterative imputer with extra trees (in the manner of missForest) and with ridge regression. What is done
is kept in ``bench/.state``, so that a run that was stopped goes on.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from bench.harness import Row
from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.families.gaussian_mixture import GaussianMixture, GaussianMixtureConfig
from simulacra.mathematics.calibrated_draws import central_coverage, rank_histogram
from simulacra.mathematics.covariances import Full, Shared
from simulacra.modalities.gaps import CompletelyAtRandom
from simulacra.uses.impute import impute

STATE = Path(__file__).parent / ".state" / "tables_imputation"
MASKS, HIDDEN, DRAWS = 10, 0.5, 200
LEVEL = 0.90
CANDIDATES = {k: GaussianMixtureConfig(knots=200, components=(k,), covariances=Shared(prior=3.0)) for k in (1, 2, 4, 6)}
PLAIN = GaussianMixtureConfig(components=(1,), covariances=Full(prior=0.0))
PUBLISHED = 0.287  # MIWAE, Mattei & Frellsen 2019, table 2: breast cancer, half of it missing


def run() -> list[Row]:
    """Ten masks, every method on each."""
    x = columns()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
    for mask in range(MASKS):
        known = CompletelyAtRandom(share=HIDDEN)(x, Rng(mask)("mask"))
        for name, method in METHODS.items():
            found[name].append(kept(f"{name}-{mask}", lambda method=method, known=known: method(x, known)))
    ours = found["mixture of normal scores"]
    rows = [against(ours, found[name], name) for name in METHODS if name != "mixture of normal scores"]
    covered = statistics.mean(r["covered"] for r in ours)
    mean = statistics.mean(r["mse"] for r in ours)
    return [
        *rows,
        Row(what="mean squared error, MIWAE as published on masks of its own", unit="of unit variance", ours=mean,
            peer=PUBLISHED),
        Row(what=f"hidden entries inside the draws' central {LEVEL:.0%} intervals", unit="share", ours=covered,
            target="0.88 .. 0.92", met=0.88 <= covered <= 0.92, rounds=[r["covered"] for r in ours],
            note=f"components chosen: {[r['components'] for r in ours]}"),
    ]  # fmt: skip


def columns() -> Tensor:
    """The data, each column of mean 0 and variance 1, (569, 30) float64."""
    from sklearn.datasets import load_breast_cancer

    x = torch.as_tensor(load_breast_cancer().data, dtype=torch.float64)  # type: ignore[attr-defined]
    return (x - x.mean(0)) / x.std(0, correction=0)


def against(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], name: str) -> Row:
    """Mean squared errors over the masks, and the paired difference with its 95 % interval (Student's t)."""
    gaps = [b["mse"] - a["mse"] for a, b in zip(ours, theirs, strict=True)]
    gap, error = statistics.mean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps))
    reach = float(stats.t.ppf(0.975, len(gaps) - 1)) * error
    cpu = [statistics.mean(r["cpu_s"] for r in side) for side in (ours, theirs)]
    return Row(
        what=f"mean squared error against {name}",
        unit="of unit variance",
        ours=statistics.mean(r["mse"] for r in ours),
        peer=statistics.mean(r["mse"] for r in theirs),
        target="ahead" if name == "Gaussian EM" else "",
        met=gap - reach > 0 if name == "Gaussian EM" else None,
        note=f"ahead by {gap:.4f} +- {reach:.4f}, on {sum(g > 0 for g in gaps)} of {len(gaps)} masks;"
        f" CPU-s a mask {cpu[0]:.1f} and {cpu[1]:.1f}",
        rounds={"ours": ours, "peer": theirs},
    )


def ours(x: Tensor, known: Tensor) -> dict[str, Any]:
    """The mixture whose number of components does best on a tenth of the visible entries, hidden from it."""
    seen = known & CompletelyAtRandom(share=0.1)(x, Rng(1)("validation"))
    scores = {}
    for k, config in CANDIDATES.items():
        drawn = draws(config, x, seen, 40)
        scores[k] = float((drawn.mean(0) - x)[known & ~seen].square().mean())
    best = min(scores, key=lambda k: scores[k])
    return {**measured(draws(CANDIDATES[best], x, known, DRAWS), x, known), "components": best, "validation": scores}


def gaussian(x: Tensor, known: Tensor) -> dict[str, Any]:
    """One Gaussian, fitted by EM without any prior."""
    return measured(draws(PLAIN, x, known, DRAWS), x, known)


def extra_trees(x: Tensor, known: Tensor) -> dict[str, Any]:
    """scikit-learn's iterative imputer with extra trees."""
    from sklearn.ensemble import ExtraTreesRegressor

    return iterative(ExtraTreesRegressor(n_estimators=50, random_state=0), x, known, rounds=5)


def ridge(x: Tensor, known: Tensor) -> dict[str, Any]:
    """scikit-learn's iterative imputer with its Bayesian ridge regression."""
    from sklearn.linear_model import BayesianRidge

    return iterative(BayesianRidge(), x, known, rounds=10)


METHODS: Mapping[str, Callable[[Tensor, Tensor], dict[str, Any]]] = {
    "mixture of normal scores": ours,
    "Gaussian EM": gaussian,
    "iterative extra trees": extra_trees,
    "iterative ridge": ridge,
}


def draws(config: GaussianMixtureConfig, x: Tensor, known: Tensor, count: int) -> Tensor:
    """That many completions, (count, n, d), by a mixture fitted to what is known."""
    space = Space(
        fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(x.shape[1],))},
        missing=("x",),
        measure="standardised columns",
    )
    visible = torch.where(known, x, 0.0)
    model = GaussianMixture(config, space, rng=0)
    model.fit(Stored(space=space, x=visible, known=known, name="breast cancer"))
    empty = ~known.any(1)
    assert not bool(empty.any()), "a row of which nothing is known has no conditional to draw from"
    found = impute(model, visible, known, draws=count, rng=0).draws
    assert isinstance(found, Tensor)
    return found


def iterative(estimator: Any, x: Tensor, known: Tensor, rounds: int) -> dict[str, Any]:
    """One imputation of scikit-learn's iterative imputer."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    holes = np.where(known.numpy(), x.numpy(), np.nan)
    done = IterativeImputer(estimator, max_iter=rounds, random_state=0, tol=1e-3).fit_transform(holes)
    return {"mse": float((torch.as_tensor(done) - x)[~known].square().mean())}


def measured(drawn: Tensor, x: Tensor, known: Tensor) -> dict[str, Any]:
    """Squared error of the draws' mean on what is hidden, and the share of it inside their central intervals."""
    return {
        "mse": float((drawn.mean(0) - x)[~known].square().mean()),
        "covered": central_coverage(drawn[:, ~known], x[~known], LEVEL),
        "ranks": rank_histogram(drawn[:, ~known], x[~known]).tolist(),
    }


def kept(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``work`` returns, with its CPU-seconds; of an earlier run where there was one."""
    path = STATE / f"{name.replace(' ', '-')}.json"
    if path.is_file():
        return json.loads(path.read_text())
    began = time.process_time()
    found = work()
    found["cpu_s"] = time.process_time() - began
    STATE.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    print(name, {k: v for k, v in found.items() if k != "validation"}, flush=True)
    return found
