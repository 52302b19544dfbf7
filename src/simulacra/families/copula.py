"""The Gaussian copula of mixed columns: every column's own distribution, and one normal for how they go together.

Real columns are taken to normal scores by their own quantile functions (``nets.scores``); ordered values and categories
are intervals of a hidden score that hold as much of the normal as the value's share (Hoff 2007; Zhao & Udell 2020).
The scores are N(mean, S), learnt by EM from rows with gaps, the hidden ones drawn anew in each round: a Gaussian where
columns are real, once each is bent into shape. Likelihoods and conditionals are then exact; where there are intervals,
what is known lies in a box, whose probability is estimated without bias (``mathematics.orthants``): a lower bound of
log p in expectation, and completions are chosen among several.

What it cannot do: dependence that is not of ellipsoids (a mixture of clusters, a curve that turns back), categories
without any order, which are put on a line by what the other columns say of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.mathematics.covariances import Covariances, Full
from simulacra.mathematics.gaussians import Dense
from simulacra.mathematics.orthants import boxes, truncated
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.heads import elements
from simulacra.nets.mixed import Mixed, Parts, all_of_them, everything, labelled, labels_of
from simulacra.nets.scores import NormalScores

NUMBERS = 1 << 22  # of the matrices of rows taken at a time
HELD_OUT = 0.1  # share of the rows that choose among covariances


@dataclass(frozen=True, kw_only=True)
class CopulaConfig:
    """A Gaussian copula.

    covariances  ``Full``, ``Factors`` ...; of several the one under which rows that were held out are likeliest.
    knots        of each column's quantile function.
    iterations   of EM, at most; without intervals it ends where one adds less than ``tolerance`` nats a row.
    draws        of what is hidden in intervals, in likelihoods and completions.
    rows         examples learnt from, at most; of more, so many are chosen at random.
    """

    covariances: tuple[Covariances, ...] = (Full(),)
    knots: int = 200
    iterations: int = 60
    tolerance: float = 1e-4
    draws: int = 16
    rows: int = 20_000

    def __post_init__(self) -> None:
        if not self.covariances or min(self.iterations, self.draws, self.rows) < 1:
            raise ValueError(
                f"a copula needs a covariance, and iterations, draws and rows of at least 1; got {self.covariances},"
                f" {self.iterations}, {self.draws} and {self.rows}"
            )


class Copula(nn.Module):
    """Scores of real columns first, then those of intervals, the class's last where there are classes."""

    mean: Tensor
    covariance: Tensor
    low: Tensor
    high: Tensor
    order: Tensor

    def __init__(self, config: CopulaConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space, self.rng = config, space, Rng.of(rng)("fit")
        self.mixed = Mixed(space, "a copula", counted=all_of_them)
        self.classes = self.mixed.classes
        self.sizes = self.mixed.k + ([] if self.classes is None else [len(self.classes)])
        self.offsets = [sum(self.sizes[:j]) for j in range(len(self.sizes))]
        self.real, self.width = self.mixed.d, self.mixed.d + len(self.sizes)
        self.scores = NormalScores(self.real, config.knots)
        self.register_buffer("mean", torch.zeros(self.width, dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(self.width, dtype=torch.float64))
        self.register_buffer("low", torch.zeros(sum(self.sizes), dtype=torch.float64))
        self.register_buffer("high", torch.zeros(sum(self.sizes), dtype=torch.float64))
        self.register_buffer("order", torch.zeros(sum(self.sizes), dtype=torch.int64))
        for j, size in enumerate(self.sizes):
            self._divide(j, torch.ones(size).double(), torch.arange(size))

    @property
    def completion(self) -> str:
        """Completions are exact where all columns are real."""
        return "approximate" if self.sizes else "exact"

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Quantiles and shares of each column, then EM for mean and covariance of the scores."""
        batch = everything(data, self.config.rows, self.rng)
        inward = self.mixed.inward(batch.x, batch.known, self.mean)
        parts = labelled(inward, self.classes, labels_of(batch, self.classes))
        self.scores.fit(parts.u, parts.seen)
        score = torch.where(parts.seen, self.scores.inward(parts.u)[0], 0.0)
        for j, size in enumerate(self.sizes):
            seen = parts.marked[:, j]
            counts = torch.bincount(parts.index[seen, j], minlength=size).double() + 1 / size
            self._divide(j, counts, self._line(j, parts, score))
        self._choose(parts)

    def _choose(self, parts: Parts) -> None:
        """The covariance under which held-out rows are likeliest, fitted to all of them."""
        best, kept = -math.inf, self.config.covariances[0]
        if len(self.config.covariances) > 1:
            order = self.rng("held out").permutation(len(parts)).to(parts.u.device)
            few = max(1, int(HELD_OUT * len(parts)))
            for kind in self.config.covariances:
                self._climb(parts.rows(order[few:]), kind)
                nats = float(self._scored(parts.rows(order[:few]), self.rng("scored"), self.config.draws).sum())
                if nats > best:
                    best, kept = nats, kind
        self._climb(parts, kept)

    def _climb(self, parts: Parts, kind: Covariances) -> None:
        """EM; what lies in intervals is drawn in each round, and the last half of the rounds averaged."""
        nothing, share = torch.zeros_like(self.mean), self.mean.new_ones(len(parts), 1)
        self.mean.zero_()
        self.covariance.copy_(torch.eye(self.width, dtype=torch.float64))
        z, seen, *_ = self._known(parts)
        average, counted, nats = torch.zeros_like(self.covariance), 0, -math.inf
        for number in range(self.config.iterations):
            if self.sizes:
                z = self._drawn(parts, self.rng("round", number), 1)
            model = Dense(self.mean[None], self.covariance[None])
            if not self.sizes:
                before, nats = nats, float(model.log_prob(z, seen, nothing).sum())
                if nats - before < self.config.tolerance * len(parts):
                    break
            moments = model.expected(z, seen, share, nothing)
            spread = kind.normals(moments.mean, kind.fit(moments))
            full = spread.covariance[0] if isinstance(spread, Dense) else spread.variance[0].diag()  # type: ignore[attr-defined]
            # intervals are of a standard normal: their shares are the column's own
            scale = torch.where(torch.arange(self.width, device=full.device) < self.real, 1.0, full.diagonal().rsqrt())
            self.covariance.copy_(full * scale[:, None] * scale)
            self.mean[: self.real] = moments.mean[0, : self.real]
            if number >= self.config.iterations // 2:
                average, counted = average + self.covariance, counted + 1
        if self.sizes and counted:
            self.covariance.copy_(average / counted)

    def _line(self, j: int, parts: Parts, score: Tensor) -> Tensor:
        """Which of a column's values comes first, second ... on its line: a permutation of its categories."""
        size = self.sizes[j]
        field = list(self._owners())[j] if j < len(self.mixed.k) else None
        unordered = field is None or isinstance(self.space.fields[field], Categorical)
        if not unordered or not self.real or size < 3:
            return torch.arange(size)
        # along the direction in which the real columns vary most, by the average of each category's rows
        axis = torch.linalg.svd(score[:2000], full_matrices=False).Vh[0]
        along, seen = score @ axis, parts.marked[:, j]
        total = torch.zeros(size, dtype=torch.float64, device=score.device)
        total.index_add_(0, parts.index[seen, j], along[seen])
        counts = torch.bincount(parts.index[seen, j], minlength=size)
        return (total / counts.clamp_min(1)).argsort(stable=True)

    def _owners(self) -> list[str]:
        """The field that each categorical element belongs to."""
        return [n for n, f in self.space.fields.items() if n in self.mixed.symbols for _ in range(math.prod(f.shape))]

    def _divide(self, j: int, counts: Tensor, order: Tensor) -> None:
        """Give a column's values intervals that hold their shares of the standard normal, in this order."""
        at = slice(self.offsets[j], self.offsets[j] + len(counts))
        order = order.to(counts.device)
        ends = (counts[order].cumsum(0) / counts.sum()).clamp(max=1.0)
        high = torch.special.ndtri(ends)
        high[-1] = math.inf
        low = torch.cat([high.new_full((1,), -math.inf), high[:-1]])
        self.low[at][order], self.high[at][order], self.order[at] = low.to(self.low), high.to(self.low), order

    # -- scores -----------------------------------------------------------------------------------------------------

    def _known(self, parts: Parts) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Scores that are known (b, width), what is seen, what exactly, intervals' ends, which, and log slopes (b,)."""
        score, slope = self.scores.inward(parts.u)
        none = parts.u.new_zeros(len(parts), len(self.sizes))
        z = torch.cat([torch.where(parts.seen, score, 0.0), none], 1)
        exact = torch.cat([parts.seen, none.bool()], 1)
        boxed = torch.cat([torch.zeros_like(parts.seen), parts.marked], 1)
        place = parts.index + torch.tensor(self.offsets, dtype=torch.int64, device=parts.index.device)
        low, high = (torch.cat([torch.zeros_like(score), ends[place]], 1) for ends in (self.low, self.high))
        return z, exact | boxed, exact, low, high, boxed, torch.where(parts.seen, slope, 0.0).sum(1)

    def _estimates(self, parts: Parts, rng: Rng, draws: int) -> tuple[Tensor, Tensor]:
        """Log estimates of each row's density of scores, (b, draws), and the scores drawn for them."""
        z, _, exact, low, high, boxed, _ = self._known(parts)
        u = rng.uniform((len(parts), draws, self.width), dtype=torch.float64, device=z.device) + 2.0**-25
        return boxes(self.mean, self.covariance, z, exact, low, high, boxed, u)

    def _drawn(self, parts: Parts, rng: Rng, draws: int) -> Tensor:
        """Scores of what is known, those in intervals drawn: one of so many candidates by its weight, (b, width)."""
        found: list[Tensor] = []
        for at in self._chunks(len(parts), draws):
            nats, z = self._estimates(parts.rows(at), rng("z").rows(int(at[0])), draws)
            which = rng("which").rows(int(at[0])).categorical(nats)
            found.append(z.gather(1, which[:, None, None].expand(-1, 1, self.width))[:, 0])
        return torch.cat(found)

    def _chunks(self, n: int, draws: int) -> tuple[Tensor, ...]:
        each = self.width * max(self.width, draws)
        return torch.arange(n, device=self.mean.device).split(max(1, NUMBERS // each))

    def _scored(self, parts: Parts, rng: Rng, draws: int) -> Tensor:
        """log p of what is known in units of the charts, nats (b,)."""
        found: list[Tensor] = []
        for at in self._chunks(len(parts), draws):
            some = parts.rows(at)
            z, seen, *_, slope = self._known(some)
            if self.sizes:
                nats = self._estimates(some, rng("z").rows(int(at[0])), draws)[0].logsumexp(1) - math.log(draws)
            else:
                nats = Dense(self.mean[None], self.covariance[None]).log_prob(z, seen, torch.zeros_like(self.mean))[
                    :, 0
                ]
            found.append(nats + slope)
        return torch.cat(found)

    # -- drawing ----------------------------------------------------------------------------------------------------

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): the share of its interval, that of the rows learnt from."""
        if self.classes is None:
            raise ValueError("this model knows no classes; fit data with labels")
        at = slice(self.offsets[-1], None)
        p = torch.special.ndtr(self.high[at]) - torch.special.ndtr(self.low[at])
        return (p.clamp_min(1e-300) / p.sum()).log()

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n examples; y (n,) classes, None: drawn from their marginal."""
        rng = Rng.of(rng)
        z, seen = self.mean.new_zeros(n, self.width), torch.zeros(n, self.width, dtype=torch.bool)
        if self.classes is not None and y is not None:
            place = self.offsets[-1] + y.to(self.low.device)
            u = rng("y").uniform((n,), dtype=torch.float64, device=z.device)
            z[:, -1], seen[:, -1] = truncated(self.low[place], self.high[place], u)[1], True
        u, index = self._split(self._rest(z, seen.to(z.device), rng))
        return Batch(x=self.mixed.outward(u, index), y=index[:, -1] if self.classes is not None and y is None else y)

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """Draws of what is unknown given what is known: scores in intervals first, then all that is missing."""
        rng, parts = Rng.of(rng), self._given(x, known, y)
        z, seen, *_ = self._known(parts)
        if self.sizes:
            z = self._drawn(parts, rng("known"), self.config.draws)
        u, index = self._split(self._rest(z, seen, rng))
        label = y if isinstance(y, Tensor) or self.classes is None else index[:, -1]
        return Batch(x=self.mixed.completed(x, known, u, index), y=label)

    def _rest(self, z: Tensor, seen: Tensor, rng: Rng) -> Tensor:
        """Scores with what is unseen drawn given what is seen."""
        noise = rng("u").normal(z.shape, dtype=torch.float64, device=z.device)
        which = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        return Dense(self.mean[None], self.covariance[None]).complete(z, seen, which, noise)

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Scores as coordinates and categories."""
        index = torch.zeros(len(z), len(self.sizes), dtype=torch.int64, device=z.device)
        for j, size in enumerate(self.sizes):
            at = slice(self.offsets[j], self.offsets[j] + size)
            ends = self.high[at][self.order[at]][:-1].contiguous()
            index[:, j] = self.order[at][torch.searchsorted(ends, z[:, self.real + j].contiguous(), right=True)]
        return self.scores.outward(z[:, : self.real]), index

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
        k: int | None = None,
    ) -> LogLikelihood:
        """log p(x), or log p(x | y), of the known part, nats (b,): exact where columns are real, else a lower bound.

        k  draws for the probability of what lies in intervals; the config's where None.
        """
        k, parts = k or self.config.draws, self._given(x, known, y)
        nats = self._scored(parts, Rng.of(rng), k) + parts.log_det.sum(1)
        if self.classes is not None and y is not None:
            nats = nats - self.label_log_prob()[parts.index[:, -1]]
        return LogLikelihood(
            nats=nats,
            kind="bound" if self.sizes else "exact",
            measure=self.space.measure,
            count=elements(self.space, rows(x), known, length, x),
            method=f"sequential draws in boxes, k = {k}" if self.sizes else "change of variables",
        )

    def _given(self, x: Values, known: Values | None, y: Values | None) -> Parts:
        if y is not None:
            class_indicator(y, self.classes, torch.float64)  # type: ignore[arg-type]
        parts = self.mixed.inward(x, known, self.mean)
        return labelled(parts, self.classes, y if isinstance(y, Tensor) else None)
