"""Curves and plots as geometry: everything drawn lies where its value says."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from simulacra.evaluation.report.curves import Axis, curves, envelope, panel, round_numbers, smoothed, thinned
from simulacra.evaluation.report.plots import Point, ladder, scatter


def points(path: str) -> np.ndarray:
    return np.array([[float(v) for v in p.split()] for p in re.split("[ML]", path) if p])


def test_a_line_passes_through_its_values() -> None:
    """A straight line of values is a straight line from one end of the axes to the other."""
    p = panel("", "loss", "", np.array([[0, 2.0], [10, 4.0], [20, 6.0]]))
    drawn = points(p.line)
    assert drawn[:, 0] == pytest.approx([p.frame.left, (p.frame.left + p.frame.right) / 2, p.frame.right], abs=0.06)
    assert drawn[1, 1] == pytest.approx((drawn[0, 1] + drawn[2, 1]) / 2, abs=0.06)
    assert drawn[0, 1] > drawn[2, 1]  # up is more
    assert p.last == "6"


def test_smoothing_keeps_constants_and_lines_and_lowers_noise() -> None:
    assert smoothed(np.full(100, 3.0)) == pytest.approx(np.full(100, 3.0))
    line = np.arange(200.0)
    assert smoothed(line)[30:-30] == pytest.approx(line[30:-30])
    noise = np.random.default_rng(0).normal(size=2000)
    assert smoothed(noise).std() < noise.std() / 5


def test_thinning_keeps_peaks_and_ends() -> None:
    x, y = np.arange(10_000.0), np.zeros(10_000)
    y[4321], y[777] = 9, -9
    kept_x, kept_y = envelope(x, y)
    assert len(kept_x) <= 240
    assert kept_y.max() == 9
    assert kept_y.min() == -9
    assert (np.diff(kept_x) > 0).all()
    kept_x, _ = thinned(x, y)
    assert (kept_x[0], kept_x[-1]) == (0, 9999)


def test_a_log_becomes_a_panel_a_term_with_the_loss_of_each_turn_first() -> None:
    log = [{"step": i, "examples": i, "seconds": i, "d/real": i, "d": i, "g": i} for i in range(5)]
    assert [(p.turn, p.title) for p in curves(log)] == [("d", "loss"), ("d", "real"), ("", "g")]


def test_units_go_by_key_and_by_term() -> None:
    log = [{"step": i, "a/kl": i, "b/kl": i} for i in range(3)]
    assert [p.unit for p in curves(log, {"kl": "nats", "b/kl": "bits"})] == ["nats", "bits"]


def test_what_has_no_curve_is_left_out() -> None:
    log = [{"step": 1, "once": 1.0, "never": math.nan, "flag": True, "word": "x"}, {"step": 2, "never": math.inf}]
    assert curves(log) == []  # pyright: ignore[reportArgumentType]
    assert curves([]) == []
    assert len(curves([{"step": 0, "a": 1.0}, {"step": 1, "a": math.nan}, {"step": 2, "a": 2.0}])) == 1


def test_a_constant_has_a_curve_too() -> None:
    (p,) = curves([{"step": i, "a": 0.0} for i in range(5)])
    assert p.frame.top < p.end[1] < p.frame.bottom


def test_a_plunge_does_not_flatten_what_follows() -> None:
    """After the first steps the values fill at least half of the height, however far above the run began."""
    log = [{"step": i, "a": 1e6 if i < 3 else 1 + math.sin(i / 9)} for i in range(300)]
    (p,) = curves(log)
    heights = points(p.raw)[20:, 1]
    assert heights.max() - heights.min() > 0.5 * (p.frame.bottom - p.frame.top)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 8.1), (1e-9, 2e-9), (99.9, 100.1), (0, 12345), (5, 5.0001)])
@pytest.mark.parametrize("most", [3, 5])
def test_ticks_are_round_few_and_within(low: float, high: float, most: int) -> None:
    ticks = round_numbers(low, high, most)
    assert 1 <= len(ticks) <= most
    room = 1e-6 * (high - low)
    assert all(low - room <= t <= high + room for t in ticks)
    steps = np.diff(ticks)
    if len(steps):
        leading = float(f"{steps[0]:.3e}"[:5])
        assert leading in (1, 2, 5)
        assert steps == pytest.approx(np.full(len(steps), steps[0]), rel=1e-6)


def test_an_axis_without_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="low below high"):
        round_numbers(1.0, 1.0, 3)


def test_an_axis_is_linear() -> None:
    x = Axis(low=0, high=10, start=100, end=200)
    assert (x(0), x(5), x(10)) == (100, 150, 200)


def test_marks_lie_in_order_of_their_values_and_labels_do_not_collide() -> None:
    given = [Point(name=f"run {i}", colour=i, x=1.0 + 0.001 * i, y=1.0 + 0.001 * i) for i in range(4)]
    given.append(Point(name="far", colour=4, x=100.0, y=9.0))
    s = scatter(given, title="t", x_title="x", y_title="y", log_x=True)
    by_name = {m.name: m for m in s.marks}
    assert by_name["run 0"].x < by_name["far"].x
    assert by_name["run 0"].y > by_name["far"].y
    near = [m for m in s.marks if m.name.startswith("run")]
    places = {(round(m.label_x), round(m.label_y)) for m in near}
    assert len(places) == 4


def test_decades_of_cost_are_spaced_evenly() -> None:
    given = [Point(name=str(i), colour=i, x=10.0**i, y=float(i)) for i in range(3)]
    xs = sorted(m.x for m in scatter(given, title="t", x_title="x", y_title="y", log_x=True).marks)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])


def test_a_ladder_shows_values_between_their_ends() -> None:
    rows = [
        ("a", 0, 2.0, (1.0, 3.0), "2.0", True),
        ("b", 1, 5.0, None, "5", False),
        ("c", 2, math.nan, None, "", False),
    ]
    found = ladder(rows, title="t", subtitle="")
    assert [b.name for b in found.bars] == ["a", "b"]
    low, high = found.bars[0].low, found.bars[0].high
    assert low is not None
    assert high is not None
    assert low < found.bars[0].x < high < found.bars[1].x
    assert found.bars[1].low is None
