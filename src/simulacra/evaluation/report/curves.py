"""Training curves: log rows to small panels, one a logged term, as geometry that a template draws.

Every length is in units of the panel's own view box; the page scales it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulacra.evaluation.report.numbers import Number, short

STEP = "step"
LOSS = "loss"  # what a turn's own value is called
# what counts along with the steps and has no shape worth drawing
CLOCKS = frozenset({STEP, "examples", "seconds", "cpu_seconds", "wall_seconds", "time", "epoch"})
POINTS_DRAWN = 240  # about one for each pixel of a panel's width
SMOOTHED_OVER = 0.02  # of the run: the standard deviation of the Gaussian weights
FEWEST_TO_SMOOTH = 24


@dataclass(frozen=True)
class Tick:
    """A mark at ``at`` in view box units, and what it says."""

    at: Number
    text: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear map from values low .. high to view box units start .. end, with round ticks."""

    low: Number
    high: Number
    start: Number
    end: Number

    def __call__(self, value: Number) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int) -> list[Tick]:
        """Marks at round numbers, no more than ``most``."""
        return [Tick(self(v), short(v)) for v in round_numbers(self.low, self.high, most)]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A view box and the edges of its plotting area."""

    width: Number = 300
    height: Number = 170
    left: Number = 44
    right: Number = 232
    top: Number = 12
    bottom: Number = 136


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One term against the steps.

    turn, title  the turn it belongs to ("" for none) and the term's own name; unit of the value, "" if it has none.
    raw, line   SVG paths: every logged value, and its running mean ("" for raw where there is too little to smooth).
    end         where the line ends; last is that value as text, first_step .. last_step the range drawn.
    """

    turn: str
    title: str
    unit: str
    frame: Frame
    raw: str
    line: str
    end: tuple[Number, Number]
    last: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    summary: str


def curves(log: Sequence[Mapping[str, Number]], units: Mapping[str, str] | None = None) -> list[Panel]:
    """One panel for each thing logged, the terms of a turn together, in the order in which the log first names them.

    log    rows with "step" and "turn/term" -> number, or "turn" -> its loss; any other key stands for itself.
    units  key, or term alone -> unit of its axis.

    Terms with fewer than two finite values have no curve and are left out.
    """
    units = units or {}
    keys = dict.fromkeys(k for row in log for k in row if k not in CLOCKS)
    turns = {k.rpartition("/")[0] for k in keys}
    groups: dict[str, list[Panel]] = {}
    for key in keys:
        turn, term = (key, LOSS) if key in turns else ("", key)
        if "/" in key:
            turn, _, term = key.rpartition("/")
        points = [(r[STEP], r[key]) for r in log if STEP in r and _number(r.get(key))]
        if len({x for x, _ in points}) < 2:
            continue
        unit = units.get(key, units.get(term, ""))
        groups.setdefault(turn, []).append(panel(turn, term.replace("_", " "), unit, np.array(points, dtype=float)))
    # a turn's loss stands before the terms it is the sum of
    return [p for group in groups.values() for p in sorted(group, key=lambda p: p.title != LOSS)]


def panel(turn: str, title: str, unit: str, points: np.ndarray, frame: Frame = Frame()) -> Panel:
    """One curve. points: (n, 2) steps and values, n >= 2, at least two different steps."""
    points = points[np.argsort(points[:, 0], kind="stable")]
    steps, values = points[:, 0], points[:, 1]
    smooth = smoothed(values) if len(values) >= FEWEST_TO_SMOOTH else values
    x = Axis(low=steps[0], high=steps[-1], start=frame.left, end=frame.right)
    low, high = limits(values, smooth)
    y = Axis(low=low, high=high, start=frame.bottom, end=frame.top)
    last = short(float(smooth[-1]))
    story = f"{title} from {short(smooth[0])} at step {short(steps[0])} to {last} at step {short(steps[-1])}"
    return Panel(
        turn=turn,
        title=title,
        unit=unit,
        frame=frame,
        raw=path(x, y, *envelope(steps, values)) if smooth is not values else "",
        line=path(x, y, *thinned(steps, smooth)),
        end=(x(steps[-1]), min(max(y(smooth[-1]), frame.top), frame.bottom)),
        last=last,
        x_ticks=x.ticks(5),
        y_ticks=y.ticks(4),
        summary=story,
    )


def smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean with Gaussian weights, centred, so that it does not lag; renormalised at both ends."""
    sigma = max(1.0, SMOOTHED_OVER * len(values))
    reach = min(int(3 * sigma), len(values) - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    # "full", cut to length: "same" would return the longer of the two
    total = np.convolve(values, weights, mode="full")[reach : reach + len(values)]
    return total / np.convolve(np.ones_like(values), weights, mode="full")[reach : reach + len(values)]


def limits(values: np.ndarray, smooth: np.ndarray) -> tuple[Number, Number]:
    """The values a panel shows: all but the outermost hundredth and the first steps' plunge, and all that follows."""
    settled = smooth[len(smooth) // 20 :]
    low = min(float(settled.min()), float(np.quantile(values, 0.01)))
    high = max(float(settled.max()), float(np.quantile(values, 0.99)))
    # a start far above everything else would press the rest into a line; the curve enters from outside instead
    rest = values[len(values) // 20 :]
    spread = float(rest.max() - rest.min())
    if len(values) >= FEWEST_TO_SMOOTH and spread > 0 and high - low > 3 * spread:
        low, high = float(rest.min()), float(rest.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    room = 0.06 * (high - low)
    return low - room, high + room


def envelope(x: np.ndarray, y: np.ndarray, most: int = POINTS_DRAWN) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` points that keep every peak: each stretch gives its lowest and its highest value, in order."""
    if len(x) <= most:
        return x, y
    chosen: list[int] = []
    for stretch in np.array_split(np.arange(len(x)), most // 2):
        chosen += sorted({int(stretch[np.argmin(y[stretch])]), int(stretch[np.argmax(y[stretch])])})
    return x[chosen], y[chosen]


def thinned(x: np.ndarray, y: np.ndarray, most: int = POINTS_DRAWN) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` points of a smooth line, evenly chosen, both ends among them."""
    chosen = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int))
    return x[chosen], y[chosen]


def path(x: Axis, y: Axis, xs: np.ndarray, ys: np.ndarray) -> str:
    """An SVG path through the points, to a tenth of a unit."""
    return "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in zip(xs, ys, strict=True))


def round_numbers(low: Number, high: Number, most: int) -> list[Number]:
    """Multiples of 1, 2 or 5 times a power of ten within low .. high: as many as fit into ``most``, at least one."""
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise ValueError(f"an axis needs finite ends, low below high; got {low} and {high}")
    power = math.floor(math.log10((high - low) / most)) if most else 0
    for factor in (1, 2, 5, 10, 20, 50):
        step = factor * 10.0**power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            # rounded to the step's own digits: 3 * 0.1 is not 0.3
            found = [round(k * step, max(0, -power + 1)) for k in range(first, last + 1)]
            if found:
                return found
    return [low]


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
