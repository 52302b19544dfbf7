"""Bayesian networks over columns: each depends on a few others, chosen from the data.

    p(x) = prod_j p(x_j | parents of x_j)

Every column has finitely many values: categories and levels as they are, real ones in bins that hold equal shares of
the rows. Within its bin a real column is a stretch of the normal, through its own quantile function (``nets.scores``),
so that densities are exact and cover the whole line; a class is a column like the others. The structure is an object,
``ChowLiu`` or ``Greedy`` (``mathematics.structures``); tables are shares, smoothed by one row of the column's own.
Any conditional and any marginal is summed exactly (``mathematics.elimination``), so rare groups are drawn without
rejecting anything. Where a greedy network is too tangled for that, it is weighted draws instead, and says so.

What it cannot do: see within bins how real columns go together, or dependence of many columns at once. Rows in which a
column or one of its parents is missing are left out of that column's table, which is right where holes are at random.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Values, rows
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.mathematics.elimination import Factor, cheap_order, draw, eliminate, reduced
from simulacra.mathematics.orthants import truncated
from simulacra.mathematics.structures import ChowLiu, Scores, Structure, ordered
from simulacra.nets.embeddings import class_indicator
from simulacra.nets.heads import elements
from simulacra.nets.mixed import Mixed, Parts, all_of_them, everything, labelled, labels_of
from simulacra.nets.scores import NormalScores

NUMBERS = 1 << 22  # the largest product that is summed over, and rows times that taken at a time
DRAWS = 256  # weighted ones, where sums would be larger


@dataclass(frozen=True, kw_only=True)
class BayesianNetworkConfig:
    """A Bayesian network.

    structure  ``ChowLiu()``, ``Greedy(parents=2)``.
    bins       of a real column.
    knots      of its quantile function.
    cells      entries of a column's table, at most.
    rows       examples learnt from, at most; of more, so many are chosen at random.
    """

    structure: Structure = field(default_factory=ChowLiu)
    bins: int = 16
    knots: int = 200
    cells: int = 1 << 16
    rows: int = 200_000

    def __post_init__(self) -> None:
        if min(self.bins, self.cells, self.rows) < 1:
            raise ValueError(
                f"bins, cells and rows must be at least 1; got {self.bins}, {self.cells} and {self.rows}"
            )  # fmt: skip


class BayesianNetwork(nn.Module):
    """A directed acyclic graph and its tables: binned real columns first, then categories, the class last."""

    parents: Tensor
    tables: Tensor

    def __init__(self, config: BayesianNetworkConfig, space: Space, rng: Rng | int = 0) -> None:
        super().__init__()
        self.config, self.space, self.rng = config, space, Rng.of(rng)("fit")
        self.mixed = Mixed(space, "a Bayesian network", counted=all_of_them)
        self.classes, self.real = self.mixed.classes, self.mixed.d
        self.scores = NormalScores(self.real, config.knots)
        self.sizes = [config.bins] * self.real + self.mixed.k
        self.sizes += [] if self.classes is None else [len(self.classes)]
        columns, most = len(self.sizes), config.structure.most
        largest = math.prod(sorted(self.sizes)[-1 - most :])
        self.cells = max(min(config.cells, largest), max(self.sizes))
        tables = torch.zeros(columns, self.cells, dtype=torch.float64)
        for j, size in enumerate(self.sizes):
            tables[j, :size] = -math.log(size)
        self.register_buffer("parents", torch.full((columns, most), -1))
        self.register_buffer("tables", tables)

    @property
    def completion(self) -> str:
        """Completions are exact where sums are small enough, as they are in every tree."""
        return "exact" if self._order()[1] <= NUMBERS else "approximate"

    # -- learning ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Data) -> None:
        """The structure that scores best, then every column's table."""
        batch = everything(data, self.config.rows, self.rng)
        parts = self.mixed.inward(batch.x, batch.known, self.tables)
        self.scores.fit(parts.u, parts.seen)
        values, seen, _ = self._values(parts, labels_of(batch, self.classes))
        scores = Scores(values, seen, self.sizes, self.cells)
        self.parents.fill_(-1)
        for child, found in self.config.structure(scores).items():
            self.parents[child, : len(found)] = torch.tensor(found, dtype=torch.int64)
            counts = scores.counts(child, found)
            own = torch.bincount(values[seen[:, child], child], minlength=self.sizes[child]).double()
            own = (own + 1 / self.sizes[child]) / (own.sum() + 1)
            table = (counts + own) / (counts.sum(1, keepdim=True) + 1)
            self.tables[child] = 0.0
            self.tables[child, : table.numel()] = table.log().flatten()

    # -- structure --------------------------------------------------------------------------------------------------

    def arcs(self) -> dict[int, tuple[int, ...]]:
        """Every column's parents."""
        return {
            v: tuple(p for p in row if p >= 0) for v, row in enumerate(cast("list[list[int]]", self.parents.tolist()))
        }

    def names(self) -> list[str]:
        """What each column is called: its field, with the number of the element where a field has several."""
        fields = [(n, f) for n, f in self.space.fields.items() if n not in self.mixed.symbols]
        fields += [(n, f) for n, f in self.space.fields.items() if n in self.mixed.symbols]
        sizes = [(n, math.prod(f.shape)) for n, f in fields]
        found = [n if size == 1 else f"{n}.{i}" for n, size in sizes for i in range(size)]
        return found + ([] if self.classes is None else ["y"])

    def _table(self, v: int, parents: tuple[int, ...]) -> Tensor:
        """log p(column | parents), (*sizes of parents, size)."""
        shape = [self.sizes[u] for u in (*parents, v)]
        return self.tables[v, : math.prod(shape)].reshape(shape)

    def _order(self) -> tuple[list[int], float]:
        return cheap_order([(v, *p) for v, p in self.arcs().items()], self.sizes)

    # -- examples ---------------------------------------------------------------------------------------------------

    def _values(self, parts: Parts, y: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Every column's value and whether it is seen, (b, columns), and log densities within bins, nats (b,)."""
        z, slope = self.scores.inward(parts.u)
        bins = self.config.bins
        share = torch.special.ndtr(z)
        parts = labelled(parts, self.classes, y)
        values = torch.cat([(share * bins).long().clamp(0, bins - 1), parts.index], 1)
        there = torch.cat([parts.seen, parts.marked], 1)
        within = -0.5 * (z.square() + math.log(2 * math.pi)) + math.log(bins) + slope + parts.log_det
        return torch.where(there, values, 0), there, torch.where(parts.seen, within, 0.0).sum(1)

    def _split(self, values: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Columns' values as coordinates, drawn within their bins, and categories."""
        bins, n = self.config.bins, len(values)
        u = rng("within").uniform((n, self.real), dtype=torch.float64, device=values.device)
        number = values[:, : self.real].double()
        low, high = torch.special.ndtri(number / bins), torch.special.ndtri((number + 1) / bins)
        return self.scores.outward(truncated(low, high, u)[1]), values[:, self.real : self.real + len(self.mixed.k)]

    # -- inference --------------------------------------------------------------------------------------------------

    def _factors(self, evidence: Tensor, known: list[int]) -> list[Factor]:
        return [reduced((*p, v), self._table(v, p), evidence, known) for v, p in self.arcs().items()]

    def _given(self, values: Tensor, seen: Tensor, rng: Rng | None) -> tuple[Tensor, Tensor]:
        """log p of what is seen, nats (b,), and values with what is unseen drawn given it; as they are without rng."""
        found, scored = values.clone(), torch.zeros(len(values), dtype=torch.float64, device=values.device)
        order, largest = self._order()
        if largest > NUMBERS:
            return self._weighted(values, seen, Rng.of(rng))
        kinds, kind_of = seen.unique(dim=0, return_inverse=True)
        for kind, pattern in enumerate(kinds):
            at, known = (kind_of == kind).nonzero()[:, 0], pattern.nonzero()[:, 0].tolist()
            free = [v for v in order if v not in known]
            # rows that know the same are the same: their sums are taken once
            evidence, row_of = values[at].unique(dim=0, return_inverse=True)
            for part in torch.arange(len(evidence), device=at.device).split(max(1, int(NUMBERS / largest))):
                total, steps = eliminate(self._factors(evidence[part], known), free)
                inside = (row_of >= part[0]) & (row_of <= part[-1])
                mine, own = at[inside], row_of[inside] - part[0]
                scored[mine] = total.expand(len(part))[own]
                if rng is not None and free:
                    drawn = self._rows(steps, free, mine, own, rng)
                    found[mine] = torch.where(seen[mine], values[mine], drawn)
        return scored, found

    def _rows(self, steps: list[Factor], free: list[int], at: Tensor, own: Tensor, rng: Rng) -> Tensor:
        """Draws for rows with these numbers, each from a stream of its own, in runs of rows that follow one another."""
        found: list[Tensor] = []
        ends = [0, *((at.diff() != 1).nonzero()[:, 0] + 1).tolist(), len(at)]
        for first, last in itertools.pairwise(ends):
            found.append(draw(steps, free, own[first:last], len(self.sizes), rng("x").rows(int(at[first]))))
        return torch.cat(found)

    def _weighted(self, values: Tensor, seen: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """The same by likelihood weighting (Fung & Chang 1990): one of many draws by what is seen's probability."""
        n = len(values)
        many = torch.zeros(n, DRAWS, len(self.sizes), dtype=torch.int64, device=values.device)
        weight = torch.zeros(n, DRAWS, dtype=torch.float64, device=values.device)
        arcs = self.arcs()
        for v in ordered(arcs):
            logits = self._table(v, arcs[v])[tuple(many[:, :, u] for u in arcs[v])].expand(n, DRAWS, -1)
            drawn = rng("weighted", v).categorical(logits)
            many[:, :, v] = torch.where(seen[:, v, None], values[:, v, None], drawn)
            own = logits.gather(2, many[:, :, v, None])[:, :, 0]
            weight = weight + torch.where(seen[:, v, None], own, 0.0)
        which = rng("which").categorical(weight)
        return weight.logsumexp(1) - math.log(DRAWS), many.gather(1, which[:, None, None].expand(n, 1, many.shape[2]))[
            :, 0
        ]

    # -- drawing ----------------------------------------------------------------------------------------------------

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): summed out of the network."""
        if self.classes is None:
            raise ValueError("this model knows no classes; fit data with labels")
        y = torch.arange(len(self.classes), device=self.tables.device)
        values = torch.zeros(len(y), len(self.sizes), dtype=torch.int64, device=y.device)
        values[:, -1] = y
        seen = torch.zeros_like(values, dtype=torch.bool)
        seen[:, -1] = True
        return self._given(values, seen, None)[0].log_softmax(0)

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int) -> Batch:
        """n examples, columns after their parents; given y (n,) classes, from the conditional."""
        rng, arcs = Rng.of(rng), self.arcs()
        values = torch.zeros(n, len(self.sizes), dtype=torch.int64, device=self.tables.device)
        if self.classes is not None and y is not None:
            values[:, -1] = y.to(values.device)
            seen = torch.zeros_like(values, dtype=torch.bool)
            seen[:, -1] = True
            values = self._given(values, seen, rng)[1]
        else:
            for v in ordered(arcs):
                logits = self._table(v, arcs[v])[tuple(values[:, u] for u in arcs[v])]
                values[:, v] = rng("x", v).categorical(logits.expand(n, -1))
        u, index = self._split(values, rng)
        return Batch(x=self.mixed.outward(u, index), y=values[:, -1] if self.classes is not None and y is None else y)

    @torch.no_grad()
    def complete(self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int) -> Batch:
        """Draws of what is unknown given what is known."""
        rng = Rng.of(rng)
        values, seen, _ = self._known(x, known, y)
        values = self._given(values, seen, rng)[1]
        label = y if isinstance(y, Tensor) or self.classes is None else values[:, -1]
        return Batch(x=self.mixed.completed(x, known, *self._split(values, rng)), y=label)

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
        """log p(x), or log p(x | y), of the known part, nats (b,): exact, or a bound where sums would be too large."""
        values, seen, within = self._known(x, known, y)
        exact = self.completion == "exact"
        nats = (self._given(values, seen, None) if exact else self._weighted(values, seen, Rng.of(rng)))[0] + within
        if self.classes is not None and y is not None:
            nats = nats - self.label_log_prob()[values[:, -1]]
        return LogLikelihood(
            nats=nats,
            kind="exact" if exact else "bound",
            measure=self.space.measure,
            count=elements(self.space, rows(x), known, length, x),
            method="variable elimination" if exact else f"likelihood weighting, {DRAWS} draws",
        )

    def _known(self, x: Values, known: Values | None, y: Values | None) -> tuple[Tensor, Tensor, Tensor]:
        if y is not None:
            class_indicator(y, self.classes, torch.float64)  # type: ignore[arg-type]
        parts = self.mixed.inward(x, known, self.tables)
        return self._values(parts, y if isinstance(y, Tensor) else None)
