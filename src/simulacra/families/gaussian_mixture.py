"""Gaussian mixtures of mixed columns, learnt by EM from incomplete rows (Dempster, Laird & Rubin 1977).

    p(x) = sum_k w_k N(u; mean_k, S_k) prod_j p(c_j | k)

of the real coordinates u of an example and its categories c: normal and of any covariance within a component,
categories independent there, as in a latent class model. A class y is one category more: their joint is learnt.
Rows may lack anything: the E step sums and integrates over what was not observed (Ghahramani & Jordan 1994), and any
conditional or marginal of the mixture is a mixture again, so likelihoods of parts and completions are exact.
Values on levels stand for their cells (``nets.mixed``); their likelihood is then a lower bound.

What it cannot do: shapes that no few ellipsoids make up, and many hundred dimensions, where covariances outnumber the
data (pass ``Factors`` or ``Independent``). EM finds a local optimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.covariances import Covariances, Full
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.heads import elements
from simulacra.nets.latent_classes import LatentClasses, nearest_centres
from simulacra.nets.mixed import Mixed, Parts, everything, labelled, labels_of
from simulacra.nets.scores import NormalScores

Criterion = Callable[
    [float, int, int], float
]  # (log-likelihood of all rows, free parameters, rows), the less the better


def bic(log_likelihood: float, parameters: int, n: int) -> float:
    """Bayesian information criterion (Schwarz 1978): parameters log n - 2 log p."""
    return parameters * math.log(n) - 2 * log_likelihood


def aic(log_likelihood: float, parameters: int, n: int) -> float:
    """Akaike's information criterion (1974): 2 parameters - 2 log p."""
    return 2 * parameters - 2 * log_likelihood


@dataclass(frozen=True, kw_only=True)
class GaussianMixtureConfig:
    """A Gaussian mixture.

    knots        of each real column's quantile function, by which it is first taken to normal scores (``nets.scores``):
                 skewed columns then need no components of their own. 0: columns as they are.
    components   how many; of several numbers the one that the criterion prefers: (1, 2, 4, 8, 16).
    criterion    ``bic`` or ``aic``, where there is a choice.
    covariances  ``Full``, ``Shared``, ``Independent`` or ``Factors`` (``mathematics.covariances``).
    iterations   of EM, at most; it ends where one adds less than ``tolerance`` nats a row.
    rows         examples learnt from, at most; of more, so many are chosen at random.
    """

    knots: int = 0
    components: tuple[int, ...] = (8,)
    criterion: Criterion = bic
    covariances: Covariances = field(default_factory=Full)
    iterations: int = 100
    tolerance: float = 1e-4
    rows: int = 20_000

    def __post_init__(self) -> None:
        if not self.components or min(self.components) < 1 or min(self.iterations, self.rows) < 1:
            raise ValueError(
                f"components, iterations and rows must be at least 1; got {self.components}, {self.iterations} and"
                f" {self.rows}"
            )


class GaussianMixture(nn.Module):
    """A mixture of normals and categories over the examples of a space, and over their classes where it has some."""

    def __init__(self, config: GaussianMixtureConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space, self.rng = config, space, Rng.of(rng)("fit")
        self.mixed = Mixed(space, "a Gaussian mixture")
        self.scores = NormalScores(self.mixed.d, config.knots) if config.knots else None
        self.classes = self.mixed.classes
        sizes = self.mixed.k + ([] if self.classes is None else [len(self.classes)])
        self.mixture = LatentClasses(
            max(config.components), self.mixed.d, sizes, self.mixed.cells, config.covariances
        )  # fmt: skip

    @property
    def completion(self) -> str:
        """Completions are exact where the values are real or categories: a cell's middle stands for all of it."""
        return "exact" if self.mixed.kind == "exact" else "approximate"

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """EM from k-means, for each number of components; the one that the criterion prefers is kept."""
        batch = everything(data, self.config.rows, self.rng)
        parts = self.mixed.inward(batch.x, batch.known, self.mixture.means)
        if self.scores is not None:  # a cell must keep its shape: columns on levels stay as they are
            self.scores.fit(parts.u, parts.seen & (self.mixed.cells == 0).to(parts.seen.device))
        parts = labelled(self._scored(parts), self.classes, labels_of(batch, self.classes))
        best, kept = math.inf, {}
        for k in self.config.components:
            k = min(k, len(parts))
            nats = self._climb(parts, k)
            score = self.config.criterion(nats, self.mixture.parameters_free(k), len(parts))
            if score < best or not kept:
                best, kept = score, {name: t.clone() for name, t in self.mixture.state_dict().items()}
        self.mixture.load_state_dict(kept)

    def _climb(self, parts: Parts, k: int) -> float:
        """EM with k components; the log-likelihood of all rows it ends with, log_det left out."""
        fresh = LatentClasses(len(self.mixture.weights), self.mixed.d, self.mixture.sizes, self.mixed.cells,
                              self.config.covariances).to(parts.u.device)  # fmt: skip
        self.mixture.load_state_dict(fresh.state_dict())
        if self.mixed.d:  # unseen coordinates are taken to be average until something is known of them
            self.mixture.maximise(parts, torch.ones(len(parts), 1, dtype=torch.float64, device=parts.u.device))
            self.mixture.means[:] = self.mixture.means[0].clone()
            self.mixture.spread[:] = self.mixture.spread[0].clone()
        share, nats = nearest_centres(parts, k, self.rng(k)), -math.inf
        for _ in range(self.config.iterations):
            self.mixture.maximise(parts, share)
            joint = self.mixture.joint(parts)[:, :k]
            each = joint.logsumexp(1)
            before, nats = nats, float(each.sum())
            share = (joint - each[:, None]).exp()
            if nats - before < self.config.tolerance * len(parts):
                break
        return nats

    def _scored(self, parts: Parts) -> Parts:
        """Parts with real columns as normal scores, where they are wanted."""
        if self.scores is None:
            return parts
        u, slope = self.scores.inward(parts.u)
        log_det = parts.log_det + torch.where(parts.seen, slope, 0.0)
        return Parts(torch.where(parts.seen, u, 0.0), parts.seen, log_det, parts.index, parts.marked)

    def _outward(self, u: Tensor) -> Tensor:
        return u if self.scores is None else self.scores.outward(u)

    # -- drawing ----------------------------------------------------------------------------------------------------

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): sum_k w_k p(y | k)."""
        if self.classes is None:
            raise ValueError("this model knows no classes; fit data with labels")
        return (self.mixture.weights.log()[:, None] + self.mixture.table(-1 + len(self.mixture.sizes))).logsumexp(0)

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n examples: a component each, given the class where y (n,) is, then a point and categories of it."""
        rng = Rng.of(rng)
        logits = self.mixture.weights.log().expand(n, -1)
        if self.classes is not None and y is not None:
            logits = logits + self.mixture.table(len(self.mixture.sizes) - 1).T[y.to(logits.device)]
        u, index = self.mixture.draw(rng("component").categorical(logits), rng)
        if self.classes is not None and y is None:
            y = index[:, -1]
        return Batch(x=self.mixed.outward(self._outward(u), index), y=y)

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """Draws of what is unknown given what is known (and y): the component first, then what is missing of it."""
        rng = Rng.of(rng)
        parts = self._given(x, known, y)
        which = rng("component").categorical(self.mixture.joint(parts))
        u, index = self.mixture.complete(parts, which, rng)
        if self.classes is not None and y is None:
            y = index[:, -1]
        return Batch(x=self.mixed.completed(x, known, self._outward(u), index), y=y)

    # -- scoring ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Values,
        *,
        y: Values | None = None,
        known: Values | None = None,
        length: Tensor | None = None,
        rng: Rng | int | None = None,
    ) -> LogLikelihood:
        """log p(x), or log p(x | y), of the known part, nats (b,): exact, but for values on levels a lower bound."""
        parts = self._given(x, known, y)
        nats = self.mixture.joint(parts).logsumexp(1) + parts.log_det.sum(1)
        if self.classes is not None and y is not None:
            nats = nats - self.label_log_prob()[parts.index[:, -1]]
        return LogLikelihood(
            nats=nats,
            kind=self.mixed.kind,
            measure=self.space.measure,
            count=elements(self.space, rows(x), known, length, x),
            method="sum over components" if self.mixed.kind == "exact" else "sum over components, Jensen in every cell",
        )

    @torch.no_grad()
    def responsibilities(self, x: Values, *, known: Values | None = None, y: Values | None = None) -> Tensor:
        """p(component | what is known), (b, components)."""
        return self.mixture.joint(self._given(x, known, y)).softmax(1)

    def _given(self, x: Values, known: Values | None, y: Values | None) -> Parts:
        if y is not None:
            class_indicator(y, self.classes, torch.float64)  # type: ignore[arg-type]
        parts = self._scored(self.mixed.inward(x, known, self.mixture.means))
        return labelled(parts, self.classes, y if isinstance(y, Tensor) else None)
