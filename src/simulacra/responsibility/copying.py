"""Copying: do samples lie nearer to training examples than unseen real examples do, and does the data repeat itself?

Held-out examples are the null of both tests: a model that copies nothing lies as near to what it learned from as
unseen examples do. What neither can see: copies that the features do not show as near (a mirrored picture, a
paraphrase), and a model that is worse than real data everywhere, whose samples lie so far off that the few copies
among them are all that is near: the tail test sees those, C_T does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.judge import nearest_training
from simulacra.evaluation.statistics import NOWHERE, Origin, check
from simulacra.mathematics.copying import LEAST, DataCopying, Tail, data_copying, tail_test
from simulacra.mathematics.neighbours import nearest
from simulacra.responsibility.finding import ALARM, Finding, unmeasured

SMALLEST = 100  # samples and held-out examples that a test of copying needs
CELLS = 10  # of the training data: in each the samples are judged by their like
NEAR = 0.1  # of the median distance between neighbours: nearer training examples are near-duplicates
PAIRS = 12  # shown
DUPLICATED = 0.01  # share of training examples with a duplicate, from which attention is due


@dataclass(frozen=True, kw_only=True)
class Copying:
    """What was found of copying.

    ratio      (n,), of each sample the distance to its nearest training example over that to the second nearest.
    distance   (n,), to the nearest.
    index      int64 (n,), which.
    tail       the exact test on ratios, data_copying the one on distances in cells; None where it has no cell.
    """

    ratio: Tensor
    distance: Tensor
    index: Tensor
    tail: Tail
    data_copying: DataCopying | None

    def closest(self, n: int = PAIRS) -> Tensor:
        """The samples most like a copy of a single example: int64, by their ratio."""
        return self.ratio.argsort(stable=True)[:n]


def copying(fake: Tensor, held: Tensor, train: Tensor, *, rng: Rng | int = 0, cells: int = CELLS) -> Copying:
    """Both tests on features (n, d), (m, d), (t, d); ValueError for fewer than 100 samples or held-out examples."""
    stream = Rng.of(rng)
    check(fake, train)
    check(held, train)
    if min(len(fake), len(held)) < SMALLEST:
        raise ValueError(
            f"a test of copying needs at least {SMALLEST} samples and held-out examples; got {len(fake)} and"
            f" {len(held)}: draw or hold out more"
        )
    ours, theirs = nearest_training(fake, train), nearest_training(held, train)
    tail = tail_test(ours.ratio, theirs.ratio, rng=stream("tail"))
    k = min(cells, len(train), len(fake) // LEAST, len(held) // LEAST)
    grouped = _cells(train, k, stream("cells"))
    try:
        c_t = data_copying(
            ours.distance, theirs.distance, nearest(fake, grouped)[1][:, 0], nearest(held, grouped)[1][:, 0]
        )
    except ValueError:
        c_t = None
    return Copying(ratio=ours.ratio, distance=ours.distance, index=ours.index, tail=tail, data_copying=c_t)


def findings_of_copying(found: Copying, m: int, *, origin: Origin = NOWHERE) -> list[Finding]:
    """The two tests' answers; m held-out examples were their null."""
    return [_of_tail(found, m, origin), _of_cells(found, m, origin)]


def duplicates(train: Tensor, *, origin: Origin = NOWHERE) -> Finding:
    """Examples of the training data that stand there twice, or nearly: what models learn by heart first.

    A near-duplicate's nearest other example is nearer than a tenth of the median such distance: a threshold by
    convention, without a null.
    """
    check(train, train)
    distance = nearest(train)[0][:, 0]
    n, median = len(train), float(distance.median())
    equal, near = int((distance == 0).sum()), int((distance < NEAR * median).sum())
    figures = (
        _share("equal to another training example", equal, n, origin, ""),
        _share("nearly equal to another training example", max(near, equal), n, origin,
               f"nearer than {NEAR:g} of the median distance to the nearest other, {median:.4g}"),
    )  # fmt: skip
    share = max(near, equal) / n
    word = "attention" if share >= DUPLICATED else "pass"
    why = (
        f"{max(near, equal):,} of {n:,} training examples have another at no, or hardly any, distance ({equal:,} equal)"
    )
    return Finding(name="duplicates in the training data", verdict=word, why=why, figures=figures)


def _of_tail(found: Copying, m: int, origin: Origin) -> Finding:
    tail, n = found.tail, len(found.ratio)
    figure = origin.figure(
        "samples among the nearest", tail.count / tail.smallest, "lower",
        intervals.of_share(tail.count, tail.smallest), n=n, n_real=m,
        note=f"of the {tail.smallest} smallest nearest-neighbour ratios of samples and held-out examples together;"
        f" {tail.expected / tail.smallest:.3g} is innocent; p = {tail.p:.2g}, exact over the tails looked at",
    )  # fmt: skip
    alarm = tail.p < ALARM
    why = (
        f"{tail.count} of the {tail.smallest} examples most like a single training example are samples;"
        f" {tail.expected:.3g} would be by chance (p = {tail.p:.2g})"
    )
    return Finding(
        name="copying, nearest neighbours",
        verdict="attention" if alarm else "pass",
        why=why,
        figures=(figure,),
        p=tail.p,
    )


def _of_cells(found: Copying, m: int, origin: Origin) -> Finding:
    c_t, name = found.data_copying, "copying, C_T"
    if c_t is None:
        return unmeasured(name, f"no cell of the training data holds {LEAST} samples and {LEAST} held-out examples")
    z = c_t.statistic / c_t.error
    figure = origin.figure(
        "data-copying C_T", c_t.statistic, "neither",
        intervals.normal(c_t.statistic, c_t.error, "of a mean of standard normal scores"), n=len(found.ratio), n_real=m,
        note=f"0 is innocent, below it too near; {c_t.cells} cells, standard score {z:.2f}, p = {c_t.p:.2g}",
    )  # fmt: skip
    alarm = c_t.p < ALARM
    side = "nearer to training examples than" if alarm else "no nearer to training examples than"
    return Finding(
        name=name,
        verdict="attention" if alarm else "pass",
        why=f"samples lie {side} held-out ones do: C_T = {c_t.statistic:.2f}, p = {c_t.p:.2g}",
        figures=(figure,),
        p=c_t.p,
    )


def _share(name: str, hits: int, n: int, origin: Origin, note: str) -> Figure:
    why = intervals.none("all of the training data was looked at")
    return origin.figure(name, hits / n, "lower", why, n=n, note=note)


def _cells(train: Tensor, k: int, rng: Rng) -> Tensor:
    """Centres of k cells of the training data (k-means)."""
    some = train[rng("some").permutation(len(train))[:5_000]].double()
    seed = int(rng("seed").integers(1 << 31, (1,)))
    fitted = KMeans(max(k, 1), n_init=1, random_state=seed).fit(some.numpy())  # pyright: ignore[reportArgumentType]
    return torch.from_numpy(fitted.cluster_centers_)
