"""Human evaluation: intervals against known truths, and the time a browser shows things.

coverage   400 simulated studies each: how often nominal 95 % intervals hold the truth. The truth of a threshold is
           that of one study with 3,000 raters: the rise of all raters together is no logistic function itself.
agreement  the same for Krippendorff's alpha, whose truth is an integral; on other seeds than its rule was chosen by.
mixed      the same for the mixed model: its intervals, and what is found of log-odds and deviations that are known.
peers      strengths, alpha, clustered errors and shares against choix, krippendorff and statsmodels on the same data.
server     50 raters at once over HTTP, ``kill -9`` twenty times: what was acknowledged against what is kept.
browser    a timed study in Chromium: the time shown, by the screen's own frames, against the time asked for.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import study_models
from bench.browser import Browser, executable
from bench.harness import Row, save, show
from bench.served import Served, under_fire

REPEATS = 400
WANTED = (0.92, 0.98)
BESIDE = "by the bootstrap of raters, printed beside"
GLANCES = 60


def run() -> list[Row]:
    """Every measurement."""
    return [row for part in PARTS.values() for row in part()]


def coverage() -> list[Row]:
    """How often each interval holds the truth."""
    cases: list[tuple[str, Callable[[int], bool | None]]] = []
    for raters, mean, rho in ((20, 0.4, 0.1), (20, 0.1, 0.2), (20, 0.5, 0.3), (40, 0.3, 0.2)):
        name = f"share {mean:g}, {raters} raters, rho {rho:g}"
        cases.append((name, lambda seed, a=(raters, mean, rho): _share_holds(seed, *a)))
        cases.append((f"{name} {BESIDE}", lambda seed, a=(raters, mean, rho): _bootstrap_holds(seed, *a)))
    cases.append(("difference of two shares, 20 raters", lambda seed: _difference_holds(seed, 20)))
    cases.append(("mean opinion, 20 raters", lambda seed: _opinion_holds(seed, 20)))
    cases += [(f"strength, {r} raters", lambda seed, r=r: _strength_holds(seed, r)) for r in (20, 40)]
    truth = _threshold_study(0, 3000)[0].threshold(0.75)
    cases += [(f"threshold, {r} raters", lambda seed, r=r: _threshold_holds(seed, r, truth)) for r in (20, 40)]
    rows = []
    for name, holds in cases:
        found = [h for seed in range(REPEATS) if (h := holds(seed)) is not None]
        value = sum(found) / len(found)
        counts = BESIDE not in name
        rows.append(
            Row(
                what=f"coverage: {name}", unit="share", ours=value, target="0.92 .. 0.98" if counts else "",
                met=WANTED[0] <= value <= WANTED[1] if counts else None,
                note=f"{len(found)} studies with an interval",
            )
        )  # fmt: skip
        print(f"  {name}: {value:.3f} of {len(found)}", flush=True)
    return rows


def server(raters: int = 50, kills: int = 20) -> list[Row]:
    """What raters were told is kept against what is, with ``kill -9`` in between."""
    from collections import Counter

    from simulacra.evaluation.study import Discern, create
    from simulacra.evaluation.study.stimuli import of_array
    from simulacra.evaluation.study.store import Store

    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        systems = {n: of_array(rng.integers(0, 255, (60, 5, 5, 3), dtype=np.uint8), n) for n in ("real", "x")}
        study = create(Path(folder) / "study", Discern(), systems, each=40, raters=raters)
        # half a second between answers: all raters are at work through every kill
        sent, seconds = under_fire(study.folder, raters=raters, kills=kills, every=0.5, seconds=240, pause=0.5)
        store = Store(study)
        kept = Counter((row[3], row[4]) for row in store.rows())
        store.close()
        told = Counter(sent)
        wrong = sum(((told - kept) + (kept - told)).values()) + raters * study.plan.length - sum(kept.values())
    return [
        Row(
            what=f"{raters} raters at once, {kills} kills: answers lost, doubled or never told", unit="answers",
            ours=wrong, target="0", met=wrong == 0,
            note=f"{sum(kept.values()):,} answers kept in {seconds:.0f} s",
        )
    ]  # fmt: skip


def browser() -> list[Row]:
    """The exposures of a timed study in Chromium."""
    from simulacra.evaluation.study import Timed, create
    from simulacra.evaluation.study.stimuli import of_array
    from simulacra.evaluation.study.store import Store

    if executable() is None:
        return [Row(what="exposure in the browser", unit="frames", ours="no chromium here")]
    with tempfile.TemporaryDirectory() as folder, Browser() as tab:
        rng = np.random.default_rng(0)
        systems = {n: of_array(rng.integers(0, 255, (50, 64, 64, 3), dtype=np.uint8), n) for n in ("real", "x")}
        design = Timed(start=150, low=20, high=400, down=25, up=35, mask=80)
        study = create(Path(folder) / "study", design, systems, each=GLANCES - 2, checks=2, raters=1)
        with Served(study.folder) as served:
            tab.open(f"http://127.0.0.1:{served.port}/")
            tab.run("document.getElementById('agree').click()")
            for position in range(GLANCES):
                here = f"document.getElementById('count').textContent.startsWith('{position + 1} ')"
                tab.until(f"{here} && document.getElementById('note').textContent")
                tab.press(" ")
                tab.until(f"{here} && !document.querySelector('#choices button').disabled")
                tab.press(("ArrowLeft", "ArrowRight")[position % 2])
            tab.until("!document.getElementById('done').hidden")
        store = Store(study)
        rows = store.rows()
        store.close()
    frame = statistics.median(row[6]["frame_ms"] for row in rows)
    errors = sorted(abs(row[6]["shown_ms"] - (row[5] or 0)) / frame for row in rows)
    within = sum(e <= 1 for e in errors) / len(errors)
    high = errors[math.ceil(0.95 * len(errors)) - 1]
    return [
        Row(
            what="exposure error in the browser, 95th percentile", unit="frames",
            ours=high, target="<= 1", met=high <= 1,
            note=f"{len(errors)} glances of 20 .. 400 ms, frame {frame:.1f} ms; median {statistics.median(errors):.2f},"
            f" largest {errors[-1]:.2f}, {within:.0%} within one",
        )
    ]  # fmt: skip


def _share_holds(seed: int, raters: int, mean: float, rho: float) -> bool | None:
    from simulacra.evaluation.study import shares

    rng = np.random.default_rng(seed)
    rate = rng.beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), raters)
    sums = rng.binomial(20, rate).astype(float)
    bounds = shares.share_by_rater(sums, np.full(raters, 20.0)).bounds
    return None if bounds is None else bounds[0] <= mean <= bounds[1]


def _bootstrap_holds(seed: int, raters: int, mean: float, rho: float) -> bool | None:
    """The same studies by the bootstrap of raters, which is printed beside."""
    from simulacra.core.randomness import Rng
    from simulacra.evaluation.study import shares

    rng = np.random.default_rng(seed)
    rate = rng.beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), raters)
    sums = rng.binomial(20, rate).astype(float)
    bounds = shares.by_rater(sums, np.full(raters, 20.0), Rng(seed)).bounds
    return None if bounds is None else bounds[0] <= mean <= bounds[1]


def _difference_holds(seed: int, raters: int) -> bool | None:
    """0.2 between two systems, raters being good or bad at both."""
    from simulacra.core.randomness import Rng
    from simulacra.evaluation.study import shares

    rng = np.random.default_rng(seed)
    skill = rng.uniform(-0.15, 0.15, raters)
    hits = [rng.binomial(15, mean + skill + rng.uniform(-0.1, 0.1, raters)) for mean in (0.5, 0.3)]
    bounds = shares.of_statistic(
        raters, lambda drawn: float((hits[0][drawn] - hits[1][drawn]).mean() / 15), Rng(seed), repeats=shares.REPEATS
    ).bounds
    return None if bounds is None else bounds[0] <= 0.2 <= bounds[1]


def _opinion_holds(seed: int, raters: int) -> bool | None:
    """Ratings 1 .. 5 by thresholds of a normal with raters' own leniency; the truth by its integral."""
    from scipy import stats

    from simulacra.core.randomness import Rng
    from simulacra.evaluation.study import shares

    rng, edges = np.random.default_rng(seed), np.array([-1.2, -0.4, 0.5, 1.4])
    opinion = rng.normal(0.3, 0.6, raters)[:, None] + rng.normal(0, 0.8, (raters, 15))
    given = 1 + (opinion[..., None] > edges).sum(-1)
    truth = 1 + float(stats.norm.sf((edges - 0.3) / math.hypot(0.6, 0.8)).sum())
    bounds = shares.by_rater(given.sum(1).astype(float), np.full(raters, 15.0), Rng(seed)).bounds
    return None if bounds is None else bounds[0] <= truth <= bounds[1]


def _strength_holds(seed: int, raters: int) -> bool | None:
    """Davidson's model; raters answer some pairs by habit, which correlates answers and leaves shares as they are."""
    from simulacra.evaluation.study.preferences import davidson

    rng, truth = np.random.default_rng(seed), np.array([0.8, 0.0, -0.8])
    first, second = np.tile([0, 0, 1], 5 * raters), np.tile([1, 2, 2], 5 * raters)
    who = np.repeat(np.arange(raters), 15)
    a, b = np.exp(truth[first]), np.exp(truth[second])
    p = np.stack([a, 0.5 * np.sqrt(a * b), b], 1)
    p = np.cumsum(p / p.sum(1, keepdims=True), 1)
    habit = rng.random((raters, 3))[who, np.tile([0, 1, 2], 5 * raters)]
    draw = np.where(rng.random(len(who)) < 0.3, habit, rng.random(len(who)))
    outcome = (draw[:, None] > p).sum(1)
    try:
        found = davidson(first, second, outcome, who, 3)
    except ValueError:
        return None
    gap, (low, high) = 1 / (1 + math.exp(-1.6)), found.beats(0, 2, raters - 1)[1]
    return low <= gap <= high


def _threshold_study(seed: int, raters: int):
    """Staircases of 40 trials of raters whose midpoints differ by a quarter; the fit, exposures, answers, raters."""
    from simulacra.evaluation.study import Timed
    from simulacra.evaluation.study.psychometric import fit

    rng, design = np.random.default_rng(seed), Timed(start=400, low=30, high=1000, down=20, up=60)
    midpoint = np.log(250) + rng.normal(0, 0.25, raters)
    at = np.full(raters, design.start)
    ms, right = [], []
    for _ in range(40):
        p = 0.5 + 0.48 / (1 + np.exp(-(np.log(at) - midpoint) / 0.35))
        hit = rng.random(raters) < p
        ms.append(at)
        right.append(hit)
        at = np.where(hit, np.maximum(design.low, at - design.down), np.minimum(design.high, at + design.up))
    flat, answers = np.concatenate(ms), np.concatenate(right).astype(float)
    return fit(flat, answers), flat, answers, np.tile(np.arange(raters), 40)


def _threshold_holds(seed: int, raters: int, truth: float) -> bool | None:
    from simulacra.evaluation.study.psychometric import threshold_interval

    curve, ms, right, who = _threshold_study(seed + 1, raters)
    bounds = threshold_interval(curve, ms, right, who, 0.75).bounds
    return None if bounds is None else bounds[0] <= truth <= bounds[1]


PARTS = {
    "coverage": coverage, "agreement": study_models.agreement, "mixed": study_models.mixed, "peers": study_models.peers,
    "server": server, "browser": browser,
}  # fmt: skip

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        found = PARTS[part]()
        show(f"study-{part}", found)
        print(save(f"study-{part}", found, command=f"python -m bench.study {part}"))
