"""Models behind a study's results, simulated with known truth and set beside other libraries: for ``bench.study``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from bench.harness import Row

REPEATS = 400
FRESH = 20_000  # the first seed of the studies: the rules were chosen on seeds from 0 and from 10,000 on
WANTED = (0.92, 0.98)
EDGES = {
    2: np.array([0.0]),
    5: np.array([-1.2, -0.4, 0.5, 1.4]),
}  # where a continuous opinion turns into the next value


def agreement() -> list[Row]:
    """How often alpha's interval holds the agreement of endless raters and things."""
    from simulacra.evaluation.study.agreement import alpha, alpha_interval, interval, nominal, ordinal

    # raters, things, answers a rater, values, deviation of things and of raters, how far values lean to one side
    cases = [
        (20, 40, 20, 2, 1.0, 0.5, 0.0, nominal), (20, 40, 20, 2, 0.0, 0.5, 0.8, nominal),
        (20, 100, 10, 2, 1.0, 0.5, 0.0, nominal), (20, 30, 20, 2, 1.0, 0.0, 0.0, nominal),
        (40, 60, 20, 2, 0.7, 0.7, 0.8, nominal), (20, 40, 20, 2, 3.0, 0.3, 0.0, nominal),
        (20, 40, 20, 5, 1.0, 0.5, 0.0, ordinal), (20, 60, 20, 5, 0.3, 0.7, 0.0, ordinal),
        (40, 40, 20, 5, 1.0, 0.5, 0.0, interval),
    ]  # fmt: skip
    rows = []
    for raters, things, each, k, of_things, of_raters, lean, distance in cases:
        truth = _true_alpha(k, of_things, of_raters, lean, distance)
        held, values = [], []
        for i in range(REPEATS):
            rng = np.random.default_rng(FRESH + i)
            seen = rng.random((raters, things)).argsort(1)[:, :each].ravel()
            who = np.repeat(np.arange(raters), each)
            opinion = rng.normal(0, of_things, things)[seen] + rng.normal(0, of_raters, raters)[who]
            opinion += rng.normal(0, 1, len(seen)) - lean
            given = 1.0 + (opinion[:, None] > EDGES[k]).sum(1)
            bounds = alpha_interval(seen, given, who, distance).bounds
            values.append(alpha(seen, given, distance))
            if bounds is not None:
                held.append(bounds[0] <= truth <= bounds[1])
        value = float(np.mean(held))
        rows.append(
            Row(
                what=f"coverage: alpha, {distance.__name__}, {k} values; {raters} raters, {each} of {things} things",
                unit="share", ours=value, target="0.92 .. 0.98", met=WANTED[0] <= value <= WANTED[1],
                note=f"deviation of things {of_things:g}, raters {of_raters:g}; truth {truth:.3f}, mean alpha"
                f" {np.mean(values):.3f}; {len(held)} studies with an interval",
            )
        )  # fmt: skip
        print(f"  {rows[-1].what}: {value:.3f}", flush=True)
    return rows


def _true_alpha(k: int, of_things: float, of_raters: float, lean: float, distance: Callable[..., np.ndarray]) -> float:
    """1 - D_o / D_e of endless raters and things: two raters on one thing, by quadrature over things, and on two."""
    from scipy import stats

    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    upto = stats.norm.cdf((EDGES[k][None] + lean - of_things * nodes[:, None]) / math.hypot(of_raters, 1.0))
    p = np.diff(np.c_[np.zeros(len(nodes)), upto, np.ones(len(nodes))], axis=1)
    mean = weights @ p
    apart = distance(np.arange(1.0, k + 1), mean)
    return float(1 - weights @ ((p @ apart) * p).sum(1) / (mean @ apart @ mean))


def mixed() -> list[Row]:
    """Intervals of the mixed model's log-odds, and what it finds on average."""
    from simulacra.evaluation.study.mixed import logistic_mixed

    rows = []
    # raters, stimuli of each of two systems, answers a rater to each, log-odds, deviation of raters and of stimuli
    for raters, items, each, low, of_raters, of_items in (
        (20, 40, 20, -0.4, 0.6, 0.6), (40, 60, 20, 0.0, 0.8, 0.3), (20, 40, 20, -1.5, 0.5, 1.0),
        (20, 60, 12, -0.4, 0.0, 0.5),
    ):  # fmt: skip
        truth = np.array([low, low + 0.7])
        held, found = [], []
        for i in range(REPEATS):
            rng = np.random.default_rng(FRESH + i)
            seen = np.concatenate([rng.permutation(items)[:each] + s * items for _ in range(raters) for s in (0, 1)])
            who, system = np.repeat(np.arange(raters), 2 * each), (seen >= items).astype(int)
            eta = truth[system] + rng.normal(0, of_raters, raters)[who] + rng.normal(0, of_items, 2 * items)[seen]
            y = (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype(float)
            fit = logistic_mixed(y, system, who, seen, 2)
            for s in (0, 1):
                bounds = fit.interval(s).bounds
                assert bounds
                held.append(bounds[0] <= truth[s] <= bounds[1])
            found.append([*(fit.values - truth), fit.sd_rater, fit.sd_item])
        value, means = float(np.mean(held)), np.mean(found, 0)
        error = np.std(found, 0)[:2].max() / math.sqrt(REPEATS)
        what = f"{raters} raters, {each} of {items} stimuli of each of two systems"
        rows += [
            Row(
                what=f"coverage: mixed model's log-odds; {what}", unit="share", ours=value, target="0.92 .. 0.98",
                met=WANTED[0] <= value <= WANTED[1], note=f"log-odds {low:g} and {low + 0.7:g}",
            ),
            Row(
                what=f"mixed model: mean error of its log-odds; {what}", unit="log-odds",
                ours=float(np.abs(means[:2]).max()), target="",
                note=f"standard error {error:.3f}; deviation of raters {of_raters:g}, found {means[2]:.3f};"
                f" of stimuli {of_items:g}, found {means[3]:.3f}",
            ),
        ]  # fmt: skip
        print(f"  {rows[-2].what}: {value:.3f}; {rows[-1].ours:.3f}; {rows[-1].note}", flush=True)
    return rows


def peers() -> list[Row]:
    """Largest difference from other libraries on five data sets each."""
    rows = []
    for what, differences in (
        ("strengths without ties, against choix", _choix()),
        ("strengths and errors clustered by rater, against statsmodels", _statsmodels()),
        ("Wilson's interval, against statsmodels", _wilson()),
        ("alpha (nominal, ordinal, interval), against krippendorff", _krippendorff()),
    ):
        off = float(max(differences))
        rows.append(Row(what=f"{what}: largest difference", unit="", ours=off, target="<= 1e-6", met=off <= 1e-6))
    return rows


def _compared(seed: int, k: int = 5, n: int = 500) -> tuple[np.ndarray, ...]:
    """n comparisons of k systems without ties, 30 raters."""
    from simulacra.evaluation.study.preferences import FIRST, SECOND

    rng, strength = np.random.default_rng(seed), np.linspace(-0.6, 0.6, k)
    first = rng.integers(0, k, n)
    second = (first + rng.integers(1, k, n)) % k
    wins = rng.random(n) < 1 / (1 + np.exp(strength[second] - strength[first]))
    return first, second, np.where(wins, FIRST, SECOND), rng.integers(0, 30, n)


def _choix() -> Iterator[float]:
    import choix

    from simulacra.evaluation.study.preferences import FIRST, davidson

    for seed in range(5):
        first, second, outcome, raters = _compared(seed)
        pairs = [(a, b) if o == FIRST else (b, a) for a, b, o in zip(first, second, outcome, strict=True)]
        expected = choix.opt_pairwise(5, pairs, alpha=0, method="Newton-CG", tol=1e-12)
        ours = davidson(first, second, outcome, raters, 5).values
        yield float(np.abs(ours - (expected - np.mean(expected))).max())


def _statsmodels() -> Iterator[float]:
    import statsmodels.api as sm

    from simulacra.evaluation.study.preferences import FIRST, davidson

    for seed in range(5):
        first, second, outcome, raters = _compared(seed)
        x, groups = np.eye(5)[first] - np.eye(5)[second], len(np.unique(raters))
        peer = sm.Logit((outcome == FIRST).astype(float), x[:, 1:]).fit(
            disp=0, method="newton", tol=1e-12, cov_type="cluster", cov_kwds={"groups": raters, "use_correction": False}
        )
        ours, contrast = davidson(first, second, outcome, raters, 5), np.c_[-np.ones(4), np.eye(4)]
        yield float(np.abs(ours.values[1:] - ours.values[0] - peer.params).max())
        expected = np.asarray(peer.cov_params()) * groups / (groups - 1)
        yield float(np.abs(contrast @ ours.covariance @ contrast.T / expected - 1).max())


def _wilson() -> Iterator[float]:
    from statsmodels.stats.proportion import proportion_confint

    from simulacra.evaluation.study.shares import wilson

    for hits, n in ((0, 10), (1, 7), (10, 100), (499, 1000), (40, 40)):
        yield float(np.abs(np.subtract(wilson(hits, n).bounds, proportion_confint(hits, n, method="wilson"))).max())


def _krippendorff() -> Iterator[float]:
    import krippendorff

    from simulacra.evaluation.study import agreement as ours

    for seed in range(5):
        rng = np.random.default_rng(seed)
        table = np.clip(np.rint(rng.normal(3, 1, 40) + rng.normal(0, 0.8, (7, 40))), 1, 5)
        table[rng.random(table.shape) < 0.4] = np.nan
        units, given = np.broadcast_to(np.arange(40), table.shape), ~np.isnan(table)
        for distance in (ours.nominal, ours.ordinal, ours.interval):
            found = ours.alpha(units[given], table[given], distance)
            assert found is not None
            yield abs(found - krippendorff.alpha(reliability_data=table, level_of_measurement=distance.__name__))
