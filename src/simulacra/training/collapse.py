"""Mode collapse: whether samples are less varied than data, measured as training goes on and said in plain words.

Beside a fixed part of the data stand as many samples. What is measured, each against what the data itself shows:

    diversity    mean distance between two samples
    repetition   median distance from a sample to its nearest other
    kinds        the data is cut into cells of similar examples (``mathematics.cells``), and into its classes where it
                 has some: in how many samples lie (exp of the entropy), and what share of the data is in those missed
    support      from how many different examples the samples seem to be drawn, by the birthday paradox
    within       mean distance between two samples of one class
    precision, recall, coverage  of samples and data by neighbourhoods (``mathematics.two_sample``)

A young generator is not accused for not being finished. Samples that lie among the data, as far from the centres of
their cells as data does, have collapsed whenever they are seen to lack its variety; others, blurred or beside the data,
are judged by wider limits, once the run is under way, and as long as their variety does not grow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.capabilities import Critic
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Space
from simulacra.mathematics.cells import Cells, coincidences, missed_share, partition, shift, support
from simulacra.mathematics.diversity import class_spreads, effective_number
from simulacra.mathematics.neighbours import nearest
from simulacra.mathematics.two_sample import manifolds
from simulacra.training.hooks import Moment, Verdict
from simulacra.training.looks import EARLY, Suspicion, distances, vectors

NUMBERS = 1 << 24  # numbers of examples held at a time: 64 MB; large pictures are judged by fewer examples
MOST, EACH = 24, 20  # cells at most, and examples there are to be for each
SAME = 0.02  # of the data's median distance to the nearest other: examples so near are the same one
GROWTH = 1.05  # variety that grew so much since the best look before is growing
TYPICAL = 0.85  # of the data's distance from the cells' centres: below it samples are smoother than data
BETWEEN = 0.3  # of the data in kinds that samples share: how much lies in neighbourhoods of samples, at least
ROWS = 2_048  # examples that the cells are made of, at most


@dataclass(frozen=True, kw_only=True)
class Variety:
    """What samples show of the data's variety. Ratios are samples over data.

    diversity, repetition, within   as above; within is nan where there are no classes.
    modes, of    effective number of cells the samples lie in, and that the data lies in.
    shift        total variation between the shares of the cells in samples and data.
    missed       share of the data in cells that samples all but lack; lost: the classes they all but lack, by number.
    dispersion   distance from the cells' centres: below 1 samples are more typical than data, above it beside the data.
    support      examples that the samples seem to be drawn from; inf where no two are the same.
    precision, recall, coverage  of the samples; usual: the precision that other data has.
    """

    diversity: float
    repetition: float
    modes: float
    of: float
    shift: float
    missed: float
    lost: tuple[int, ...]
    dispersion: float
    support: float
    within: float
    precision: float
    usual: float
    recall: float
    coverage: float

    @property
    def convincing(self) -> bool:
        """Whether samples are like data where they are: among it at least half as often as other data is, no more
        typical, and such that data is found between them, in the kinds that they share. A young generator's are not.
        """
        near = self.precision >= 0.5 * self.usual and TYPICAL <= self.dispersion <= 1 / TYPICAL
        return near and self.recall >= BETWEEN * (1 - self.shift)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on variety counts as lost.

    diversity, repetition, within  smallest ratios.
    shift       largest total variation between the cells' shares for samples that convince, and for others.
    recall      from which on samples that do not convince, noisy ones say, are not accused of lacking kinds.
    support     smallest share of the number of examples learnt from that samples may seem to be drawn from.
    """

    diversity: float = 0.4
    repetition: float = 0.1
    within: float = 0.25
    shift: tuple[float, float] = (0.25, 0.6)
    recall: float = 0.5
    support: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The part of the data that samples are held against: vectors (n, d), labels (n,) or None, and its own figures."""

    x: Tensor
    y: Tensor | None
    space: Space
    cells: Cells
    spread: float
    nearest: float
    within: float
    usual: float
    examples: int

    @staticmethod
    def of(moment: Moment, n: int) -> Reference:
        """Up to n examples, always the same ones of a run's data; the cells are those of up to ``ROWS``."""
        data, rng = moment.data, Rng(0, ("variety",))
        index = rng("order").permutation(len(data))[:ROWS]

        def part(numbers: Tensor) -> Batch:
            return moment.ready(data.batch(moment.index(numbers), rng("draw")))

        width = vectors(part(index[:2]), data.space).shape[1]
        rows = min(len(index), max(2, NUMBERS // width))
        batch = part(index[:rows])
        whole = vectors(batch, data.space)
        y = batch.y if isinstance(batch.y, Tensor) and isinstance(data.space.y, Classes) else None
        half = max(2, min(n, len(whole)))
        x = whole[:half]
        spread, near = distances(x)
        return Reference(
            x=x,
            y=None if y is None else y[:half],
            space=data.space,
            cells=partition(whole, max(1, min(MOST, half // EACH)), rng("cells")),
            spread=spread,
            nearest=near,
            within=_within(x, None if y is None else y[:half]),
            usual=_usual_precision(x),
            examples=len(data),
        )

    def variety(self, batch: Batch) -> Variety:
        """What as many samples show."""
        fake = vectors(batch, self.space).to(self.x)
        spread, near = distances(fake)
        counts, own = self.cells.counts(fake), self.cells.counts(self.x)
        within = _within(fake, batch.y if isinstance(batch.y, Tensor) and self.y is not None else None)
        pairs = coincidences(fake, SAME * self.nearest)
        found = manifolds(fake, self.x, k=_k(len(self.x))) if len(self.x) > _k(len(self.x)) else None
        return Variety(
            diversity=spread / self.spread if self.spread > 0 else 1.0,
            repetition=near / self.nearest if self.nearest > 0 else 1.0,
            modes=effective_number(counts.double()),
            of=effective_number(own.double()),
            shift=shift(counts, self.cells.shares),
            missed=missed_share(counts, self.cells.shares),
            lost=self._lost(fake),
            dispersion=self.cells.dispersion(fake),
            # what the data itself repeats, rows of a table say, samples may repeat
            support=support(len(fake), max(0, pairs - 2 * coincidences(self.x, SAME * self.nearest))),
            within=within / self.within if self.within > 0 else math.nan,
            precision=1.0 if found is None else float(found.precise.mean()),
            usual=self.usual,
            recall=1.0 if found is None else float(found.recalled.mean()),
            coverage=1.0 if found is None else float(found.covered.mean()),
        )

    def _lost(self, fake: Tensor) -> tuple[int, ...]:
        """Classes that samples all but lack, each sample being of the class of the example it is nearest to."""
        if self.y is None:
            return ()
        k = len(_names(self.space))
        own = torch.bincount(self.y, minlength=k).double()
        seen = torch.bincount(self.y[nearest(fake, self.x)[1][:, 0]], minlength=k)
        shares = own / own.sum()
        return tuple(c for c in range(k) if _misses(seen, shares, c))


def _misses(counts: Tensor, shares: Tensor, kind: int) -> bool:
    """Whether this one kind is missed."""
    alone = torch.stack([shares[kind], 1 - shares[kind]])
    rest = counts.sum() - counts[kind]
    return missed_share(torch.stack([counts[kind], rest]), alone) > 0


def _k(n: int) -> int:
    return max(1, min(5, n // 8))


def _usual_precision(x: Tensor) -> float:
    """Share of one half of the data that lies in the neighbourhoods of the other."""
    a, b = x[::2], x[1::2]
    k = _k(len(b))
    return float(manifolds(a, b, k=k).precise.mean()) if min(len(a), len(b)) > k else 1.0


def _within(x: Tensor, y: Tensor | None) -> float:
    """Mean distance of two rows of one class; nan without classes, or where none has three rows."""
    if y is None or not bool((torch.bincount(y) > 2).any()):
        return math.nan
    return class_spreads(x, y)[0]


class ModeCollapse:
    """Whether samples are less varied than data; ``last`` holds the newest ``Variety``.

    patience  looks in a row that must show a fault; twice as many while samples are unlike the data.
    """

    def __init__(self, *, every: int = 500, n: int = 512, limits: Limits | None = None, patience: int = 2) -> None:
        self.every, self.n, self.limits = every, n, limits or Limits()
        self.suspicion = Suspicion("mode collapse", patience)
        self.reference: Reference | None = None
        self.last: Variety | None = None
        self.best, self.young = (0.0, 0.0), 0

    @torch.no_grad()
    def __call__(self, moment: Moment) -> list[Verdict]:
        if len(moment.data) < 2:
            return []
        if self.reference is None:
            self.reference = Reference.of(moment, self.n)
        model = moment.averaged()
        batch = model.sample(len(self.reference.x), rng=moment.rng("samples"))
        self.last = v = self.reference.variety(batch)
        # more varied, or of more kinds, than at any look before
        now = (v.diversity, v.modes)
        growing = any(new > GROWTH * old for new, old in zip(now, self.best, strict=True))
        self.best = (max(now[0], self.best[0]), max(now[1], self.best[1]))
        found = self.fault(v, isinstance(model, Critic))
        fine = f"samples are varied: {_told(v)}"
        if found and not v.convincing:
            if (moment.fraction < EARLY and not moment.done) or growing:
                return []
            self.young += 1
            if self.young <= self.suspicion.patience and not moment.done:
                return []
        else:
            self.young = 0
        return self.suspicion.look(moment, bool(found), found, fine, self.measured(v))

    def fault(self, v: Variety, adversarial: bool) -> str:
        """What is wrong, with what it suggests to do; empty where nothing is."""
        limits = self.limits
        if v.diversity < limits.diversity:
            what = f"two samples lie {_percent(v.diversity)} as far apart as two training examples"
            cure = "pack two examples for the critic (Pack(2)), pair them (Relativistic with R1 and R2), or unroll"
        elif v.repetition < limits.repetition:
            what = f"samples lie {_percent(v.repetition)} as far from their nearest other as training examples do"
            cure = "show the critic its batch (Pack(2) or a minibatch deviation), or raise gamma of R1 and R2"
        elif v.support < limits.support * self.reference_examples:
            what = f"samples repeat themselves as if there were but {v.support:.0f} of them"
            cure = "show the critic its batch (Pack(2) or a minibatch deviation), or widen the generator"
        elif v.shift > limits.shift[not v.convincing] and (v.convincing or v.recall < limits.recall):
            kinds = f"hardly any of class {', '.join(map(self._class, v.lost))}; " if v.lost else ""
            what = f"{_percent(v.shift)} of the samples would have to be of other kinds ({kinds}{_told(v)})"
            cure = "pair examples (Relativistic with R1 and R2), pack them (Pack(2)), or go back to healthier weights"
        elif v.within < limits.within:
            what = f"two samples of one class lie {_percent(v.within)} as far apart as two training examples of one"
            cure = "pack two examples for the critic (Pack(2)), or lower its learning rate"
        else:
            return ""
        cure = cure if adversarial else "train for longer, at a lower learning rate, or take another family"
        return f"{what}: the model has collapsed; {cure}"

    def measured(self, v: Variety) -> tuple[tuple[str, str, str], ...]:
        """What was measured, in plain words: what it is, how much, and from where on it is a fault."""
        limits, examples = self.limits, self.reference_examples
        least = f"a fault below {limits.support * examples:,.0f}" if math.isfinite(examples) else ""
        drawn = "no two alike" if math.isinf(v.support) else f"about {v.support:,.0f}"
        rows = [
            ("how far apart two samples are, beside two training examples", _percent(v.diversity),
             f"a fault below {_percent(limits.diversity)}"),
            ("how far a sample is from its nearest other, beside training examples", _percent(v.repetition),
             f"a fault below {_percent(limits.repetition)}"),
            ("kinds of examples that samples show, and that the data shows", f"{v.modes:.1f} of {v.of:.1f}", ""),
            ("samples that would have to be of another kind to match the data", _percent(v.shift),
             f"a fault above {_percent(limits.shift[not v.convincing])}"),
            ("different examples that the samples seem to be drawn from", drawn, least),
            ("samples that lie among the data (precision)", _percent(v.precision),
             f"{_percent(v.usual)} for other data"),
            ("data that lies among the samples (recall)", _percent(v.recall), ""),
        ]  # fmt: skip
        if not math.isnan(v.within):
            rows.append(
                ("how far apart two samples of one class are, beside two examples of one", _percent(v.within),
                 f"a fault below {_percent(limits.within)}")
            )  # fmt: skip
        if v.lost:
            rows.append(("classes that are all but missing", ", ".join(map(self._class, v.lost)), ""))
        return tuple(rows)

    @property
    def healthy(self) -> bool:
        """Whether the last look found nothing wrong."""
        return self.last is not None and not self.fault(self.last, False)

    @property
    def reference_examples(self) -> float:
        """Number of examples that are learnt from."""
        return math.inf if self.reference is None else float(self.reference.examples)

    def _class(self, number: int) -> str:
        return "" if self.reference is None else _names(self.reference.space)[number]

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return {**self.suspicion.state(), "best": list(self.best), "young": self.young}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Remember what ``state`` gave."""
        self.suspicion.restore(value)
        best = value.get("best", self.best)  # runs written before 26 November 2026 have none
        self.best, self.young = (best[0], best[1]), value.get("young", self.young)


def _told(v: Variety) -> str:
    """The figures, in a few words."""
    within = "" if math.isnan(v.within) else f", {_percent(v.within)} within a class"
    repeated = "no two alike" if math.isinf(v.support) else f"as if drawn from {v.support:.0f}"
    return (
        f"{v.modes:.1f} of {v.of:.1f} kinds, {_percent(v.diversity)} as far apart as training examples{within},"
        f" {repeated}; precision {v.precision:.2f}, recall {v.recall:.2f}, coverage {v.coverage:.2f}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _names(space: Space) -> tuple[str, ...]:
    assert isinstance(space.y, Classes)
    return space.y.names
