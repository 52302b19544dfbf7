"""The statistics of studies against other libraries on the same data, closed forms, and raters of known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from simulacra.core.randomness import Rng
from simulacra.evaluation.study import agreement, planning, shares
from simulacra.evaluation.study.mixed import logistic_mixed
from simulacra.evaluation.study.preferences import FIRST, SECOND, TIE, davidson
from simulacra.evaluation.study.psychometric import fit, threshold_interval

# Krippendorff 2011, section C: four observers, twelve units, gaps where an observer did not judge
TABLE = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, np.nan, np.nan, np.nan],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, np.nan, 3],
    [np.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, np.nan],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, np.nan],
])  # fmt: skip
MEASURES = {"nominal": agreement.nominal, "ordinal": agreement.ordinal, "interval": agreement.interval}


def judged(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    given = ~np.isnan(table)
    return np.broadcast_to(np.arange(table.shape[1]), table.shape)[given], table[given]


@pytest.mark.parametrize(("name", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_krippendorffs_own_example(name, expected):
    assert agreement.alpha(*judged(TABLE), MEASURES[name]) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("seed", [0, 1])
def test_alpha_agrees_with_the_krippendorff_library(name, seed):
    peer = pytest.importorskip("krippendorff")
    rng = np.random.default_rng(seed)
    table = np.clip(np.rint(rng.normal(3, 1, 40) + rng.normal(0, 0.8, (7, 40))), 1, 5)
    table[rng.random(table.shape) < 0.4] = np.nan
    expected = peer.alpha(reliability_data=table, level_of_measurement=name)
    assert agreement.alpha(*judged(table), MEASURES[name]) == pytest.approx(expected, abs=1e-6)


def test_alpha_is_one_for_agreement_and_none_where_it_has_no_meaning():
    units, values = np.array([0, 0, 1, 1]), np.array([1.0, 1, 2, 2])
    assert agreement.alpha(units, values, agreement.nominal) == 1
    assert agreement.alpha(units, np.ones(4), agreement.nominal) is None
    assert agreement.alpha(np.arange(4), values, agreement.nominal) is None


def opinions(rng: np.random.Generator, raters: int, things: int, each: int, sd: float) -> tuple[np.ndarray, ...]:
    """Yes or no of ``each`` things a rater: things differ by sd on a normal scale, raters by 0.5, with unit noise."""
    seen = rng.random((raters, things)).argsort(1)[:, :each].ravel()
    who = np.repeat(np.arange(raters), each)
    scale = rng.normal(0, sd, things)[seen] + rng.normal(0, 0.5, raters)[who] + rng.normal(0, 1, len(seen))
    return seen, (scale > 0).astype(float), who


@pytest.mark.parametrize("sd", [0.0, 1.0])
def test_alphas_interval_holds_the_truth(sd):
    """Two yes or no of one thing agree with 1/2 + asin(rho) / pi, rho their correlation; two of different ones half."""
    truth = 2 / math.pi * math.asin(sd**2 / (sd**2 + 1.25))
    held = 0
    for seed in range(60):
        units, values, who = opinions(np.random.default_rng(seed), 20, 40, 20, sd)
        bounds = agreement.alpha_interval(units, values, who, agreement.nominal).bounds
        assert bounds is not None
        held += bounds[0] <= truth <= bounds[1]
    # 95 % of 60 is 57, three deviations are 5; with an answer's own chance in it twice, all may hold
    assert held >= 52


def test_leaving_out_raters_and_things_is_the_jackknife():
    """The bias and variance behind the interval, by leaving answers out of the list itself."""
    units, values, who = opinions(np.random.default_rng(3), 20, 30, 15, 1.0)
    whole = agreement.alpha(units, values, agreement.nominal)
    assert whole is not None
    centre, spread = whole, []
    for group in (who, units):
        without = np.array([agreement.alpha(units[group != g], values[group != g], agreement.nominal)
                            for g in np.unique(group)])  # fmt: skip
        n = len(without)
        centre -= (n - 1) * (without.mean() - whole)
        spread.append((n - 1) / n * ((without - without.mean()) ** 2).sum())
    bounds = agreement.alpha_interval(units, values, who, agreement.nominal).bounds
    assert bounds is not None
    assert sum(bounds) / 2 == pytest.approx(centre, abs=1e-12)
    # degrees of freedom lie between those of the raters and of both together
    most, least = (((bounds[1] - bounds[0]) / 2 / stats.t.ppf(0.975, f)) ** 2 for f in (48, 19))
    assert spread[1] < most
    assert least < sum(spread)


def test_alpha_of_few_raters_things_or_values_has_no_interval():
    units, values, who = opinions(np.random.default_rng(0), 19, 40, 20, 1.0)
    assert "19 raters" in agreement.alpha_interval(units, values, who, agreement.nominal).method
    units, values, who = opinions(np.random.default_rng(0), 20, 29, 20, 1.0)
    assert "29 things" in agreement.alpha_interval(units, values, who, agreement.nominal).method
    units, values, who = opinions(np.random.default_rng(0), 20, 40, 20, 1.0)
    one = np.zeros(len(values))
    one[0] = 1.0  # the only other answer: without that rater nothing is left to agree on
    for same in (one, np.ones(len(values))):
        assert agreement.alpha_interval(units, same, who, agreement.nominal).bounds is None


def comparisons(k: int, n: int, *, ties: float, seed: int = 0, raters: int = 30) -> tuple[np.ndarray, ...]:
    """Comparisons by Davidson's model with known strengths, ties being nu."""
    rng = np.random.default_rng(seed)
    strength = np.exp(np.linspace(-0.6, 0.6, k))
    first = rng.integers(0, k, n)
    second = (first + rng.integers(1, k, n)) % k
    a, b = strength[first], strength[second]
    p = np.stack([a, ties * np.sqrt(a * b), b], 1)
    outcome = (rng.random(n)[:, None] > np.cumsum(p / p.sum(1, keepdims=True), 1)).sum(1)
    return first, second, outcome, rng.integers(0, raters, n)


def test_strengths_without_ties_agree_with_choix():
    choix = pytest.importorskip("choix")
    first, second, outcome, raters = comparisons(5, 400, ties=0.0)
    found = davidson(first, second, outcome, raters, 5)
    pairs = [(a, b) if o == FIRST else (b, a) for a, b, o in zip(first, second, outcome, strict=True)]
    expected = choix.opt_pairwise(5, pairs, alpha=0, method="Newton-CG", tol=1e-12)
    assert found.tie is None
    np.testing.assert_allclose(found.values, expected - np.mean(expected), atol=1e-6)


def test_strengths_and_their_sandwich_agree_with_statsmodels():
    """Without ties it is a logit in differences of indicators; statsmodels clusters it by rater."""
    sm = pytest.importorskip("statsmodels.api")
    first, second, outcome, raters = comparisons(4, 500, ties=0.0, seed=1)
    found = davidson(first, second, outcome, raters, 4)
    x = np.eye(4)[first] - np.eye(4)[second]
    peer = sm.Logit((outcome == FIRST).astype(float), x[:, 1:]).fit(
        disp=0, method="newton", tol=1e-12, cov_type="cluster", cov_kwds={"groups": raters, "use_correction": False}
    )
    np.testing.assert_allclose(found.values[1:] - found.values[0], peer.params, atol=1e-6)
    contrast = np.c_[-np.ones(3), np.eye(3)]
    groups = len(np.unique(raters))
    ours = contrast @ found.covariance @ contrast.T
    np.testing.assert_allclose(ours, peer.cov_params() * groups / (groups - 1), rtol=1e-6)


def test_two_systems_with_ties_have_a_closed_form():
    """pi_1 / pi_2 = wins / losses and nu = ties / sqrt(wins losses): the model has as many parameters as outcomes."""
    outcome = np.repeat([FIRST, TIE, SECOND], [30, 12, 20])
    n = len(outcome)
    found = davidson(np.zeros(n, int), np.ones(n, int), outcome, np.arange(n) % 7, 2)
    assert found.values[0] - found.values[1] == pytest.approx(math.log(30 / 20), abs=1e-9)
    assert found.tie == pytest.approx(math.log(12 / math.sqrt(30 * 20)), abs=1e-9)
    counts = np.array([30, 12, 20])
    assert found.log_likelihood == pytest.approx((counts * np.log(counts / n)).sum(), abs=1e-9)


def test_strengths_satisfy_davidsons_equations():
    """At the maximum each system's wins and half its ties equal what the model expects; so do all ties."""
    first, second, outcome, raters = comparisons(5, 600, ties=0.7, seed=2)
    found = davidson(first, second, outcome, raters, 5)
    assert found.tie is not None
    pi, nu = np.exp(found.values), math.exp(found.tie)
    a, b = pi[first], pi[second]
    p = np.stack([a, nu * np.sqrt(a * b), b], 1)
    p /= p.sum(1, keepdims=True)
    seen = np.eye(3)[outcome]
    score = np.eye(5)[first].T @ (seen[:, 0] - p[:, 0] + 0.5 * (seen[:, 1] - p[:, 1]))
    score += np.eye(5)[second].T @ (seen[:, 2] - p[:, 2] + 0.5 * (seen[:, 1] - p[:, 1]))
    np.testing.assert_allclose(score, 0, atol=1e-8)
    assert (seen[:, 1] - p[:, 1]).sum() == pytest.approx(0, abs=1e-8)


def test_strengths_without_a_finite_estimate_are_refused():
    always = np.full(10, FIRST)
    with pytest.raises(ValueError, match="no finite estimate"):
        davidson(np.zeros(10, int), np.ones(10, int), always, np.arange(10), 2)
    with pytest.raises(ValueError, match="every answer is a tie"):
        davidson(np.zeros(10, int), np.ones(10, int), np.full(10, TIE), np.arange(10), 2)


def test_threshold_of_a_known_function_is_recovered():
    rng = np.random.default_rng(0)
    ms = np.repeat(np.geomspace(50, 1000, 12), 400)
    rise = 1 / (1 + np.exp(-(np.log(ms) - math.log(250)) / 0.4))
    right = (rng.random(len(ms)) < 0.5 + 0.48 * rise).astype(float)
    found = fit(ms, right)
    truth = 250 * math.exp(0.4 * math.log((0.25 / 0.48) / (1 - 0.25 / 0.48)))
    # the threshold's standard error here is about 3 %, from the curvature of the likelihood
    assert found.threshold(0.75) == pytest.approx(truth, rel=0.09)
    assert float(found.probability(np.array([found.threshold(0.75)]))[0]) == pytest.approx(0.75, abs=1e-9)
    with pytest.raises(ValueError, match="share"):
        found.threshold(0.45)


def test_a_thresholds_interval_is_the_curvatures_where_raters_are_alike():
    """With raters alike the sandwich is the inverse information; that of log alpha is checked by simulated fits."""
    rng, thresholds = np.random.default_rng(1), []
    ms = np.tile(np.geomspace(60, 900, 10), 40)
    raters = np.arange(400) // 10
    p = 0.5 + 0.47 / (1 + np.exp(-(np.log(ms) - math.log(240)) / 0.3))
    bounds = []
    for _ in range(30):
        right = (rng.random(400) < p).astype(float)
        found = fit(ms, right)
        thresholds.append(math.log(found.threshold(0.75)))
        interval = threshold_interval(found, ms, right, raters, 0.75)
        assert interval.bounds is not None
        bounds.append(math.log(interval.bounds[1] / interval.bounds[0]) / 2 / stats.t.ppf(0.975, 39))
    # the spread of 30 fits is known to 13 %; two of its standard errors
    assert np.median(bounds) == pytest.approx(np.std(thresholds, ddof=1), rel=0.3)
    few = threshold_interval(found, ms[:100], right[:100], raters[:100], 0.75)
    assert few.bounds is None


def test_mixed_model_without_variation_is_a_plain_logit():
    """Where raters and stimuli do not differ, the fixed effects are the log-odds of each system's share."""
    systems = np.repeat([0, 1], 60)
    y = np.tile([1.0, 0.0, 0.0], 40)
    blocks = np.arange(120) // 3  # each holds one success and two failures, and so does every rater and stimulus
    found = logistic_mixed(y, systems, blocks % 20, blocks % 10, 2)
    assert found.sd_rater < 0.05
    np.testing.assert_allclose(found.values, math.log(0.5), atol=0.01)
    sm = pytest.importorskip("statsmodels.api")
    peer = sm.Logit(y, np.eye(2)[systems]).fit(disp=0)
    np.testing.assert_allclose(np.diag(found.covariance), np.diag(peer.cov_params()), rtol=0.02)


def test_mixed_model_agrees_with_quadrature():
    """One effect a rater, stimuli alike: its likelihood is a product of one-dimensional integrals."""
    rng = np.random.default_rng(3)
    raters, m = 25, 40
    rater = np.repeat(np.arange(raters), m)
    y = (rng.random(raters * m) < 1 / (1 + np.exp(-(0.4 + rng.normal(0, 0.9, raters)[rater])))).astype(float)
    found = logistic_mixed(y, np.zeros(len(y), int), rater, np.arange(len(y)) % 10, 1)
    hits = np.bincount(rater, y)

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)  # for the weight exp(-u^2 / 2)

    def exact(beta: float, sd: float) -> float:
        eta = beta + sd * nodes
        inner = np.exp(hits[:, None] * eta - m * np.logaddexp(0, eta) + m * math.log(2))
        return float(np.log(inner @ weights).sum())

    here = exact(float(found.values[0]), found.sd_rater)
    # the maximum of the exact likelihood is no further than what Laplace's error of O(1 / m) allows
    for beta, sd in ((0.0, 0.1), (0.0, -0.1), (0.15, 0.0), (-0.15, 0.0)):
        assert exact(float(found.values[0]) + beta, found.sd_rater + sd) < here


@pytest.mark.slow
def test_mixed_model_finds_what_the_answers_were_drawn_from():
    """Twenty studies of a hard system: the mode of all effects together would lie 0.13 too near nought."""
    rng = np.random.default_rng(0)
    truth, sd_rater, sd_item, raters, items = -1.5, 0.5, 1.0, 20, 40
    found = []
    for _ in range(20):
        who, item = np.repeat(np.arange(raters), items), np.tile(np.arange(items), raters)
        eta = truth + rng.normal(0, sd_rater, raters)[who] + rng.normal(0, sd_item, items)[item]
        y = (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype(float)
        found.append(logistic_mixed(y, np.zeros(len(y), int), who, item, 1))
    # spread of one: the root of sd_rater^2 / 20 + sd_item^2 / 40 and the answers' own, about 0.22
    assert np.mean([f.values[0] for f in found]) == pytest.approx(truth, abs=3 * 0.22 / math.sqrt(20))
    assert np.mean([f.sd_item for f in found]) == pytest.approx(sd_item, abs=0.12)
    assert np.mean([f.sd_rater for f in found]) == pytest.approx(sd_rater, abs=0.1)


def test_mixed_model_of_few_raters_has_no_interval():
    few = logistic_mixed(np.tile([1.0, 0.0], 50), np.zeros(100, int), np.arange(100) % 10, np.arange(100) // 10, 1)
    assert few.interval(0).bounds is None


def test_wilson_of_a_known_case():
    """10 of 100: 0.05523 .. 0.17437 (Wilson 1927 by hand; statsmodels' proportion_confint gives the same)."""
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    bounds = shares.wilson(10, 100).bounds
    assert bounds == pytest.approx(proportion.proportion_confint(10, 100, method="wilson"), abs=1e-9)


def clustered(rng: np.random.Generator, raters: int, m: int, mean: float, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Each rater's hits and answers, rates being beta with this mean and correlation within raters."""
    rate = rng.beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), raters)
    return rng.binomial(m, rate).astype(float), np.full(raters, float(m))


def test_design_effect_of_known_correlation():
    """The design effect of m answers with correlation rho is 1 + (m - 1) rho, and 1 where raters are alike."""
    rng = np.random.default_rng(0)
    sums, counts = clustered(rng, 4000, 20, 0.4, 0.2)
    # its error at 4,000 raters is about sqrt(2 / 4000), tripled
    assert shares.design_effect(sums, counts, sums.sum()) == pytest.approx(1 + 19 * 0.2, rel=0.07)
    assert shares.design_effect(np.full(10, 5.0), np.full(10, 10.0), 50.0) == 0


def test_no_interval_of_few_raters_or_of_raters_alike():
    few = shares.by_rater(np.arange(5.0), np.full(5, 10.0), Rng(0))
    assert few.bounds is None
    assert "5 raters" in few.method
    for sums in (np.full(30, 5.0), np.zeros(30)):
        assert shares.by_rater(sums, np.full(30, 10.0), Rng(0)).bounds is None
        assert shares.share_by_rater(sums, np.full(30, 10.0)).bounds is None


def test_a_share_of_one_answer_a_rater_is_the_logits_own_interval():
    """Without clusters the linearised error is that of the log-odds, but for n / (n - 1): 1 / sqrt(n p q)."""
    sums = np.repeat([1.0, 0.0], [40, 60])
    bounds = shares.share_by_rater(sums, np.ones(100)).bounds
    assert bounds is not None
    reach = stats.t.ppf(0.975, 99) / math.sqrt(99 * 0.24)
    expected = [1 / (1 + math.exp(-(math.log(2 / 3) + s * reach))) for s in (-1, 1)]
    assert bounds == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("raters", "mean", "rho"), [(20, 0.4, 0.1), (40, 0.2, 0.3), (20, 0.1, 0.1)])
def test_intervals_by_rater_hold_the_truth_and_wilson_does_not(raters, mean, rho):
    """400 simulated studies: 92 to 98 % of the intervals hold the truth; Wilson's overlook the raters."""
    rng = np.random.default_rng(1)
    held, wilson, given = 0, 0, 0
    for _ in range(400):
        sums, counts = clustered(rng, raters, 20, mean, rho)
        bounds = shares.share_by_rater(sums, counts).bounds
        if bounds is not None:
            held, given = held + (bounds[0] <= mean <= bounds[1]), given + 1
        naive = shares.wilson(int(sums.sum()), int(counts.sum())).bounds
        assert naive is not None
        wilson += naive[0] <= mean <= naive[1]
    assert given > 370
    assert 0.92 <= held / given <= 0.98
    assert wilson / 400 < 0.9


def test_planned_numbers_reach_their_power():
    """Simulated studies of the planned size see the effect as often as was planned."""
    rng = np.random.default_rng(0)
    (need,) = planning.needs(planning.of_share(0.35, power=0.8), 0.1, (20,))
    seen = 0
    for _ in range(400):
        sums, counts = clustered(rng, need.raters, 20, 0.35, 0.1)
        mean = sums.sum() / counts.sum()
        error = math.sqrt(need.raters / (need.raters - 1) * ((sums - mean * counts) ** 2).sum()) / counts.sum()
        seen += abs(mean - 0.5) > 1.96 * error
    # binomial error at 400 studies is 0.02; the normal approximation of few raters adds a little power
    assert 0.74 <= seen / 400 <= 0.9


def test_planning_closed_forms():
    assert planning.of_difference(0.5) == pytest.approx(62.79, abs=0.01)  # 2 (1.95996 + 0.84162)^2 / 0.25
    assert planning.of_share(0.6) == pytest.approx(193.9, abs=0.2)
    long, short = planning.needs(200, 0.1, (80, 5))
    assert long.design_effect == pytest.approx(8.9)
    assert short.answers < long.answers
    for bad in ({"power": 1.2}, {"power": 0.0}):
        with pytest.raises(ValueError, match="power"):
            planning.check(level=0.95, rho=0.1, **bad)
    with pytest.raises(ValueError, match="rho"):
        planning.check(0.8, 0.95, 1.0)
    with pytest.raises(ValueError, match="different shares"):
        planning.of_share(0.5)
