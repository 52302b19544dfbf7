"""Whether the differences between several candidates are more than chance: every pair and figure, corrected for many.

Where both scored the same held-out examples (likelihoods), their differences are paired and bootstrapped. Elsewhere a
figure's interval gives its standard error; figures of two candidates share their real examples, which makes them alike
rather than different, so the test is on the safe side. Holm's correction counts all tests made.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import stats
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.mathematics.significance import holm, paired_bootstrap

# intervals that lie about their value by the normal distribution or Student's t
SYMMETRIC = ("second-order expansion", "jackknife", "halving", "delta method")


@dataclass(frozen=True, kw_only=True)
class Distinction:
    """One figure of two candidates.

    figure, extractor, unit  what was compared; a, b: who; direction as in ``Figure``.
    difference  of a's figure less b's; interval: where it lies at 95 %.
    p, adjusted  of no difference, two-sided; the second by Holm over all tests of the page.
    kinds       of a's and b's figure: a bound never loses to an exact value.
    method      "paired bootstrap, n = 500" or "from the intervals".
    """

    figure: str
    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    p: float
    method: str
    direction: str
    unit: str = ""
    extractor: str = ""
    kinds: tuple[str, str] = ("estimate", "estimate")
    adjusted: float = 1.0

    @property
    def better(self) -> str:
        """Who is better beyond chance at 5 % over all tests; "" where nobody is."""
        if self.adjusted >= 0.05 or self.direction == "neither":
            return ""
        first = (self.difference < 0) == (self.direction == "lower")
        winner, loser = self.kinds if first else self.kinds[::-1]
        if loser == "bound" and winner != "bound":
            return ""
        return self.a if first else self.b


def differences(
    figures: Mapping[str, Sequence[Figure]],
    paired: Mapping[str, Mapping[str, Tensor]] | None = None,
    *,
    rng: Rng | int = 0,
) -> list[Distinction]:
    """Every comparison that can be made, with Holm's correction.

    figures  candidate -> its figures; only those that may stand in one column are compared.
    paired   figure's name -> candidate -> its value on each of the same held-out examples, whose mean the figure is.
    ValueError for paired values of different numbers of examples.
    """
    stream, found = Rng.of(rng), list[Distinction]()
    for name, each in (paired or {}).items():
        like = next((f for fs in figures.values() for f in fs if f.name == name), None)
        for a, b in itertools.combinations(each, 2):
            if len(each[a]) != len(each[b]):
                raise ValueError(
                    f"{name}: {a} was scored on {len(each[a])} examples and {b} on {len(each[b])}; pairs need the same"
                )
            test = _paired(name, a, b, each[a] - each[b], like, stream(name, a, b))
            kinds = [next((f.kind for f in figures.get(who, ()) if f.name == name), "estimate") for who in (a, b)]
            found.append(replace(test, kinds=(kinds[0], kinds[1])))
    for a, b in itertools.combinations(figures, 2):
        for one in figures[a]:
            if one.name in (paired or {}):
                continue
            other = next((f for f in figures[b] if f.compared_in == one.compared_in), None)
            if other is not None and (test := _apart(one, other, a, b)) is not None:
                found.append(test)
    adjusted = holm([t.p for t in found])
    return [replace(t, adjusted=p) for t, p in zip(found, adjusted, strict=True)]


def _paired(name: str, a: str, b: str, difference: Tensor, like: Figure | None, rng: Rng) -> Distinction:
    found = paired_bootstrap(difference, rng=rng)
    return Distinction(
        figure=name,
        a=a,
        b=b,
        difference=found.value,
        interval=found.interval,
        p=found.p,
        method=f"paired bootstrap, n = {len(difference):,}",
        direction="lower" if like is None else like.direction,
        unit="" if like is None else like.unit,
    )


def _apart(one: Figure, other: Figure, a: str, b: str) -> Distinction | None:
    """Two figures by their intervals; None where these do not tell standard errors, or better has no direction."""
    if one.direction == "neither" or one.interval is None or other.interval is None:
        return None
    if not (one.interval_method.startswith(SYMMETRIC) and other.interval_method.startswith(SYMMETRIC)):
        return None
    z = float(stats.norm.ppf(0.5 + one.level / 2))
    # an interval cut off at the end of a range tells its error by the other half
    errors = [max(f.interval[1] - f.value, f.value - f.interval[0]) / z for f in (one, other) if f.interval]
    error = float(errors[0] ** 2 + errors[1] ** 2) ** 0.5
    difference = one.value - other.value
    p = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    return Distinction(
        figure=one.name,
        a=a,
        b=b,
        difference=difference,
        interval=(difference - z * error, difference + z * error),
        p=p,
        method="from the intervals",
        direction=one.direction,
        unit=one.unit,
        extractor=one.extractor or "",
    )
