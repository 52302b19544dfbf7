"""What samples are good for: a classifier learns from them and is tried on real data, and the other way round.

    real on real         what the task gives at best, at this number of examples: the row to compare with
    samples on real      whether samples can stand in for data (Esteban, Hyland & Ratsch 2017, "TSTR"; Ravuri & Vinyals
                         2019, "classification accuracy score"): lost classes, wrong labels and lacking variety lower it
    real on samples      whether samples look like their class; variety is not seen
    both on real         whether samples add to real data (augmentation)

All learn from equally many examples, but for the last, which has both. The learner is a function passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.core.figure import Figure
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.extractors import BATCH, flatten, tensor
from simulacra.evaluation.streaming import Part
from simulacra.mathematics.ranking import auc
from simulacra.mathematics.significance import paired_bootstrap
from simulacra.nets.halving import halving
from simulacra.nets.initialise import initialise

Probabilities = Callable[[Tensor], Tensor]
# (x (n, *event), y int64 (n,), number of classes, rng) -> a function x -> p(class | x), (n, classes)
Learner = Callable[[Tensor, Tensor, int, Rng], Probabilities]
LEAST = 20  # examples on either side
SEEN = 30_000  # examples a convolutional learner sees


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Examples (n, *event) and their labels, int64 (n,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def first(self, n: int) -> Labelled:
        """The first n of them."""
        return Labelled(x=self.x[:n], y=self.y[:n])


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How a classifier did: whether each example was named rightly, bool (n,), and the mean area under one-against-rest
    curves, nan where fewer than two classes can be told."""

    right: Tensor
    area: float


def logistic(x: Tensor, y: Tensor, classes: int, rng: Rng) -> Probabilities:
    """Logistic regression on the examples' own values, brought to unit spread."""
    from sklearn.linear_model import LogisticRegression

    rows = flatten(x).double()
    mean, spread = rows.mean(0), rows.std(0).clamp(min=1e-6)
    known = y.unique()
    if len(known) < 2:
        return lambda other: F.one_hot(known.expand(len(other)), classes).double()
    model = LogisticRegression(max_iter=300).fit(((rows - mean) / spread).numpy(), y.numpy())

    def probabilities(other: Tensor) -> Tensor:
        p = torch.zeros(len(other), classes, dtype=torch.float64)
        p[:, known] = torch.from_numpy(model.predict_proba(((flatten(other).double() - mean) / spread).numpy()))
        return p

    return probabilities


def convolutional(x: Tensor, y: Tensor, classes: int, rng: Rng) -> Probabilities:
    """A small convolutional network, for pictures (n, c, h, w)."""
    network = nn.Sequential(halving(tuple(x.shape[1:]), 8, 32), nn.SiLU(), nn.Linear(32, classes))
    initialise(network, rng("weights"))
    (optimiser,) = AdamW(lr=3e-3, weight_decay=1e-2).build(network)
    batch = min(64, len(x))
    steps = SEEN // batch
    order, at, epoch = torch.arange(0), 0, 0
    for step in range(steps):
        if at + batch > len(order):
            order, at, epoch = rng("epoch", epoch).permutation(len(x)), 0, epoch + 1
        chosen = order[at : at + batch]
        at += batch
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 30) * (1 - step / steps)
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(network(x[chosen].float()), y[chosen]).backward()
        optimiser.step()
    network.eval().requires_grad_(False)
    return lambda other: torch.cat([network(part.float()).softmax(1).double() for part in other.split(BATCH)])


@torch.no_grad()
def labelled(part: Part, n: int, what: str) -> Labelled:
    """Numbered examples 0 .. n - 1 with their labels. ValueError, naming what they are, where they have none."""
    x: list[Tensor] = []
    y: list[Tensor] = []
    for first in range(0, n, BATCH):
        batch = part(first, min(first + BATCH, n))
        if not isinstance(batch.y, Tensor):
            raise ValueError(
                f"tasks need labels, and the {what} have none; fit a model of classes, or leave --tasks out"
            )
        x.append(tensor(batch.x).cpu())
        y.append(batch.y.cpu())
    return Labelled(x=torch.cat(x), y=torch.cat(y))


def scored(probabilities: Probabilities, on: Labelled, classes: int) -> Scored:
    """A classifier tried on labelled examples."""
    p = probabilities(on.x)
    areas = [
        auc(p[on.y != c, c], p[on.y == c, c])[0]
        for c in range(classes)
        if min(int((on.y == c).sum()), int((on.y != c).sum())) > 1
    ]
    return Scored(right=p.argmax(1) == on.y, area=sum(areas) / len(areas) if areas else math.nan)


def tasks(
    fake: Labelled,
    train: Labelled,
    held: Labelled,
    *,
    classes: int,
    learner: Learner = convolutional,
    rng: Rng | int = 0,
) -> list[Figure]:
    """Accuracy and area of every row, and what samples add to real data, paired by the examples tried on.

    train, held  real examples to learn from and to be tried on; nothing is tried on what it learned from.
    ValueError for labels that are not classes, and for fewer than 20 examples.
    """
    stream = Rng.of(rng)
    for side, some in (("samples", fake), ("training examples", train), ("held-out examples", held)):
        if len(some) < LEAST or len(some.y) != len(some.x):
            raise ValueError(
                f"a task needs at least {LEAST} labelled examples; there are {len(some)} {side} with {len(some.y)}"
                " labels"
            )
        if not (int(some.y.min()) >= 0 and int(some.y.max()) < classes):
            raise ValueError(
                f"labels of the {side} lie in {int(some.y.min())} .. {int(some.y.max())}; expected 0 .. {classes - 1}"
            )
    n = min(len(fake), len(train))
    fake, train = fake.first(n), train.first(n)
    both = Labelled(x=torch.cat([train.x.to(fake.x.dtype), fake.x]), y=torch.cat([train.y, fake.y]))
    learnt = {
        name: learner(some.x, some.y, classes, stream(name))
        for name, some in (("real", train), ("samples", fake), ("both", both))
    }
    found = {
        "real on real": scored(learnt["real"], held, classes),
        "samples on real": scored(learnt["samples"], held, classes),
        "real on samples": scored(learnt["real"], fake, classes),
        "both on real": scored(learnt["both"], held, classes),
    }
    figures: list[Figure] = []
    for name, s in found.items():
        tried = len(s.right)
        about = f"learnt from {2 * n if name.startswith('both') else n:,}"
        way = "neither" if name.startswith("real on") else "higher"
        interval = intervals.of_share(int(s.right.sum()), tried)
        value = float(s.right.double().mean())
        figures.append(_figure(f"accuracy, {name}", value, way, interval, tried, stream.seed, about))
        if not math.isnan(s.area):
            why = intervals.none("a mean over classes, whose areas share examples")
            figures.append(_figure(f"area, {name}", s.area, way, why, tried, stream.seed, about))
    gain = paired_bootstrap(
        found["both on real"].right.double() - found["real on real"].right.double(), rng=stream("gain")
    )
    interval = intervals.Interval(bounds=gain.interval, method="paired bootstrap, of these two classifiers")
    note = f"p = {gain.p:.2g}; {n:,} samples beside {n:,} real examples"
    figures.append(_figure("gain from samples", gain.value, "higher", interval, len(held), stream.seed, note))
    return figures


def _figure(name, value, direction, interval, n, seed, note) -> Figure:
    return Figure(
        name=name,
        value=value,
        direction=direction,
        n=n,
        interval=interval.bounds,
        interval_method=interval.method,
        level=intervals.LEVEL,
        seed=seed,
        note=note,
    )
