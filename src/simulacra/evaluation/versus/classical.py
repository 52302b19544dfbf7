"""Learners of tables: naive Bayes, and its discriminative peers by scikit-learn.

Naive Bayes and logistic regression are a pair (Ng & Jordan 2002, "On discriminative vs. generative classifiers: a
comparison of logistic regression and naive Bayes", section 2): with a variance that all classes share, both are linear
in x and, where the columns are independent given the class, end at the same classifier.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.evaluation.versus.task import Fitted, Task

LEAST = 1e-12  # probability that a class is given at least: a model that never saw it must not be infinitely wrong
STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # of the penalty's inverse, C, that inner validation chooses among
WEAK = 1e4  # C of a regression that is all but unpenalised
FOLDS = 3


@dataclass(frozen=True, kw_only=True)
class NaiveBayes:
    """p(y) prod_j p(x_j | y): normal columns whose variance all classes share, and categories counted once more each.

    Ng & Jordan 2002, eq. 1 with l = 1, and section 2 for numbers. What is unknown is left out of the product, which is
    the sum over it.
    """

    name: str = "naive Bayes"
    generative: bool = True

    def fit(self, task: Task, rng: Rng) -> FittedBayes:
        x, y, k = task.x.double(), task.y, len(task.classes)
        if not task.columns:
            # a picture of two levels is a table of two categories
            x, columns = x.flatten(1), (2,) * int(task.x[0].numel())
        else:
            columns = task.columns
        count = torch.bincount(y, minlength=k).double()
        prior = ((count + 1) / (count.sum() + k)).log()
        numeric = torch.tensor([c == 0 for c in columns])
        own = torch.nn.functional.one_hot(y, k).double()
        mean = (own.T @ x) / count.clamp(min=1)[:, None]
        variance = (x - mean[y]).square().sum(0) / max(1, len(y) - k)
        # a column that never varies within a class says nothing of its variance: that of all examples bounds it
        variance = torch.maximum(variance, 1e-3 * x.var(0, unbiased=False)).clamp(min=1e-9)
        tables = []
        for j, c in enumerate(columns):
            if c:
                found = torch.bincount(y * c + x[:, j].long(), minlength=k * c).view(k, c).double() + 1
                tables.append((found / found.sum(1, keepdim=True)).log())
            else:
                tables.append(torch.zeros(k, 1, dtype=torch.float64))
        return FittedBayes(prior=prior, mean=mean, variance=variance, tables=tables, numeric=numeric)


@dataclass(frozen=True, kw_only=True)
class FittedBayes:
    """prior (classes,), nats; mean (classes, columns), variance (columns,); a table (classes, k) a category, nats."""

    prior: Tensor
    mean: Tensor
    variance: Tensor
    tables: Sequence[Tensor]
    numeric: Tensor

    def _joint(self, x: Tensor, known: Tensor | None) -> Tensor:
        """log p(y, known x), (n, classes)."""
        x = x.flatten(1).double()
        seen = torch.ones_like(x) if known is None else known.flatten(1).double()
        x = torch.where(seen > 0, x, torch.zeros_like(x))
        n = self.numeric
        scale = self.variance[n].rsqrt()
        a, m, w = x[:, n] * scale, self.mean[:, n] * scale, seen[:, n]
        # -(a - m)^2 / 2 without a^2, which no class decides
        found = self.prior + (w * a) @ m.T - w @ (m.square().T / 2)
        for j in torch.nonzero(~n)[:, 0].tolist():
            found = found + seen[:, j : j + 1] * self.tables[j].T[x[:, j].long()]
        return found

    def log_probs(self, x: Tensor) -> Tensor:
        return self._joint(x, None).log_softmax(1)

    def log_probs_of(self, x: Tensor, known: Tensor) -> Tensor:
        return self._joint(x, known).log_softmax(1)

    def complete(self, x: Tensor, known: Tensor, rng: Rng) -> Tensor:
        """A class given what is known, then each unknown column given the class: exact."""
        y = rng("y").categorical(self._joint(x, known))
        flat = x.flatten(1).double()
        drawn = self.mean[y] + self.variance.sqrt() * rng("x").normal(flat.shape, dtype=torch.float64)
        for j in torch.nonzero(~self.numeric)[:, 0].tolist():
            drawn[:, j] = rng("column", j).categorical(self.tables[j][y]).double()
        return torch.where(known.flatten(1), flat, drawn).view(x.shape).to(x.dtype)


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Logistic regression on standardised numbers and indicators of categories.

    strengths  inverses C of the L2 penalty; where there are several, the one of least log loss in ``FOLDS`` parts of
               the training examples, each judged by a regression of the others.
    """

    name: str = "logistic regression"
    strengths: tuple[float, ...] = STRENGTHS
    generative: bool = False

    def fit(self, task: Task, rng: Rng) -> Fitted:
        design, k = Design.of(task), len(task.classes)
        return FittedPeer(design=design, model=self.best(design(task.x), task.y.numpy(), k, rng), classes=k)

    def best(self, x: Any, y: np.ndarray, k: int, rng: Rng) -> Any:
        """The regression on rows x of the strength that validates best."""
        if len(self.strengths) == 1:
            return regression(x, y, self.strengths[0])
        parts = (np.arange(len(y)) % min(FOLDS, len(y)))[rng("folds").permutation(len(y)).numpy()]
        losses = [self._loss(x, y, parts, c, k) for c in self.strengths]
        return regression(x, y, self.strengths[int(np.argmin(losses))])

    def _loss(self, x: Any, y: np.ndarray, parts: np.ndarray, strength: float, k: int) -> float:
        total = 0.0
        for part in range(int(parts.max()) + 1):
            inside = parts == part
            if len(np.unique(y[~inside])) < 2:
                total += inside.sum() * math.log(k)
                continue
            found = probabilities(regression(x[~inside], y[~inside], strength), x[inside], k)
            total -= float(found[np.arange(int(inside.sum())), y[inside]].sum())
        return total


def nearly_free() -> Logistic:
    """Logistic regression all but without a penalty, as in Ng & Jordan 2002."""
    return Logistic(name="logistic regression, unpenalised", strengths=(WEAK,))


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """Gradient boosting of trees over histograms, scikit-learn's with its own defaults but for fewer leaves."""

    name: str = "gradient boosting"
    rounds: int = 100
    leaves: int = 15
    generative: bool = False

    def fit(self, task: Task, rng: Rng) -> Fitted:
        from sklearn.ensemble import HistGradientBoostingClassifier

        seed = int(rng("seed").integers(1 << 30, (1,)))
        never: Any = False  # its stub knows only the default, a word
        model = HistGradientBoostingClassifier(
            max_iter=self.rounds, max_leaf_nodes=self.leaves, early_stopping=never, random_state=seed
        )
        design = Plain()
        return FittedPeer(design=design, model=model.fit(design(task.x), task.y.numpy()), classes=len(task.classes))


@dataclass(frozen=True)
class Plain:
    """Examples as rows of numbers."""

    def __call__(self, x: Tensor) -> np.ndarray:
        return x.flatten(1).double().numpy()


@dataclass(frozen=True)
class Design:
    """Numbers standardised by the training examples, categories as indicators."""

    columns: tuple[int, ...]
    mean: Tensor
    scale: Tensor

    @staticmethod
    def of(task: Task) -> Design:
        """As these examples have it."""
        flat = task.x.flatten(1).double()
        spread = flat.std(0) if len(flat) > 1 else torch.ones(flat.shape[1], dtype=torch.float64)
        columns = task.columns or (0,) * flat.shape[1]
        return Design(columns, flat.mean(0), torch.where(spread > 0, spread, 1.0))

    def __call__(self, x: Tensor) -> np.ndarray:
        flat = x.flatten(1).double()
        numeric = torch.tensor([k == 0 for k in self.columns])
        parts = [((flat - self.mean) / self.scale)[:, numeric]]
        for j, k in enumerate(self.columns):
            if k:
                parts.append(torch.nn.functional.one_hot(flat[:, j].long(), k).double())
        return torch.cat(parts, dim=1).numpy()


@dataclass(frozen=True, kw_only=True)
class FittedPeer:
    """A classifier of scikit-learn's behind what makes rows of examples."""

    design: Any
    model: Any
    classes: int

    def log_probs(self, x: Tensor) -> Tensor:
        return torch.from_numpy(probabilities(self.model, self.design(x), self.classes))


def regression(x: Any, y: np.ndarray, strength: float) -> Any:
    """A fitted logistic regression."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # without a penalty separable classes have no optimum: it is stopped on its way to infinity
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(x, y)


def probabilities(model: Any, x: Any, k: int) -> np.ndarray:
    """log p(y | x) of a classifier that may not have seen every class, float64 (n, k)."""
    found = np.full((x.shape[0], k), LEAST)
    found[:, np.asarray(model.classes_, dtype=int)] = np.maximum(model.predict_proba(x), LEAST)
    return np.log(found / found.sum(1, keepdims=True))
