"""An autoregressive model of a table's columns in any order: whatever is known, the rest can be drawn given it.

For an order s of the columns the chain rule is p(x) = prod_i p(x_{s(i)} | x_{s(1)} ... x_{s(i-1)}), and one network
learns all of its factors, by

    E_s sum_i  log p(x_{s(i)} | x_{s(<i)}; s(<i))        (Uria et al. 2014, eq. 6; Hoogeboom et al. 2022, eq. 2)

It is a causal transformer over tokens: a token says which value stood in which column, and which column is asked for
next, so that one pass scores all factors of an order (XLNet's idea, Yang et al. 2019, with the next place told as by
Pannatier et al. 2024). Columns are of any kind; each has vectors and a head of its own. Rows with gaps are learnt from
as they are: what was not observed comes last, and nothing is asked of it.

Every order has a density of its own, exact and normalised, and they agree only as far as they were learnt. So

    log_likelihood      is that of the columns as they stand (of those that are known, where some are not);
    complete            decides what is known first, then the rest, both as they stand: its draws are exactly of
                        p(unknown | known) in that order's density;
    conditional         is one factor of it.

What it cannot do: codes, and a marginal that is the same from whichever side it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from simulacra.core.batch import Batch, Data, Loss, Values
from simulacra.core.likelihood import LogLikelihood
from simulacra.core.optimisers import AdamW, Muon, Optimiser, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Space
from simulacra.core.turns import Player, Turn
from simulacra.mathematics.distributions import Elementwise
from simulacra.mathematics.orders import Mostly, Orders, sequence, standing
from simulacra.nets.columns import ColumnHeads, Columns, check_columns
from simulacra.nets.density_heads import Flexible
from simulacra.nets.embeddings import class_indicator, pick
from simulacra.nets.heads import Likelihood, elements
from simulacra.nets.initialise import initialise
from simulacra.nets.marginal import LabelMarginal
from simulacra.nets.transformer import Cache, Transformer

ROWS = 4096  # examples drawn or completed at a time,
OUTPUTS = 1 << 22  # as long as the widest head puts out no more than so many numbers for them all


@dataclass(frozen=True, kw_only=True)
class AnyOrderConfig:
    """An autoregressive model of columns.

    width, depth, heads  of the transformer; heads must divide the width.
    likelihood           which distribution a column is given those before it (``nets.density_heads``, ``nets.heads``).
    orders               in which orders it learns (``mathematics.orders``): ``Mostly()``, ``any_order`` ...
    """

    width: int = 96
    depth: int = 3
    heads: int = 4
    likelihood: Likelihood = field(default_factory=Flexible)
    orders: Orders = field(default_factory=Mostly)
    optimiser: Optimiser = field(
        default_factory=lambda: Muon(
            lr=5e-3,
            weight_decay=0.05,
            rest=AdamW(lr=3e-3, betas=(0.9, 0.95), schedule=Warmup(steps=100, decay=0.8, final=0.02)),
            schedule=Warmup(steps=100, decay=0.8, final=0.02),
        )
    )

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads) < 1:
            raise ValueError(f"width, depth and heads must be at least 1; got {self.width}, {self.depth}, {self.heads}")


class AnyOrderNetwork(nn.Module):
    """Columns in an order -> for each of them, what stands before it in that order says of it."""

    def __init__(self, config: AnyOrderConfig, space: Space, given: int) -> None:
        super().__init__()
        width, count = config.width, len(space.fields)
        self.values = Columns(space, width)
        self.named, self.asked = nn.Embedding(count, width), nn.Embedding(count, width)
        self.start = nn.Linear(max(given, 1), width, bias=False)
        self.body = Transformer(width, config.depth, config.heads, count, causal=True)
        self.heads = ColumnHeads(space, width, config.likelihood)
        for p in self.body.blocks.parameters():
            p.muon = p.ndim == 2  # type: ignore[attr-defined]

    def begin(self, n: int, given: Tensor | None) -> Tensor:
        """What stands before the first column, (n, width)."""
        weight = self.start.weight
        return self.start(torch.ones(n, 1, dtype=weight.dtype, device=weight.device) if given is None else given)

    def forward(self, x: Values, seen: Tensor, order: Tensor, given: Tensor | None, count: int | None = None) -> Tensor:
        """Vectors (b, count, width) for the first ``count`` columns of each example's order, int64 (b, columns)."""
        return self.body(self.tokens(x, seen, order, given)[:, :count])

    def tokens(self, x: Values, seen: Tensor, order: Tensor, given: Tensor | None) -> Tensor:
        """(b, columns, width): the value before, and the column that is asked for."""
        told = self.values(x, seen) + self.named.weight
        told = told.gather(1, order[..., None].expand(-1, -1, told.shape[2]))
        return torch.cat([self.begin(len(order), given)[:, None], told[:, :-1]], dim=1) + self.asked(order)


class AnyOrder(nn.Module):
    """Every column given those before it, in any order; conditional on the class where the space has classes."""

    completion = "exact"

    def __init__(self, config: AnyOrderConfig, space: Space, *, rng: Rng | int = 0) -> None:
        super().__init__()
        if isinstance(space.y, Space):
            raise ValueError(
                "any_order is conditional on classes only; expected a space whose y is Classes or None: make what is"
                " given columns of the table, any of which can be given"
            )
        check_columns(space, "any_order")
        self.config, self.space, self.classes = config, space, space.y
        self.marginal = LabelMarginal(self.classes)
        self.network = AnyOrderNetwork(config, space, self.marginal.classes)
        self.measure = space.measure
        initialise(self.network, Rng.of(rng)("weights"))

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, data: Data) -> None:
        """Learns the labels' shares."""
        self.marginal.fit(data)

    def players(self) -> Mapping[str, Player]:
        return {"columns": Player(module=self.network, optimiser=self.config.optimiser)}

    def turns(self) -> Sequence[Turn]:
        return [Turn(name="columns", player="columns", loss=self.loss)]

    def loss(self, batch: Batch, rng: Rng) -> Loss:
        """-log p of what was observed, in an order of each example's own; nats a column."""
        seen = self._flags(batch.x, batch.known)
        ranks = self.config.orders(len(seen), seen.shape[1], rng("order"), seen.device)
        given = self._given(batch.y if self.classes is not None else None)
        return Loss.of(-self._scored(batch.x, seen, sequence(ranks, seen), given) / seen.shape[1])

    def _given(self, y: Values | None) -> Tensor | None:
        return class_indicator(y, self.classes, self.network.start.weight.dtype)  # type: ignore[arg-type]

    def _flags(self, x: Values, known: Values | None) -> Tensor:
        """Which columns are known, bool (b, columns)."""
        names = self.space.fields
        if known is None:
            first = pick(x, next(iter(names)))
            return torch.ones(len(first), len(names), dtype=torch.bool, device=first.device)
        return torch.stack([pick(known, name) for name in names], dim=1)

    def _scored(self, x: Values, seen: Tensor, order: Tensor, given: Tensor | None) -> Tensor:
        """log p of what is seen, in this order, nats (b,)."""
        h = self.network(x, seen, order, given)
        place = order.argsort(dim=1)  # where in the order each column stands
        h = h.gather(1, place[..., None].expand(-1, -1, h.shape[2]))
        total: Tensor | None = None
        for i, name in enumerate(self.space.fields):
            value = pick(x, name)
            value = torch.where(seen[:, i], value, self.network.values.filler(i, value))
            each = self.network.heads(i, h[:, i]).log_prob(value)
            each = torch.where(seen[:, i], each, torch.zeros((), dtype=each.dtype, device=each.device))
            total = each if total is None else total + each
        assert total is not None
        return total

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
        """The exact log p(x), or log p(x | y), nats (b,), of the columns that are known, decided as they stand.

        A class-conditional model without y sums over the classes: log sum_y p(y) p(x | y).
        """
        seen = self._flags(x, known)
        order = standing(seen)
        score = lambda labels: self._scored(x, seen, order, self._given(labels))  # noqa: E731
        nats = self.marginal.sum_out(score, len(seen)) if self.classes is not None and y is None else score(y)
        return LogLikelihood(
            nats=nats, kind="exact", measure=self.measure, count=elements(self.space, len(seen), known, None, x),
            method="columns as they stand",
        )  # fmt: skip

    @torch.no_grad()
    def conditional(self, column: str, x: Values, known: Values, *, y: Values | None = None) -> Elementwise:
        """p(column | what is known): the distribution of one column's value for each example.

        known  like x; whether the column itself is known makes no difference. y is required where there are classes.
        Raises ValueError for a column that is not there.
        """
        names = list(self.space.fields)
        if column not in names:
            raise ValueError(f"no column {column!r}; expected one of {', '.join(names)}")
        i, seen = names.index(column), self._flags(x, known).clone()
        seen[:, i] = False
        order = standing(seen, then=i)
        h = self.network(x, seen, order, self._given(y))
        at = seen.sum(1)[:, None, None].expand(-1, 1, h.shape[2])
        return self.network.heads(i, h.gather(1, at)[:, 0])

    # -- drawing ----------------------------------------------------------------------------------------------------

    def label_log_prob(self) -> Tensor:
        """log p(y) of every class, nats (classes,): each counted once more than it was seen."""
        return self.marginal.log_prob()

    @torch.no_grad()
    def sample(self, n: int, *, y: Tensor | None = None, rng: Rng | int, temperature: float = 1.0) -> Batch:
        """n examples, column after column as they stand; y (n,) classes, None: drawn from their learned marginal.

        temperature  of every column's distribution; below 1 more typical and less varied.
        """
        rng = Rng.of(rng)
        if self.classes is not None and y is None:
            y = self.marginal.draw(n, rng("y"))
        x = self.blank(n)
        seen = torch.zeros(n, len(x), dtype=torch.bool, device=self.network.start.weight.device)
        found = self._walked(x, seen, self._given(y), rng("x"), temperature)
        return Batch(x=found if len(found) > 1 else next(iter(found.values())), y=y)

    @torch.no_grad()
    def complete(
        self, x: Values, known: Values, *, y: Values | None = None, rng: Rng | int, temperature: float = 1.0
    ) -> Batch:
        """Draws what is unknown given what is known, which is decided first: exactly of p(unknown | known) there.

        Without y, where there are classes, the class is drawn along: y of p(y | known), then the rest given it.
        """
        rng, seen, told = Rng.of(rng), self._flags(x, known), y
        if self.classes is not None and y is None:
            told = self._likely(x, seen, rng("y"))
        named = {name: pick(x, name) for name in self.space.fields}
        found = self._walked(named, seen, self._given(told), rng("x"), temperature)
        return Batch(x=found if len(found) > 1 else next(iter(found.values())), y=y)

    def _likely(self, x: Values, seen: Tensor, rng: Rng) -> Tensor:
        """Classes drawn given what is seen, int64 (b,)."""
        order = standing(seen)
        one = torch.ones(len(seen), dtype=torch.int64, device=seen.device)
        nats = [self._scored(x, seen, order, self._given(c * one)) for c in range(self.marginal.classes)]
        return rng.categorical(torch.stack(nats, dim=1) + self.marginal.log_prob().to(nats[0]))

    def blank(self, n: int) -> dict[str, Tensor]:
        """n examples that hold nothing in particular."""
        like, values = self.network.start.weight, self.network.values
        kinds = [torch.int64 if isinstance(t, nn.Embedding) else like.dtype for t in values.tables]
        empty = [torch.zeros(n, dtype=kind, device=like.device) for kind in kinds]
        return {name: t + values.filler(i, t) for i, (name, t) in enumerate(zip(self.space.fields, empty, strict=True))}

    def _walked(
        self, x: Mapping[str, Tensor], seen: Tensor, given: Tensor | None, rng: Rng, temperature: float
    ) -> dict[str, Tensor]:
        """What is not seen drawn, column after column, given all that is; a part of the examples at a time."""
        parts: list[dict[str, Tensor]] = []
        size = max(1, min(ROWS, OUTPUTS // max(kind.outputs for kind in self.network.heads.kinds)))
        for first in range(0, max(len(seen), 1), size):
            part = slice(first, first + size)
            here = {name: t[part].clone() for name, t in x.items()}
            walk = _Walk(self.network, here, seen[part], None if given is None else given[part])
            walk.to_the_end(rng.rows(first), temperature)
            parts.append(here)
        return {name: torch.cat([part[name] for part in parts]) for name in x}


class _Walk:
    """A pass over the columns of some examples, each in its order, what is known first; fills x in place."""

    def __init__(self, network: AnyOrderNetwork, x: dict[str, Tensor], seen: Tensor, given: Tensor | None) -> None:
        self.network, self.x, self.seen, self.given = network, x, seen, given
        self.order = standing(seen)
        self.cache = Cache()

    def to_the_end(self, rng: Rng, temperature: float) -> None:
        """Decides every column that is not known."""
        names, count = list(self.x), self.seen.shape[1]
        known = int(self.seen.sum(1).min()) if len(self.seen) else count
        for step in range(known, count):
            h, columns = self._asked(step), self.order[:, step]
            missing = ~self.seen.gather(1, columns[:, None])[:, 0]
            for i in columns[missing].unique().tolist():
                # drawn for all examples, so that a draw depends on its own row alone
                drawn = self.network.heads(i, h).sample(rng(names[i]), temperature)
                mine = missing & (columns == i)
                self.x[names[i]] = torch.where(mine, drawn.to(self.x[names[i]].dtype), self.x[names[i]])

    def _asked(self, step: int) -> Tensor:
        """Vectors (b, width) of the columns asked for at a step; at the first one all that is known is read at once."""
        if self.cache.seen == 0:
            network = self.network
            return network.body(network.tokens(self.x, self.seen, self.order, self.given)[:, : step + 1], self.cache)[
                :, -1
            ]
        before, network = self.order[:, step - 1], self.network
        told = network.named(before)
        for i in before.unique().tolist():
            values = list(self.x.values())[i]
            vectors = network.values.one(i, torch.where(before == i, values, network.values.filler(i, values)))
            told = torch.where((before == i)[:, None], told + vectors, told)
        return network.body((told + network.asked(self.order[:, step]))[:, None], self.cache)[:, -1]
