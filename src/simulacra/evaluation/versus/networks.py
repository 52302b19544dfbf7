"""Peers for pictures and texts: a convolutional network; regression and naive Bayes on counts of letters in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.evaluation.classifier import ClassifierConfig, classifier
from simulacra.evaluation.versus.classical import FittedPeer, Logistic
from simulacra.evaluation.versus.task import Fitted, Task


@dataclass(frozen=True, kw_only=True)
class Convolutional:
    """The small convolutional network that judges pictures elsewhere (``evaluation.classifier``)."""

    name: str = "convolutional network"
    examples: int = 20_000
    generative: bool = False

    def fit(self, task: Task, rng: Rng) -> Fitted:
        seed = int(rng("seed").integers(1 << 30, (1,)))
        # it measures its own accuracy on what it holds out: as little as it takes, so that it learns from the same
        config = ClassifierConfig(channels=8, examples=self.examples, batch=32, held_out=0.0, seed=seed)
        return FittedNetwork(classify=classifier(task.data(), config=config).classify)


@dataclass(frozen=True, kw_only=True)
class FittedNetwork:
    """A network's probabilities."""

    classify: Any

    @torch.no_grad()
    def log_probs(self, x: Tensor) -> Tensor:
        return torch.cat([self.classify(part) for part in x.float().split(512)]).double().clamp(min=1e-12).log()


@dataclass(frozen=True, kw_only=True)
class LettersInARow:
    """Logistic regression on counts of runs of 1 .. ``longest`` symbols, weighed as tf-idf; a number < 0 is no symbol.

    The penalty's strength is chosen as ``Logistic`` does.
    """

    name: str = "logistic regression on n-grams"
    longest: int = 3
    strengths: tuple[float, ...] = (1.0, 10.0, 100.0)
    generative: bool = False

    def fit(self, task: Task, rng: Rng) -> Fitted:
        from sklearn.feature_extraction.text import TfidfVectorizer

        counted = TfidfVectorizer(analyzer="char", ngram_range=(1, self.longest), lowercase=False, sublinear_tf=True)
        counted.fit(written(task.x))
        design, k = Counts(counted), len(task.classes)
        model = Logistic(strengths=self.strengths).best(design(task.x), task.y.numpy(), k, rng)
        return FittedCounts(design=design, model=model, classes=k)


@dataclass(frozen=True, kw_only=True)
class NaiveLetters:
    """Naive Bayes on counts of runs of 1 .. ``longest`` symbols: each class draws its runs one by one (multinomial)."""

    name: str = "naive Bayes on n-grams"
    longest: int = 3
    generative: bool = True

    def fit(self, task: Task, rng: Rng) -> Fitted:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.naive_bayes import MultinomialNB

        counted = CountVectorizer(analyzer="char", ngram_range=(1, self.longest), lowercase=False)
        rows = counted.fit_transform(written(task.x))
        return FittedCounts(
            design=Counts(counted), model=MultinomialNB().fit(rows, task.y.numpy()), classes=len(task.classes)
        )


@dataclass(frozen=True, kw_only=True)
class FittedCounts(FittedPeer):
    """A classifier of counts, which of a part of a text counts what is there."""

    def log_probs_of(self, x: Tensor, known: Tensor) -> Tensor:
        """log p(y | what is known), (n, classes)."""
        return self.log_probs(torch.where(known, x, -1))


@dataclass(frozen=True)
class Counts:
    """Sequences as rows of weighed counts."""

    vectoriser: Any

    def __call__(self, x: Tensor) -> Any:
        return self.vectoriser.transform(written(x))


def written(x: Tensor) -> list[str]:
    """Sequences int64 (n, t) as text, a letter a symbol."""
    return ["".join(chr(0x100 + v) for v in row if v >= 0) for row in x.tolist()]
