"""Naive Bayes of mixed columns: given the class every column is independent of the others.

    p(x | y) = prod_j N(u_j; mean_jy, var_jy) prod_i p(c_i | y),        p(y) by counts

The generative half of Ng & Jordan 2002: learnt in one pass, soon as good as it gets, and used as a classifier by Bayes'
rule (``uses.classify``). Without classes it is a product of independent columns, the baseline of every joint model.
Categories are smoothed by one row of the column's overall shares, variances by one row of the average variance. What is
missing is left out, in learning and in scoring, which is exact where values are independent given the class.

What it cannot do: any dependence between columns that the class does not explain, for which its probabilities are far
too sure of themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.covariances import Independent
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.heads import elements
from simulacra.nets.latent_classes import LatentClasses
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.mixed import Mixed, everything, labels_of


@dataclass(frozen=True, kw_only=True)
class NaiveBayesConfig:
    """Naive Bayes.

    variances  how they are smoothed: ``Independent(prior=ROWS)``.
    rows       examples learnt from, at most; of more, so many are chosen at random.
    """

    variances: Independent = field(default_factory=Independent)
    rows: int = 1_000_000

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"rows must be at least 1; got {self.rows}")


class NaiveBayes(nn.Module):
    """A class each for components: what ``nets.latent_classes`` is where nothing of it is latent."""

    def __init__(self, config: NaiveBayesConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space, self.rng = config, space, Rng.of(rng)("fit")
        self.mixed = Mixed(space, "naive Bayes")
        self.classes = self.mixed.classes
        self.marginal = LabelMarginal(self.classes)
        count = 1 if self.classes is None else len(self.classes)
        self.columns = LatentClasses(count, self.mixed.d, self.mixed.k, self.mixed.cells, config.variances)

    @property
    def completion(self) -> str:
        """Completions are exact where the values are real or categories: a cell's middle stands for all of it."""
        return "exact" if self.mixed.kind == "exact" else "approximate"

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Means, variances and shares of every column in every class."""
        self.marginal.fit(data)
        batch = everything(data, self.config.rows, self.rng)
        parts, y = self.mixed.inward(batch.x, batch.known, self.columns.means), labels_of(batch, self.classes)
        which = torch.zeros(len(parts), dtype=torch.int64, device=parts.u.device) if y is None else y.to(parts.u.device)
        share = nn.functional.one_hot(which, len(self.columns.weights)).double()
        # of a class nobody has seen, and before the first: what all rows have in common
        self.columns.maximise(parts, torch.ones_like(share) / share.shape[1])
        everyone = {name: t.clone() for name, t in self.columns.state_dict().items()}
        self.columns.maximise(parts, share)
        unseen = share.sum(0) == 0
        for name in ("means", "spread", "tables"):
            getattr(self.columns, name)[unseen] = everyone[name][unseen]

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted, each class once more than it was seen."""
        return self.marginal.log_prob()

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal."""
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        which = torch.zeros(n, dtype=torch.int64, device=self.columns.means.device) if y is None else y
        return Batch(x=self.mixed.outward(*self.columns.draw(which, rng)), y=y)

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """Draws of what is unknown given what is known: the class first, where y does not say it."""
        rng = Rng.of(rng)
        self._check(y)
        parts = self.mixed.inward(x, known, self.columns.means)
        which = y if isinstance(y, Tensor) else rng("y").categorical(self.columns.given(parts) + self._prior())
        u, index = self.columns.complete(parts, which, rng)
        return Batch(x=self.mixed.completed(x, known, u, index), y=None if self.classes is None else which)

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
        """log p(x | y), or log p(x), of the known part, nats (b,): exact, but for values on levels a lower bound."""
        self._check(y)
        parts = self.mixed.inward(x, known, self.columns.means)
        given = self.columns.given(parts)
        nats = given.gather(1, y[:, None])[:, 0] if isinstance(y, Tensor) else (given + self._prior()).logsumexp(1)
        return LogLikelihood(
            nats=nats + parts.log_det.sum(1),
            kind=self.mixed.kind,
            measure=self.space.measure,
            count=elements(self.space, rows(x), known, length, x),
            method="columns independent given the class",
        )

    def _prior(self) -> Tensor:
        return self.marginal.log_prob().double() if self.classes is not None else self.columns.means.new_zeros(1)

    def _check(self, y: Values | None) -> None:
        if y is not None:
            class_indicator(y, self.classes, torch.float64)  # type: ignore[arg-type]
