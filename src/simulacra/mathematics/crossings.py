"""Two paired curves: where one lies below the other, and where they cross, with intervals over repetitions.

Both curves are measured at the same places in the same repetitions (same training examples, same test examples), so
what counts is the difference of each repetition, first less second. Between two places a curve is taken as straight.

The interval of a crossing is the inversion of a test: the places at which the mean difference is not told from nought.
At the true crossing a Student interval of the mean difference holds nought as often as it says, so the set of all such
places holds the crossing as often (Fieller 1954 inverts the same test for a ratio); nothing is assumed of the slope.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from scipy import stats as stats_  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

stats: Any = stats_  # its functions carry no types
BETWEEN = 64  # places looked at between two that were measured

Verdict = Literal["crosses", "crosses back", "several", "first", "second", "neither"]


@dataclass(frozen=True, kw_only=True)
class Band:
    """Means over repetitions and where they are believed to lie: mean, low, high, each float64 (places,)."""

    mean: Tensor
    low: Tensor
    high: Tensor

    @property
    def signs(self) -> list[int]:
        """At each place -1 or 1 where the interval leaves nought out, on that side; else 0."""
        signs = (self.low > 0).long() - (self.high < 0).long()
        return cast("list[int]", signs.tolist())  # pyright: ignore[reportUnknownMemberType]


def band(values: Float[Tensor, "repetitions places"], *, level: float = 0.95, looks: int = 1) -> Band:
    """Student's intervals of the means over repetitions; ValueError for fewer than two of them.

    looks  how many intervals are to hold together at the level (Bonferroni): each is made wider for it.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval over repetitions needs at least 2 of them; got {n}")
    d = values.double()
    reach = float(stats.t.ppf(1 - (1 - level) / (2 * looks), n - 1)) * d.std(0) / math.sqrt(n)
    mean = d.mean(0)
    return Band(mean=mean, low=mean - reach, high=mean + reach)


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """How two curves lie, lower being better.

    verdict   "crosses": the first is better at first, the second later; "crosses back": the other way round; "several":
              both; "first" or "second": that one alone is ever distinguishably better; "neither".
    place     where the mean difference is nought, for "crosses" and "crosses back"; None otherwise.
    interval  of the crossing.
    first, second  the measured places at which that one is distinguishably better.
    """

    verdict: Verdict
    first: tuple[float, ...]
    second: tuple[float, ...]
    place: float | None = None
    interval: tuple[float, float] | None = None


def crossing(
    places: Sequence[float],
    differences: Float[Tensor, "repetitions places"],
    *,
    level: float = 0.95,
    logarithmic: bool = False,
) -> Crossing:
    """How the first curve lies to the second; differences of what is better when low, first less second.

    That one is better somewhere is said where intervals at all places together hold at the level. The interval of the
    crossing holds at the level by itself, within the places that so frame it.

    logarithmic  curves are straight in the logarithm of the place, as learning curves are drawn.
    ValueError for places that do not rise, or of another number than the differences.
    """
    if len(places) != differences.shape[1] or any(a >= b for a, b in itertools.pairwise(places)):
        raise ValueError(f"a curve needs rising places, one a column; got {list(places)} for {differences.shape[1]}")
    signs = band(differences, level=level, looks=len(places)).signs
    first = tuple(p for p, s in zip(places, signs, strict=True) if s < 0)
    second = tuple(p for p, s in zip(places, signs, strict=True) if s > 0)
    told = [(i, s) for i, s in enumerate(signs) if s]
    turns = [(a, b) for a, b in itertools.pairwise(told) if a[1] != b[1]]
    if not turns:
        alone: Verdict = "neither" if not told else "first" if told[0][1] < 0 else "second"
        return Crossing(verdict=alone, first=first, second=second)
    if len(turns) > 1:
        return Crossing(verdict="several", first=first, second=second)
    ((start, sign), (end, _)) = turns[0]
    along = [math.log(p) for p in places] if logarithmic else [float(p) for p in places]
    place, low, high = _located(along[start : end + 1], differences[:, start : end + 1].double() * -sign, level)
    back = math.exp if logarithmic else float
    return Crossing(
        verdict="crosses" if sign < 0 else "crosses back",
        first=first,
        second=second,
        place=back(place),
        interval=(back(low), back(high)),
    )


def _located(along: Sequence[float], d: Tensor, level: float) -> tuple[float, float, float]:
    """Where the mean of d (repetitions, places), below nought at the first and above at the last, is nought; interval.

    The interval reaches from the last place that is surely before to the first one after it that is surely behind.
    """
    fine: list[Tensor] = []
    at: list[float] = []
    share = torch.arange(BETWEEN, dtype=torch.float64) / BETWEEN
    for i in range(len(along) - 1):
        fine.append(d[:, i : i + 1] * (1 - share) + d[:, i + 1 : i + 2] * share)
        at += [along[i] + (along[i + 1] - along[i]) * float(s) for s in share]
    between, at = torch.cat([*fine, d[:, -1:]], dim=1), [*at, along[-1]]
    found = band(between, level=level)
    signs = found.signs
    before = max((i for i, s in enumerate(signs) if s < 0), default=0)
    behind = next((i for i, s in enumerate(signs) if s > 0 and i > before), len(signs) - 1)
    # the mean may touch nought more than once between the two: the last time is taken
    below = max((i for i in range(before, behind) if float(found.mean[i]) < 0), default=before)
    a, b = float(found.mean[below]), float(found.mean[below + 1])
    part = a / (a - b) if a != b else 0.0
    return at[below] + (at[below + 1] - at[below]) * min(max(part, 0.0), 1.0), at[before], at[behind]


def reached(
    places: Sequence[float], means: Float[Tensor, " places"], target: float, *, logarithmic: bool = True
) -> float | None:
    """From which place on a curve that falls stays at or below a target, straight between places; None: it does not."""
    above = [i for i in range(len(places)) if float(means[i]) > target]
    if not above:
        return float(places[0])
    last = above[-1]
    if last == len(places) - 1:
        return None
    a, b = float(means[last]), float(means[last + 1])
    share = (a - target) / (a - b)
    if logarithmic:
        return math.exp(math.log(places[last]) * (1 - share) + math.log(places[last + 1]) * share)
    return places[last] * (1 - share) + places[last + 1] * share


def slope(x: Float[Tensor, " n"], y: Float[Tensor, " n"], *, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """Least squares slope of y on x with Student's interval; ValueError for fewer than three points."""
    if len(x) < 3:
        raise ValueError(f"a slope with an interval needs at least 3 points; got {len(x)}")
    a, b = x.double() - x.double().mean(), y.double() - y.double().mean()
    value = float((a * b).sum() / a.square().sum())
    rest = float((b - value * a).square().sum()) / (len(x) - 2)
    reach = float(stats.t.ppf(0.5 + level / 2, len(x) - 2)) * math.sqrt(rest / float(a.square().sum()))
    return value, (value - reach, value + reach)
