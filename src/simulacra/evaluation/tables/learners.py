"""What learns from rows: boosted trees, a logistic regression, a forest; to classify, and to tell drawn rows from real.

Rows come as one array (n, p + q) float64: quantities, then places among values, NaN where a cell is missing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.evaluation.tables.rows import Rows
from simulacra.evaluation.tasks import Probabilities

GONE = -2e30  # where a missing cell must be a number: below all others
MOST_VALUES = 250  # of a column, for boosted trees; rarer ones are one


def matrix(rows: Rows) -> Tensor:
    """Rows as one array."""
    return torch.cat([rows.numbers, torch.where(rows.codes < 0, torch.nan, rows.codes.double())], 1)


def finite(x: Tensor) -> Tensor:
    """Rows as numbers that are all finite: what is missing is one that no column has."""
    return x.clamp(-1e30, 1e30).nan_to_num(nan=GONE)


@dataclass(frozen=True)
class Boosting:
    """Gradient boosting over histograms (scikit-learn's, after LightGBM); valued: columns from here on are values."""

    valued: int
    name = "boosting"

    def __call__(self, x: Tensor, y: Tensor, classes: int, rng: Rng) -> Probabilities:
        from sklearn.ensemble import HistGradientBoostingClassifier

        common = _common(x, self.valued)
        seed = int(rng("boosting").integers(1 << 31, (1,)))
        options: Any = {"categorical_features": np.arange(x.shape[1]) >= self.valued, "early_stopping": False}
        model = HistGradientBoostingClassifier(random_state=seed, **options)
        return _fitted(model, _folded(x, self.valued, common), y, classes, lambda o: _folded(o, self.valued, common))

    def discriminate(self, x: Tensor, real: Tensor, other: Tensor, rng: Rng) -> Tensor:
        """Scores of rows, as ``finite`` has them, higher where more likely real: a ``separability.Discriminator``."""
        x, other = (torch.where(t == GONE, torch.nan, t) for t in (x, other))
        return self(x, real.long(), 2, rng)(other)[:, 1]


@dataclass(frozen=True)
class Regression:
    """Logistic regression on numbers brought to unit spread and values one-hot, the rarer of many as one."""

    valued: int
    name = "logistic regression"

    def __call__(self, x: Tensor, y: Tensor, classes: int, rng: Rng) -> Probabilities:
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        columns = np.arange(x.shape[1])
        some: Any = "infrequent_if_exist"
        numbers = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
        )
        values = OneHotEncoder(handle_unknown=some, max_categories=50)
        ways: Any = [("numbers", numbers, columns[: self.valued]), ("values", values, columns[self.valued :])]
        model = make_pipeline(ColumnTransformer(ways), LogisticRegression(max_iter=300))
        return _fitted(model, _finite(x).numpy(), y, classes, lambda other: _finite(other).numpy())


@dataclass(frozen=True)
class Forest:
    """A random forest of a hundred trees; what is missing lies below all else."""

    valued: int
    name = "forest"

    def __call__(self, x: Tensor, y: Tensor, classes: int, rng: Rng) -> Probabilities:
        from sklearn.ensemble import RandomForestClassifier

        seed = int(rng("forest").integers(1 << 31, (1,)))
        model = RandomForestClassifier(n_estimators=100, min_samples_leaf=5, random_state=seed)
        return _fitted(model, _low(x), y, classes, _low)


LEARNERS: tuple[Callable[[int], Any], ...] = (Boosting, Regression, Forest)


def _fitted(model: Any, x: np.ndarray, y: Tensor, classes: int, ready: Callable[[Tensor], np.ndarray]) -> Probabilities:
    known = y.unique()
    if len(known) < 2:
        only = torch.nn.functional.one_hot(known[0], classes).double()
        return lambda other: only.expand(len(other), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rounds that end before convergence, and of values not seen
        model.fit(x, y.numpy())

    def probabilities(other: Tensor) -> Tensor:
        p = torch.zeros(len(other), classes, dtype=torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            p[:, known] = torch.from_numpy(model.predict_proba(ready(other)))
        return p

    return probabilities


def _common(x: Tensor, valued: int) -> list[Tensor]:
    """Of each column of values those that boosted trees can tell apart: the commonest."""
    found: list[Tensor] = []
    for column in x.T[valued:]:
        values, counts = column[~column.isnan()].unique(return_counts=True)
        found.append(values[counts.argsort(descending=True, stable=True)[:MOST_VALUES]].sort().values)
    return found


def _folded(x: Tensor, valued: int, common: list[Tensor]) -> np.ndarray:
    """Values as places among the common ones, all others as one more."""
    x = _finite(x).clone()
    for i, values in enumerate(common):
        column = x[:, valued + i].contiguous()
        if not len(values):
            x[:, valued + i] = torch.nan
            continue
        place = torch.searchsorted(values, column.nan_to_num()).clamp(max=len(values) - 1)
        index = torch.where(values[place] == column, place.double(), float(len(values)))
        x[:, valued + i] = torch.where(column.isnan(), torch.nan, index)
    return x.numpy()


def _finite(x: Tensor) -> Tensor:
    """Infinite numbers as very large ones."""
    return x.clamp(-1e30, 1e30)


def _low(x: Tensor) -> np.ndarray:
    return _finite(x).float().nan_to_num(nan=-1e6).numpy()
