"""The same simulation for the further figures: Gaussian kernel distances, diversity, authenticity, feature likelihood,
gains, path lengths.

``python -m bench coverage_further`` runs them; ``python -m bench.coverage_further 40`` with so few repetitions.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.coverage import Case
    from bench.harness import Row

Found = tuple[float, tuple[float, float], bool]


def gaussian_cases(sizes: list[tuple[int, int, int]]) -> Iterator[Case]:
    """The Gaussian kernel's distance at the real data's median, which is unbiased, for (n, m, d)."""
    from bench.coverage import Case, worlds
    from simulacra.evaluation import intervals
    from simulacra.mathematics.two_sample import Gaussian, kernel_distance, median_distance

    for n, m, d in sizes:
        for w in worlds(d):

            def repeat(i: int, w: Any = w, n: int = n, m: int = m) -> Found:
                fake, real = w.draw("fake", n, i), w.draw("real", m, i)
                found = kernel_distance(fake, real, kernel=Gaussian(scale=median_distance(real)))
                bounds = intervals.of_kernel(found).bounds
                assert bounds
                return found.value, bounds, False  # never printed: see ``intervals.of_gaussian``

            yield Case(what=f"Gaussian kernel distance; {w.name}; n={n}, m={m}, d={d}", repeat=repeat)


def diversity_cases(sizes: list[tuple[int, int, int]]) -> Iterator[Case]:
    """The ratio of mean distances, for (n, m, d)."""
    from bench.coverage import Case, worlds
    from simulacra.evaluation import intervals
    from simulacra.mathematics.diversity import pair_spread

    for n, m, d in sizes:
        for w in worlds(d):

            def repeat(i: int, w: Any = w, n: int = n, m: int = m) -> Found:
                a, b = pair_spread(w.draw("fake", n, i)), pair_spread(w.draw("real", m, i))
                ratio = a.value / b.value
                error = ratio * math.hypot(a.error / a.value, b.error / b.value)
                bounds = intervals.normal(ratio, error, "delta method").bounds
                assert bounds
                return ratio, bounds, intervals.spread_reason(n, m) is None

            yield Case(what=f"diversity; {w.name}; n={n}, m={m}, d={d}", repeat=repeat)


def given_cases(sizes: list[tuple[int, int]]) -> Iterator[Case]:
    """Figures whose intervals are of these samples or this training set: those stand still, the rest is drawn anew."""
    from bench.coverage import Case, worlds
    from simulacra.evaluation.further import Sets, authenticity, likelihood_of_features
    from simulacra.evaluation.statistics import NOWHERE

    for n, d in sizes:
        for w in worlds(d):
            train, fixed, still = w.draw("real", 400, 0), w.draw("fake", n, 0), w.draw("real", n, 0)

            def authentic(i: int, w: Any = w, n: int = n, train: Any = train, still: Any = still) -> Found:
                (found,) = authenticity(Sets(fake=w.draw("fake", n, i), real=still, train=train), NOWHERE)
                assert found.interval
                return found.value, found.interval, True

            def likely(i: int, w: Any = w, n: int = n, train: Any = train, fixed: Any = fixed) -> Found:
                (found,) = likelihood_of_features(Sets(fake=fixed, real=w.draw("real", n, i), train=train), NOWHERE)
                return found.value, found.interval or (math.nan, math.nan), found.interval is not None

            yield Case(what=f"authenticity; {w.name}; n={n}, d={d}", repeat=authentic)
            yield Case(what=f"feature likelihood divergence; {w.name}; m={n}, d={d}", repeat=likely)


def gain_cases(sizes: list[int]) -> Iterator[Case]:
    """Mean differences of two classifiers' hits on the same examples, which mostly agree, by the paired bootstrap."""
    import torch

    from bench.coverage import Case
    from simulacra.core.randomness import Rng
    from simulacra.mathematics.significance import paired_bootstrap

    for n in sizes:
        for gained, lost in ((0.1, 0.1), (0.08, 0.03), (0.3, 0.1)):

            def repeat(i: int, n: int = n, gained: float = gained, lost: float = lost) -> Found:
                u = Rng(i, ("hits",)).uniform((n,), dtype=torch.float64)
                found = paired_bootstrap((u < gained).double() - (u > 1 - lost).double(), rng=Rng(i), repeats=1000)
                return found.value, found.interval, True

            what = f"gain; {gained:.0%} gained, {lost:.0%} lost; n={n}"
            yield Case(what=what, repeat=repeat, truth=gained - lost)


def path_cases(sizes: list[int]) -> Iterator[Case]:
    """Path lengths through a linear decoder with spreads of a decade: 2 |A|^2 on straight ways."""
    import torch

    from bench.coverage import Case
    from simulacra.core.randomness import Rng
    from simulacra.evaluation import intervals

    spread = torch.logspace(-0.5, 0.5, 8, dtype=torch.float64)
    for n in sizes:

        def repeat(i: int, n: int = n) -> Found:
            step = Rng(i, ("a",)).normal((n, 8), dtype=torch.float64) - Rng(i, ("b",)).normal(
                (n, 8), dtype=torch.float64
            )
            each = (step * spread).square().sum(1)
            bounds = intervals.of_mean(each).bounds
            assert bounds
            return float(each.mean()), bounds, n >= 500

        yield Case(what=f"path length; linear decoder; n={n}", repeat=repeat, truth=2 * float(spread.square().sum()))


def cases() -> Iterator[Case]:
    """All of them."""
    yield from gaussian_cases([(200, 200, 8), (500, 500, 8), (500, 500, 32), (1000, 1000, 32)])
    yield from diversity_cases([(200, 200, 8), (500, 500, 32)])
    yield from given_cases([(200, 8)])
    yield from gain_cases([100, 500])
    yield from path_cases([200, 500])


def run(repetitions: int | None = None) -> list[Row]:
    """A row a case, as ``coverage.run``."""
    from bench import coverage

    return coverage.run(repetitions or coverage.REPETITIONS, cases())


if __name__ == "__main__":
    from bench.harness import save, show

    rows = run(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    show("coverage_further", rows)
    print(save("coverage_further", rows))
