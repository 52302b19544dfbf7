"""Figures beyond the usual ones: rarer, slower, or with an eye of their own. Each is a ``Statistic``.

A statistic looks at two sets of features and whatever else is known, and returns its figures, or none where it does not
apply. ``FURTHER`` (in ``every``) has them all; ``judge`` takes any choice of them, and anyone's own beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.statistics import NEIGHBOURS, Origin, check
from simulacra.mathematics import extrapolation
from simulacra.mathematics.diversity import vendi_score
from simulacra.mathematics.feature_likelihood import feature_likelihood
from simulacra.mathematics.frechet import frechet_distance
from simulacra.mathematics.frontiers import cell_shares, frontier_area
from simulacra.mathematics.sliced import sliced_wasserstein
from simulacra.mathematics.two_sample import (
    Gaussian,
    authentic,
    class_scores,
    kernel_distance,
    kernel_distances,
    manifolds,
    median_distance,
    opened,
)

ROWS = 4_000  # of each set, at most, where every training row meets every sample thirty times
DIRECTIONS = 256
A_CELL = 10  # rows of each set a cell (Pillutla et al. 2021, section 4)
LEAST_CELLED, CELLED = 20, 2_000  # rows of each set: for two cells at least, and at most for k-means to take seconds
A_FEATURE = 8  # rows of the smallest part an extrapolation rests on: of fewer, the next order in 1 / n shows
PARTS = 10  # of Inception scores as they are published
CLIP = "CLIP"  # how the name of the extractor begins that CMMD was defined for
INCEPTION = "Inception"  # how the name of the extractor begins that KID was defined for
SUBSETS, SUBSET = 100, 1000  # Binkowski et al. 2018, section 4: blocks of the estimate as it is published
CMMD_SCALE, CMMD_FACTOR = 10.0, 1000.0  # Jayasumana et al. 2024, section 4.2


@dataclass(frozen=True, kw_only=True)
class Sets:
    """What there is to compare: features, and what else is known of the examples behind them.

    fake, real, train     features (n, d), (m, d), (t, d): samples, held-out data, what was learned from (or None).
    fake_p, real_p        p(class | example) by the extractor, (n, classes), (m, classes), where it knows classes.
    fake_y, real_y        labels, int64 (n,), (m,): those the samples were asked for, and the data's own.
    classes               their names.
    """

    fake: Tensor
    real: Tensor
    train: Tensor | None = None
    fake_p: Tensor | None = None
    real_p: Tensor | None = None
    fake_y: Tensor | None = None
    real_y: Tensor | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for sets that cannot be compared, or labels that are not those of the examples."""
        check(self.fake, self.real)
        for side, x, others in (
            ("samples", self.fake, (self.fake_p, self.fake_y)),
            ("real data", self.real, (self.real_p, self.real_y)),
        ):
            for other in others:
                if other is not None and len(other) != len(x):
                    raise ValueError(f"the {side} are {len(x)} with {len(other)} labels; expected one label an example")
            y = others[1]
            if y is not None and self.classes and not (int(y.min()) >= 0 and int(y.max()) < len(self.classes)):
                raise ValueError(
                    f"labels of the {side} lie in {int(y.min())} .. {int(y.max())}; expected 0 .."
                    f" {len(self.classes) - 1}, the {len(self.classes)} classes"
                )


Statistic = Callable[[Sets, Origin], list[Figure]]


def extrapolated_frechet(sets: Sets, origin: Origin) -> list[Figure]:
    """The Frechet distance at samples without end, by a straight line in 1 / n (Chong & Forsyth 2020)."""
    n, m, d = len(sets.fake), len(sets.real), sets.fake.shape[1]
    smallest = max(extrapolation.SMALLEST, A_FEATURE * d / min(n, m))
    if smallest > 0.6:
        return []  # with few rows a feature the distance is no straight line in 1 / n
    rng = Rng(origin.seed or 0)("extrapolation")
    line = extrapolation.extrapolated(frechet_distance, sets.fake, sets.real, rng=rng, smallest=smallest)
    why = intervals.none("its points share examples; the distance without bias has one")
    note = f"points off the line by {line.residual:.2g}"
    return [
        origin.figure("Frechet distance, extrapolated", line.limit, "lower", why, n=n, n_real=m, note=note),
    ]


def kernel_of_subsets(sets: Sets, origin: Origin) -> list[Figure]:
    """The kernel distance as KID is published, of Inception's features only: all pairs err less."""
    n, m = len(sets.fake), len(sets.real)
    if min(n, m) < SUBSET or not (origin.extractor or "").startswith(INCEPTION):
        return []
    stream = Rng(origin.seed or 0)("subsets")
    rows = [
        (stream("fake", i).permutation(n)[:SUBSET], stream("real", i).permutation(m)[:SUBSET]) for i in range(SUBSETS)
    ]
    each = kernel_distances(sets.fake, sets.real, rows)
    why = intervals.none("subsets share examples; the kernel distance of all pairs has one")
    note = f"{SUBSETS} of {SUBSET:,} a side, deviation over them {float(each.std()):.2g}"
    name = f"kernel distance, mean of {SUBSETS} subsets"
    return [origin.figure(name, float(each.mean()), "lower", why, n=n, n_real=m, note=note)]


def gaussian_kernel(sets: Sets, origin: Origin) -> list[Figure]:
    """The kernel distance with a Gaussian as wide as real examples typically lie apart."""
    n, m = len(sets.fake), len(sets.real)
    if min(n, m) < 3:
        return []
    try:
        scale = median_distance(sets.real)
    except ValueError:
        return []  # most real examples coincide in these features: there is no scale
    found = kernel_distance(sets.fake, sets.real, kernel=Gaussian(scale=scale))
    interval = intervals.of_gaussian()
    note = f"scale {scale:.4g}, the median distance of real examples"
    return [origin.figure("Gaussian kernel distance", found.value, "lower", interval, n=n, n_real=m, note=note)]


def cmmd(sets: Sets, origin: Origin) -> list[Figure]:
    """CMMD, of CLIP's features only: a thousand times the kernel distance of unit rows with a Gaussian of scale 10."""
    n, m = len(sets.fake), len(sets.real)
    if min(n, m) < 3 or not (origin.extractor or "").startswith(CLIP):
        return []
    unit = [F.normalize(x.double(), dim=1) for x in (sets.fake, sets.real)]
    found = kernel_distance(*unit, kernel=Gaussian(scale=CMMD_SCALE))
    return [origin.figure("CMMD", CMMD_FACTOR * found.value, "lower", intervals.of_gaussian(), n=n, n_real=m)]


def open_neighbourhoods(sets: Sets, origin: Origin) -> list[Figure]:
    """Precision, recall, density and coverage with balls that leave out their edge, as the authors' code has them."""
    n, m, k = len(sets.fake), len(sets.real), NEIGHBOURS
    if min(n, m) <= k:
        return []
    found = manifolds(sets.fake, sets.real, k=k, ties=opened)
    why = intervals.none("see those of closed balls, which these equal where no distances tie")
    each = {"precision": found.precise, "recall": found.recalled, "density": found.dense, "coverage": found.covered}
    return [
        origin.figure(f"{name} (k={k}, open balls)", float(t.mean()), "higher", why, n=n, n_real=m)
        for name, t in each.items()
    ]


def vendi(sets: Sets, origin: Origin) -> list[Figure]:
    """The effective number of different samples by the cosines of their features, beside that of real data."""
    rows = min(len(sets.fake), len(sets.real))
    fake, real = sets.fake[:rows], sets.real[:rows]
    if not (fake.norm(dim=1).all() and real.norm(dim=1).all()):
        return []  # a row of noughts points nowhere
    note = f"as many real examples: {vendi_score(real):.4g}"
    why = intervals.none("it grows with the number of samples")
    return [origin.figure("Vendi score", vendi_score(fake), "higher", why, n=rows, note=note)]


def sliced(sets: Sets, origin: Origin) -> list[Figure]:
    """The sliced Wasserstein distance of order two."""
    rng = Rng(origin.seed or 0)("directions")
    value, error = sliced_wasserstein(sets.fake, sets.real, rng=rng, k=DIRECTIONS)
    why = intervals.none("biased upwards at small numbers, by an amount that is not known")
    note = f"{DIRECTIONS} directions, whose choice leaves an error of {error:.1g}"
    return [
        origin.figure(
            "sliced Wasserstein distance", value, "lower", why, n=len(sets.fake), n_real=len(sets.real), note=note
        )
    ]


def frontier(sets: Sets, origin: Origin) -> list[Figure]:
    """The area under the divergence frontier of cells of both sets: MAUVE's arithmetic, with these features."""
    rows = min(len(sets.fake), len(sets.real), CELLED)
    if rows < LEAST_CELLED:
        return []
    rng = Rng(origin.seed or 0)("cells")
    k = round(rows / A_CELL)
    shares = cell_shares(sets.fake[:rows], sets.real[:rows], k=k, rng=rng)
    why = intervals.none("it grows with the rows in a cell, and so falls short of the truth")
    note = f"{k} cells; compares only at equal numbers; called MAUVE with GPT-2's features"
    return [
        origin.figure("divergence frontier area", frontier_area(*shares), "higher", why, n=rows, n_real=rows, note=note)
    ]


def likelihood_of_features(sets: Sets, origin: Origin) -> list[Figure]:
    """Feature likelihood divergence: fidelity, variety and novelty in one number, large for memorised samples."""
    if sets.train is None or len(sets.train) < 4 or len(sets.real) < 2:
        return []
    fake, real, train = (x[:ROWS] for x in (sets.fake, sets.real, sets.train))
    each = feature_likelihood(fake, train, real)
    inner = intervals.of_mean(each)
    if inner.bounds is not None:
        inner = replace(inner, method=f"{inner.method} over held-out data, of these samples")
    note = f"widths fitted to {len(train):,} training examples"
    name = "feature likelihood divergence"
    return [origin.figure(name, float(each.mean()), "lower", inner, n=len(fake), n_real=len(real), note=note)]


def authenticity(sets: Sets, origin: Origin) -> list[Figure]:
    """Share of samples that are no nearer to a training example than training examples are to one another."""
    if sets.train is None or len(sets.train) < 2:
        return []
    found, unseen = authentic(sets.fake, sets.train), authentic(sets.real, sets.train)
    n = len(found)
    interval = intervals.of_share(int(found.sum()), n)
    interval = replace(interval, method=f"{interval.method}, given the training set")
    note = f"held-out real data: {float(unseen.double().mean()):.3f}"
    return [origin.figure("authenticity", float(found.double().mean()), "neither", interval, n=n, note=note)]


def score_of_parts(sets: Sets, origin: Origin) -> list[Figure]:
    """The class score as Inception scores are published: the mean over ten parts of the shuffled samples."""
    if sets.fake_p is None or len(sets.fake_p) < 10 * PARTS:
        return []
    order = Rng(origin.seed or 0)("parts").permutation(len(sets.fake_p))
    each = class_scores(sets.fake_p[order], parts=PARTS)
    why = intervals.none("the deviation over parts tells of parts, not of the whole")
    note = f"deviation over the parts {float(each.std()):.2g}"
    n = len(sets.fake_p)
    return [origin.figure(f"class score, mean of {PARTS} parts", float(each.mean()), "higher", why, n=n, note=note)]
