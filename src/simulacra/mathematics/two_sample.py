"""Two-sample statistics over feature arrays: kernel distance, precision and recall, density and coverage.

Rows are examples, columns features. ``real`` is the reference set, ``fake`` what is judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from simulacra.mathematics.neighbours import membership, nearest

CELLS = 1 << 21  # kernel values held at a time
Kernel = Callable[[Tensor, Tensor], Tensor]
Ties = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class KernelEstimate:
    """An unbiased squared maximum mean discrepancy and the jackknife's variance of it."""

    value: float
    variance: float


@dataclass(frozen=True, kw_only=True)
class Manifolds:
    """What each example says about the four neighbourhood statistics, whose values are means over it.

    precise   float64 (n_fake,), 1 where a fake lies in the ball of some real.
    dense     float64 (n_fake,), number of real balls it lies in, over k.
    recalled  float64 (n_real,), 1 where a real lies in the ball of some fake.
    covered   float64 (n_real,), 1 where the ball of a real holds some fake.
    """

    precise: Float[Tensor, " n_fake"]
    dense: Float[Tensor, " n_fake"]
    recalled: Float[Tensor, " n_real"]
    covered: Float[Tensor, " n_real"]


def cubic(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """The kernel (x.y / d + 1)^3 (Binkowski et al. 2018, section 4)."""
    return torch.addmm(torch.ones((), dtype=x.dtype, device=x.device), x, y.T, alpha=1 / x.shape[1]).pow_(3)


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """The kernel exp(-|x - y|^2 / (2 scale^2)), which tells any two distributions apart."""

    scale: float

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        squared = torch.addmm(y.square().sum(1), x, y.T, alpha=-2).add_(x.square().sum(1, keepdim=True))
        return squared.clamp_(min=0).mul_(-0.5 / self.scale**2).exp_()


def median_distance(x: Float[Tensor, "n d"], *, rows: int = 1000) -> float:
    """Median Euclidean distance between different rows, of the first ``rows``: a Gaussian kernel's usual scale.

    Gretton et al. 2012, section 8. ValueError where more than half of the pairs coincide.
    """
    found = float(torch.nn.functional.pdist(x[:rows].double()).median()) if len(x) > 1 else 0.0
    if not found > 0:
        raise ValueError(f"a scale needs rows that differ; the median distance of {len(x[:rows])} rows is {found}")
    return found


def closed(radius: Tensor) -> Tensor:
    """Balls that hold their edge: what lies at exactly the radius is inside (Kynkaanniemi et al. 2019, eq. 2)."""
    return radius


def opened(radius: Tensor) -> Tensor:
    """Balls without their edge (prdc, the code of Naeem et al. 2020): the closed ball of the next smaller radius."""
    return torch.nextafter(radius, torch.full_like(radius, -math.inf))


def kernel_distance(
    fake: Float[Tensor, "n d"], real: Float[Tensor, "m d"], *, kernel: Kernel = cubic
) -> KernelEstimate:
    """Unbiased squared MMD over all pairs (Gretton et al. 2012, eq. 3); with the cubic kernel, KID. May be negative.

    The variance is the jackknife's, whose leave-one-out values follow from the kernel's row sums: with n of one side,
    removing row i turns the mean over distinct pairs s / (n (n - 1)) into (s - 2 r_i) / ((n - 1) (n - 2)). It counts
    the second order, all that is left when the distributions are equal, twice (Efron & Stein 1981): once is taken
    off, as 2 / n^2 times the mean square of the doubly centred kernel. Needs three rows a side.
    """
    x, y = fake.double(), real.double()
    n, m = len(x), len(y)
    if min(n, m) < 3:
        raise ValueError(f"a kernel distance needs at least 3 rows a side; got {n} and {m}")
    xx, yy, xy = _sums(x, None, kernel), _sums(y, None, kernel), _sums(x, y, kernel)
    cross = xy.along.sum()
    value = xx.along.sum() / (n * (n - 1)) + yy.along.sum() / (m * (m - 1)) - 2 * cross / (n * m)
    jackknife = torch.zeros((), dtype=torch.float64, device=x.device)
    for size, within, across, others in ((n, xx.along, xy.along, m), (m, yy.along, xy.down, n)):
        without = (within.sum() - 2 * within) / ((size - 1) * (size - 2)) - 2 * (cross - across) / ((size - 1) * others)
        jackknife += (size - 1) / size * (without - without.mean()).square().sum()
    second = 2 * xx.centred_square(n * (n - 1)) / n**2 + 2 * yy.centred_square(m * (m - 1)) / m**2
    second += 4 * xy.centred_square(n * m) / (n * m)
    return KernelEstimate(value=float(value), variance=max(float(jackknife) - second, second))


def kernel_distances(
    fake: Float[Tensor, "n d"],
    real: Float[Tensor, "m d"],
    rows: Iterable[tuple[Tensor, Tensor]],
    *,
    kernel: Kernel = cubic,
) -> Float[Tensor, " subsets"]:
    """The unbiased squared MMD of each of several subsets, as KID is published: the mean over 100 of 1,000 rows a side.

    rows  which rows of fake and of real make up each subset, int64 (b,) and (c,).
    Over all pairs (``kernel_distance``) the same quantity is estimated with a smaller error.
    """
    found: list[Tensor] = []
    for a, b in rows:
        x, y = fake[a].double(), real[b].double()
        n, m = len(x), len(y)
        if min(n, m) < 2:
            raise ValueError(f"a subset needs at least 2 rows a side; got {n} and {m}")
        own = _distinct(x, kernel) / (n * (n - 1)) + _distinct(y, kernel) / (m * (m - 1))
        found.append(own - 2 * kernel(x, y).mean())
    if not found:
        raise ValueError("a kernel distance of subsets needs at least one subset; got none")
    return torch.stack(found)


def _distinct(x: Tensor, kernel: Kernel) -> Tensor:
    """Sum of a kernel over ordered pairs of different rows; blocks below the diagonal are those above it, turned."""
    whole = torch.zeros((), dtype=torch.float64, device=x.device)
    parts = x.tensor_split(min(8, len(x)))
    for i, part in enumerate(parts):
        square = kernel(part, part)
        whole += square.sum() - square.diagonal().sum()
        if i + 1 < len(parts):
            whole += 2 * kernel(part, torch.cat(parts[i + 1 :])).sum()
    return whole


def manifolds(fake: Float[Tensor, "n d"], real: Float[Tensor, "m d"], *, k: int = 5, ties: Ties = closed) -> Manifolds:
    """Precision and recall (Kynkaanniemi et al. 2019, eq. 1), density and coverage (Naeem et al. 2020, eqs. 3 and 5).

    Balls reach from each example to its k-th nearest neighbour within its own set.

    ties  whether they hold their edge: ``closed``, or ``opened`` as the authors of density and coverage have it. It
          matters where examples coincide or distances are few, as in black and white pixels.
    """
    if min(len(fake), len(real)) <= k:
        raise ValueError(f"neighbourhoods of k={k} need more than {k} rows a side; got {len(fake)} and {len(real)}")
    real_radius, fake_radius = (ties(nearest(side, k=k)[0][:, -1]) for side in (real, fake))
    found = membership(real, fake, real_radius, fake_radius)
    return Manifolds(
        precise=(found.x_covers > 0).double(),
        dense=found.x_covers.double() / k,
        recalled=found.y_reaches.double(),
        covered=found.x_reached.double(),
    )


def authentic(fake: Float[Tensor, "n d"], train: Float[Tensor, "m d"]) -> Bool[Tensor, " n"]:
    """Whether each sample lies further from its nearest training row than that row from its own nearest neighbour.

    Alaa et al. 2022, "How faithful is your synthetic data?", section 3.3: samples nearer than that look like copies.
    """
    distance, index = nearest(fake, train)
    apart = nearest(train)[0][:, 0]
    return distance[:, 0] > apart[index[:, 0]]


def class_score(probabilities: Float[Tensor, "n classes"]) -> float:
    """exp of the mutual information between example and class, 1 .. classes (Salimans et al. 2016, section 4).

    probabilities  p(class | example), rows summing to 1. One mean over all rows, not over ten parts.
    """
    return float(class_information(probabilities).mean().exp())


def class_information(probabilities: Float[Tensor, "n classes"]) -> Float[Tensor, " n"]:
    """KL(p(class | example) || p(class)) of each row, nats, p(class) being the mean of the rows."""
    p = probabilities.double()
    return (torch.xlogy(p, p) - torch.xlogy(p, p.mean(0))).sum(1)


def class_scores(probabilities: Float[Tensor, "n classes"], *, parts: int = 10) -> Float[Tensor, " parts"]:
    """The class score of each of so many equal parts, as published Inception scores are means over ten.

    The rows' order decides: shuffle them first (Barratt & Sharma 2018, section 4.1). ValueError for fewer rows than
    parts.
    """
    if not 1 <= parts <= len(probabilities):
        raise ValueError(f"parts lie in 1 .. {len(probabilities)}, the number of rows; got {parts}")
    each = probabilities.tensor_split(parts)
    return torch.tensor([class_score(part) for part in each], dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Sums of a kernel matrix over its columns, over its rows, and of its squares."""

    along: Tensor
    down: Tensor
    square: float

    def centred_square(self, pairs: int) -> float:
        """Mean over the pairs of the squared kernel less its row and column means, at least 0."""
        mean = float(self.along.sum()) / pairs
        rows, columns = self.along / (pairs / len(self.along)), self.down / (pairs / len(self.down))
        of_means = float((rows - mean).square().mean() + (columns - mean).square().mean())
        return max(0.0, self.square / pairs - mean**2 - of_means)


def _sums(x: Tensor, y: Tensor | None, kernel: Kernel) -> _Sums:
    """The sums over pairs of rows of x and y; over pairs of distinct rows of x where y is None."""
    others = x if y is None else y
    along: list[Tensor] = []
    down = torch.zeros(len(others), dtype=torch.float64, device=x.device)
    square = torch.zeros((), dtype=torch.float64, device=x.device)
    step = max(1, CELLS // len(others))
    for start in range(0, len(x), step):
        values = kernel(x[start : start + step], others)
        if y is None:
            values.diagonal(start).zero_()
        along.append(values.sum(1))
        down += values.sum(0)
        square += values.flatten().dot(values.flatten())
    return _Sums(along=torch.cat(along), down=down, square=float(square))
