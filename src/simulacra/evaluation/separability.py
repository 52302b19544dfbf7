"""The classifier two-sample test: can samples be told from real data at all?

Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests": a classifier learns on one half of both sets to tell
them apart and is tried on the other half. If the distributions are equal its hits are heads of a fair coin, so the
test is exact whatever the classifier. It is as strong as the classifier, which is a function passed in.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.further import Sets
from simulacra.evaluation.statistics import Origin, check
from simulacra.mathematics.neighbours import nearest
from simulacra.mathematics.ranking import auc
from simulacra.mathematics.significance import binomial_p

# (rows (n, d), bool (n,) whether real, other rows (m, d), rng) -> scores (m,), higher where more likely real
Discriminator = Callable[[Tensor, Tensor, Tensor, Rng], Tensor]
LEAST = 20  # examples a side


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a discriminator made of examples it had not seen.

    hits, n   how many it named rightly, of how many, half of them real.
    p         probability of as many hits by tossing a coin.
    area      under its ROC curve, and the standard error.
    """

    hits: int
    n: int
    p: float
    area: tuple[float, float]


def perceptron(x: Tensor, real: Tensor, other: Tensor, rng: Rng) -> Tensor:
    """A hidden layer of 64, on features brought to unit spread; a hundred thousand rows seen, in 60 rounds at most."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    a, b = _scaled(x, other)
    model: Any = MLPClassifier(
        hidden_layer_sizes=(64,),
        batch_size=min(64, len(x)),  # pyright: ignore[reportArgumentType]
        learning_rate_init=3e-3,
        alpha=1e-2,
        max_iter=max(5, min(60, 100_000 // len(x))),
        random_state=int(rng("perceptron").integers(1 << 31, (1,))),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped on purpose
        model.fit(a.numpy(), real.numpy())
    return torch.from_numpy(model.predict_proba(b.numpy())[:, 1])


def logistic(x: Tensor, real: Tensor, other: Tensor, rng: Rng) -> Tensor:
    """Logistic regression: sees a difference of means, nothing else."""
    from sklearn.linear_model import LogisticRegression

    a, b = _scaled(x, other)
    model = LogisticRegression(max_iter=200).fit(a.numpy(), real.numpy())
    return torch.from_numpy(model.predict_proba(b.numpy())[:, 1])


def neighbours(x: Tensor, real: Tensor, other: Tensor, rng: Rng) -> Tensor:
    """Vote of the sqrt(n) nearest rows (Lopez-Paz & Oquab 2017, section 3.1)."""
    k = max(1, math.isqrt(len(x)) // 2 * 2 - 1)  # odd: no vote is a draw
    return real[nearest(other, x, k=k)[1]].double().mean(1)


def told_apart(fake: Tensor, real: Tensor, *, rng: Rng, discriminator: Discriminator = perceptron) -> Told:
    """Equally many of both sets, half to learn from, half to be tried on. ValueError for fewer than 20 a side."""
    check(fake, real)
    count = min(len(fake), len(real)) // 2
    if 2 * count < LEAST:
        raise ValueError(
            f"telling apart needs at least {LEAST} examples a side; got {min(len(fake), len(real))}: draw more samples"
        )
    a, b = fake[rng("fake").permutation(len(fake))], real[rng("real").permutation(len(real))]
    learn = torch.cat([a[:count], b[:count]]).double()
    tried = torch.cat([a[count : 2 * count], b[count : 2 * count]]).double()
    truth = torch.arange(2 * count) >= count
    scores = discriminator(learn, truth, tried, rng("discriminator")).double()
    # a score of exactly one half says nothing: such examples are called by a coin, lest all be called alike
    coin = rng("coin").uniform((2 * count,)) < 0.5
    called = (scores > 0.5) | ((scores == 0.5) & coin)
    hits = int((called == truth).sum())
    return Told(hits=hits, n=2 * count, p=binomial_p(hits, 2 * count), area=auc(scores[:count], scores[count:]))


def separability(sets: Sets, origin: Origin) -> list[Figure]:
    """How often samples and real data are told apart: one half where they cannot be, with the exact p of more."""
    if min(len(sets.fake), len(sets.real)) < LEAST:
        return []
    found = told_apart(sets.fake, sets.real, rng=Rng(origin.seed or 0)("told apart"))
    interval = intervals.of_share(found.hits, found.n)
    interval = replace(interval, method=f"{interval.method}, of this classifier")
    p = f"p = {found.p:.2g} by the binomial" if found.p >= 1e-12 else "p below 1e-12 by the binomial"
    note = f"{p}; area under the curve {found.area[0]:.3f}; tried on {found.n:,}"
    n, m = len(sets.fake), len(sets.real)
    return [origin.figure("told from real data", found.hits / found.n, "lower", interval, n=n, n_real=m, note=note)]


def _scaled(x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    mean, spread = x.mean(0), x.std(0)
    spread = torch.where(spread > 1e-12, spread, torch.ones_like(spread))
    return (x - mean) / spread, (other - mean) / spread
