"""Two-sample statistics as figures: what is judged (fake) against held-out data (real), on feature arrays.

Every figure carries its numbers of examples, the seed and extractor it depends on, and an interval or the reason why
there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.intervals import Interval
from simulacra.mathematics.frechet import frechet_distance
from simulacra.mathematics.two_sample import class_information, kernel_distance, manifolds

NEIGHBOURS = 5  # k of Naeem et al. 2020


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What features depend on besides model and data: extractor, its hash, seed of the samples, their precision."""

    extractor: str | None = None
    extractor_hash: str | None = None
    seed: int | None = None
    dtype: str | None = None

    def figure(
        self,
        name: str,
        value: float,
        direction: Literal["lower", "higher", "neither"],
        interval: Interval,
        *,
        n: int,
        n_real: int | None = None,
        note: str = "",
    ) -> Figure:
        """An estimate that rests on features of this origin."""
        return Figure(
            name=name,
            value=value,
            direction=direction,
            n=n,
            n_real=n_real,
            interval=interval.bounds,
            interval_method=interval.method,
            level=intervals.LEVEL,
            seed=self.seed,
            extractor=self.extractor,
            extractor_hash=self.extractor_hash,
            note=note,
            dtype=self.dtype,
        )


NOWHERE = Origin()


def figures_of_features(
    fake: Tensor, real: Tensor, *, origin: Origin = NOWHERE, probabilities: Tensor | None = None
) -> list[Figure]:
    """Every statistic that applies to two feature arrays (n, d) and (m, d).

    probabilities  p(class | fake), (n, classes), for the class score; None where nothing classifies.
    ValueError for arrays that are not tables of equally many finite features with at least two rows.
    """
    check(fake, real)
    least = min(len(fake), len(real))
    figures = frechet(fake, real, origin=origin)
    figures += [kernel(fake, real, origin=origin)] if least > 2 else []
    figures += neighbourhoods(fake, real, origin=origin) if least > NEIGHBOURS else []
    figures += [score(probabilities, origin=origin)] if probabilities is not None else []
    return figures


def check(fake: Tensor, real: Tensor) -> None:
    """ValueError, in one line, for feature arrays that cannot be compared."""
    for side, x in (("samples", fake), ("real data", real)):
        if x.ndim != 2:
            raise ValueError(f"features are an array (examples, features); the {side} have shape {tuple(x.shape)}")
        if len(x) < 2:
            raise ValueError(f"a set of features needs at least 2 examples; the {side} have {len(x)}")
        bad = int((~torch.isfinite(x)).any(1).sum())
        if bad:
            raise ValueError(
                f"features must be finite; {bad} of {len(x)} rows of the {side} hold NaN or infinity: look for a"
                " diverged model or damaged data"
            )
    if fake.shape[1] != real.shape[1]:
        raise ValueError(
            f"both sets need the same features; the samples have {fake.shape[1]}, the real data {real.shape[1]}:"
            " use one extractor for both"
        )


def frechet(fake: Tensor, real: Tensor, *, origin: Origin = NOWHERE) -> list[Figure]:
    """The Frechet distance of two feature arrays as it is usually reported, and that of the distributions behind them.

    The first is biased upwards by an amount that depends on n: it compares models only at equal n. The second is
    freed of that (Chong & Forsyth 2020 do it by extrapolation) and has an interval; it is left out where the numbers
    of rows do not carry it.
    """
    check(fake, real)
    n, m, d = len(fake), len(real), fake.shape[1]
    reason = intervals.frechet_reason(fake, real)
    if reason is not None:
        note = f"fewer examples ({min(n, m)}) than features ({d}): mostly bias" if min(n, m) <= d else ""
        value, why = frechet_distance(fake, real), intervals.none(reason)
        return [origin.figure("Frechet distance", value, "lower", why, n=n, n_real=m, note=note)]
    found, interval = intervals.of_frechet(fake, real)
    why = intervals.none(f"biased by about {found.value - found.limit:+.2g} at this n, see the distance without bias")
    return [
        origin.figure("Frechet distance", found.value, "lower", why, n=n, n_real=m),
        origin.figure("Frechet distance without bias", max(0.0, found.limit), "lower", interval, n=n, n_real=m),
    ]


def kernel(fake: Tensor, real: Tensor, *, origin: Origin = NOWHERE) -> Figure:
    """The kernel distance, as KID but over all pairs: unbiased; may fall below nought where the sets agree."""
    check(fake, real)
    found = kernel_distance(fake, real)
    reason = intervals.kernel_reason(len(fake), len(real), fake.shape[1])
    interval = intervals.of_kernel(found) if reason is None else intervals.none(reason)
    return origin.figure("kernel distance", found.value, "lower", interval, n=len(fake), n_real=len(real))


def neighbourhoods(fake: Tensor, real: Tensor, *, k: int = NEIGHBOURS, origin: Origin = NOWHERE) -> list[Figure]:
    """Precision, recall, density and coverage at k neighbours; what they tend to depends on both numbers of rows."""
    check(fake, real)
    n, m = len(fake), len(real)
    note = "" if n == m else f"{n} samples against {m} real: comparable only at the same numbers"
    found = neighbourhood_intervals(fake, real, k=k, seed=origin.seed or 0)
    return [
        origin.figure(f"{name} (k={k})", value, "higher", interval, n=n, n_real=m, note=note)
        for name, (value, interval, _) in zip(("precision", "recall", "density", "coverage"), found, strict=True)
    ]


def neighbourhood_intervals(
    fake: Tensor, real: Tensor, *, k: int, seed: int, always: bool = False
) -> list[tuple[float, Interval, str | None]]:
    """Value, interval and the reason against it, of precision, recall, density and coverage.

    always  takes the interval even where there is a reason against it: for the simulation that finds the reasons.
    """

    def statistic(a: Tensor, b: Tensor) -> Tensor:
        found = manifolds(a, b, k=k)
        return torch.stack([t.mean() for t in (found.precise, found.recalled, found.dense, found.covered)])

    values = statistic(fake, real).tolist()
    n, m = len(fake), len(real)
    reasons = [intervals.share_reason(v, n, m, k) for v in values]
    reasons[2] = intervals.DENSITY_REASON
    errors = values
    if always or None in reasons:  # twenty halves cost five times the statistic itself
        errors = intervals.halving_error(statistic, fake, real, Rng(seed)("halves")).tolist()
    return [
        (v, intervals.none(r) if r and not always else intervals.of_neighbourhood(v, e), r)
        for v, r, e in zip(values, reasons, errors, strict=True)
    ]


def score(probabilities: Tensor, *, origin: Origin = NOWHERE) -> Figure:
    """The class score of samples (the Inception score, with the extractor's own classes): 1 .. classes.

    Its value is the plain one, as everybody reports it, which falls short by chance at small n; its interval is
    about the score of samples without end.
    """
    check(probabilities, probabilities)
    information = class_information(probabilities)
    # p(class) is a mean over the same rows. The information is stationary in it, so to first order that adds nothing
    # to the spread; to second order it takes off KL(mean || truth), about sum_c var_c / (2 n mean_c)
    mean = probabilities.double().mean(0)
    present = mean > 0
    short = float((probabilities.double().var(0)[present] / mean[present]).sum()) / (2 * len(probabilities))
    inner = intervals.of_mean(information + short, least=100)
    if inner.bounds is not None:
        low, high = torch.tensor(inner.bounds).exp().tolist()
        inner = Interval(bounds=(low, high), method=f"{inner.method}, of its logarithm")
    return origin.figure("class score", float(information.mean().exp()), "higher", inner, n=len(probabilities))
