"""Kernel density of mixed columns: every example learnt from is a small cloud of its own (Parzen 1962).

    p(x | y) = mean over rows i of class y of prod_j N(u_j; u_ij, h_j^2) prod_l [(1 - a) 1(c_l = c_il) + a p(c_l)]

Real coordinates get a normal kernel of the columns' deviations times one factor, categories keep their row's value or
are drawn from the column's shares: Aitchison & Aitken's kernel (1976) with those shares for the even ones, so that rare
categories stay rare. The factor and a are those that make each row likeliest under all others (leave one out, Habbema,
Hermans & van den Broek 1974). What a row lacks is taken from the column's average and shares.

What it cannot do: more than a few columns, where every place is far from every row; small models, since it is its data;
privacy, for the same reason. Drawing copies a row and shakes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.gaussians import Diagonal
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.heads import elements
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.mixed import Mixed, Parts, everything, labels_of

NUMBERS = 1 << 22  # pairs of examples and rows at a time
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, kw_only=True)
class KernelDensityConfig:
    """A kernel density.

    rows   rows that are kept, at most; of more examples, so many are chosen at random. They are the model.
    tries  rows whose likelihood under all others decides on the kernels' width.
    """

    rows: int = 5_000
    tries: int = 400

    def __post_init__(self) -> None:
        if self.rows < 2 or self.tries < 1:
            raise ValueError(f"rows must be at least 2 and tries 1; got {self.rows} and {self.tries}")


class KernelDensity(nn.Module):
    """One kernel a row, classes apart."""

    centres: Tensor
    variances: Tensor
    index: Tensor
    marked: Tensor
    y: Tensor
    count: Tensor
    keep: Tensor
    shares: Tensor

    def __init__(self, config: KernelDensityConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space, self.rng = config, space, Rng.of(rng)("fit")
        self.mixed = Mixed(space, "a kernel density")
        self.classes = self.mixed.classes
        self.marginal = LabelMarginal(self.classes)
        most, d, k = config.rows, self.mixed.d, self.mixed.k
        self.offsets = [sum(k[:j]) for j in range(len(k))]
        self.register_buffer("centres", torch.zeros(most, d, dtype=torch.float64))
        self.register_buffer("variances", torch.ones(most, d, dtype=torch.float64))
        self.register_buffer("index", torch.zeros(most, len(k), dtype=torch.int64))
        self.register_buffer("marked", torch.zeros(most, len(k), dtype=torch.bool))
        self.register_buffer("y", torch.zeros(most, dtype=torch.int64))
        self.register_buffer("count", torch.tensor(most))
        self.register_buffer("keep", torch.tensor(0.5, dtype=torch.float64))
        self.register_buffer("shares", torch.cat([torch.full((s,), 1 / s).double() for s in k] or [torch.zeros(0)]))

    @property
    def completion(self) -> str:
        """Completions are exact where the values are real or categories: a cell's middle stands for all of it."""
        return "exact" if self.mixed.kind == "exact" else "approximate"

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """Keep the rows, and choose the kernels' width by leaving one out."""
        self.marginal.fit(data)
        batch = everything(data, self.config.rows, self.rng)
        parts, y = self.mixed.inward(batch.x, batch.known, self.centres), labels_of(batch, self.classes)
        n = len(parts)
        self.count.fill_(n)
        if y is not None:
            self.y[:n] = y.to(self.y.device)
        self.index[:n], self.marked[:n] = parts.index, parts.marked
        for j, size in enumerate(self.mixed.k):
            counts = torch.bincount(parts.index[parts.marked[:, j], j], minlength=size).double() + 1 / size
            self.shares[self.offsets[j] : self.offsets[j] + size] = counts / counts.sum()
        self._choose(parts)

    def _choose(self, parts: Parts) -> None:
        """The kernels' width and how often a category is kept, one after the other, by leaving one out."""
        n = len(parts)
        own = self.rng("tried").permutation(n)[: self.config.tries].to(self.y.device)
        tried, weights = parts.rows(own), self._log_weights()[self.y[own] if self.classes is not None else 0 * own]
        weights[torch.arange(len(own)), own] = -math.inf

        def loss(factor: float, keep: float) -> float:
            self._widths(parts, factor)
            self.keep.fill_(keep)
            # a row that is alone in its class is lost, whatever the width
            return -float(self._scored(tried, lambda at: weights[at]).clamp_min(-1e6).mean())

        factor, keep = 1.0, 0.7
        for _ in range(2 if self.mixed.d and self.mixed.k else 1):
            if self.mixed.d:
                factor = math.exp(golden(lambda t, keep=keep: loss(math.exp(t), keep), math.log(0.02), math.log(5.0)))
            if self.mixed.k:
                keep = golden(lambda t, factor=factor: loss(factor, t), 0.01, 0.995)
        loss(factor, keep)

    def _widths(self, parts: Parts, factor: float) -> None:
        """Kernels of that many times Scott's width (1992): n^(-1/(d + 4)) deviations; of gaps, the whole column."""
        n, d = len(parts), self.mixed.d
        if not d:
            return
        seen = parts.seen.double().sum(0).clamp_min(1)
        mean = parts.u.sum(0) / seen
        variance = (torch.where(parts.seen, parts.u - mean, 0.0).square().sum(0) / seen).clamp_min(1e-12)
        width = (factor * n ** (-1 / (d + 4))) ** 2 * variance + self.mixed.cells.to(variance.device)
        self.centres[:n] = torch.where(parts.seen, parts.u, mean)
        self.variances[:n] = torch.where(parts.seen, width, variance)

    # -- scoring ----------------------------------------------------------------------------------------------------

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): counted, each class once more than it was seen."""
        return self.marginal.log_prob()

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
        weights = self._weights_for(y)
        parts = self.mixed.inward(x, known, self.centres)
        nats = self._scored(parts, weights) + parts.log_det.sum(1)
        return LogLikelihood(
            nats=nats,
            kind=self.mixed.kind,
            measure=self.space.measure,
            count=elements(self.space, rows(x), known, length, x),
            method=f"mean of {int(self.count)} kernels",
        )

    def _log_weights(self) -> Tensor:
        """Log weight of every row in every class, (classes or 1, rows): all rows for a class that has none."""
        most, n = len(self.centres), int(self.count)
        there = torch.arange(most, device=self.y.device) < n
        if self.classes is None:
            return torch.where(there, -math.log(n), -math.inf).double()[None]
        mine = there & (self.y == torch.arange(len(self.classes), device=self.y.device)[:, None])
        mine = torch.where(mine.any(1, keepdim=True), mine, there)
        return torch.where(mine, -mine.sum(1, keepdim=True).double().log(), -math.inf)

    def _weights_for(self, y: Values | None) -> Callable[[Tensor], Tensor]:
        """Log weights of the rows for examples of these labels; of unknown ones, summed over the classes."""
        weights = self._log_weights()
        if y is not None:
            class_indicator(y, self.classes, torch.float64)  # type: ignore[arg-type]
            assert isinstance(y, Tensor)
            return lambda at: weights[y.to(weights.device)[at]]
        if self.classes is not None:
            weights = (weights + self.marginal.log_prob().double()[:, None]).logsumexp(0, keepdim=True)
        return lambda at: weights

    def _scored(self, parts: Parts, weights: Callable[[Tensor], Tensor]) -> Tensor:
        step = max(1, NUMBERS // len(self.centres))
        ats = torch.arange(len(parts), device=parts.u.device).split(step)
        return torch.cat([(self._given(parts.rows(at)) + weights(at)).logsumexp(1) for at in ats])

    def _given(self, parts: Parts) -> Tensor:
        """log of every row's kernel at every example, (b, rows), of what is seen and without log_det."""
        found = Diagonal(self.centres, self.variances).log_prob(parts.u, parts.seen, self.mixed.cells.to(parts.u))
        for j in range(len(self.mixed.k)):
            share = self.shares[self.offsets[j] + parts.index[:, j]]
            alike = (parts.index[:, j, None] == self.index[:, j]).double()
            kernel = torch.where(
                self.marked[:, j], self.keep * alike + (1 - self.keep) * share[:, None], share[:, None]
            )
            found = found + torch.where(parts.marked[:, j, None], kernel.log(), 0.0)
        return found

    # -- drawing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n examples; y (n,) classes, None: drawn from their learned marginal."""
        rng = Rng.of(rng)
        y = self.marginal.draw(n, rng("y")) if y is None else y
        weights, step = self._log_weights(), max(1, NUMBERS // len(self.centres))
        label = torch.zeros(n, dtype=torch.int64, device=weights.device) if y is None else y.to(weights.device)
        parts = [rng("row").rows(at).categorical(weights[label[at : at + step]]) for at in range(0, n, step)]
        return Batch(x=self.mixed.outward(*self._shaken(torch.cat(parts), rng)), y=y)

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """Draws of what is unknown given what is known: a row each by how near it is, then its kernel."""
        rng, weights = Rng.of(rng), self._weights_for(y)
        parts = self.mixed.inward(x, known, self.centres)
        step = max(1, NUMBERS // len(self.centres))
        which = torch.cat([
            rng("row").rows(int(at[0])).categorical(self._given(parts.rows(at)) + weights(at))
            for at in torch.arange(len(parts), device=parts.u.device).split(step)
        ])  # fmt: skip
        return Batch(x=self.mixed.completed(x, known, *self._shaken(which, rng)), y=y)

    def _shaken(self, which: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        n, (m, d) = len(which), (len(self.mixed.k), self.mixed.d)
        noise = rng("u").normal((n, d), dtype=torch.float64, device=which.device)
        other = torch.zeros(n, m, dtype=torch.int64, device=which.device)
        for j, size in enumerate(self.mixed.k):
            ends = self.shares[self.offsets[j] : self.offsets[j] + size].cumsum(0)
            u = rng("other", j).uniform((n,), dtype=torch.float64, device=which.device)
            other[:, j] = torch.searchsorted(ends, u, right=True).clamp_max(size - 1)
        kept = rng("keep").uniform((n, m), dtype=torch.float64, device=which.device) < self.keep
        return self.centres[which] + self.variances[which].sqrt() * noise, torch.where(
            kept & self.marked[which], self.index[which], other
        )


def golden(function: Callable[[float], float], low: float, high: float, steps: int = 14) -> float:
    """Where a function of one number is least between two ends, by golden section, if it has one valley there."""
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    fa, fb = function(a), function(b)
    for _ in range(steps):
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - GOLDEN * (high - low)
            fa = function(a)
        else:
            low, a, fa = a, b, fb
            b = low + GOLDEN * (high - low)
            fb = function(b)
    return (low + high) / 2
