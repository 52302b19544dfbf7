"""Figures of several runs as geometry: value against value, and every run's interval on one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simulacra.evaluation.report.curves import Axis, Frame, Tick
from simulacra.evaluation.report.numbers import MINUS, Number, power_of_ten

COLOURS = 8  # that the style sheet has; later runs begin again, and every mark carries its name besides
LABEL_HEIGHT = 13.0
LONGEST_NAME = 16  # characters of a run's name that a ladder shows
CHARACTER = 6.2  # mean width of a character of a label, in view box units


@dataclass(frozen=True, kw_only=True)
class Point:
    """A run in the plane: its values, and for y (and x) the ends of an interval where there is one."""

    name: str
    colour: int
    x: Number
    y: Number
    x_interval: tuple[Number, Number] | None = None
    y_interval: tuple[Number, Number] | None = None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point as drawn: centre, whiskers (x1, y1, x2, y2), and where its label goes."""

    name: str
    colour: int
    x: Number
    y: Number
    whiskers: Sequence[tuple[Number, Number, Number, Number]]
    label_x: Number
    label_y: Number
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Value against value, one mark a run."""

    title: str
    x_title: str
    y_title: str
    frame: Frame
    marks: Sequence[Mark]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One run's line in a ``Ladder``: its value and interval along x."""

    name: str
    colour: int
    y: Number
    x: Number
    low: Number | None
    high: Number | None
    text: str
    best: bool


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """One measure: every run's value and interval above one another on a common axis."""

    title: str
    subtitle: str
    frame: Frame
    bars: Sequence[Bar]
    ticks: Sequence[Tick]


def scatter(
    points: Sequence[Point], *, title: str, x_title: str, y_title: str, log_x: bool = False, note: str = ""
) -> Scatter:
    """Marks in the plane with their labels beside them. x by its logarithm where costs span decades."""
    frame = Frame(width=420, height=290, left=44, right=404, top=28, bottom=244)
    xs = [v for p in points for v in (p.x, *(p.x_interval or ())) if math.isfinite(v)]
    ys = [v for p in points for v in (p.y, *(p.y_interval or ())) if math.isfinite(v)]
    by_log = log_x and min(xs) > 0 and max(xs) > 4 * min(xs)
    along = math.log10 if by_log else float
    x = _axis([along(v) for v in xs], frame.left, frame.right)
    y = _axis(ys, frame.bottom, frame.top)
    marks: list[Mark] = []
    for p in sorted(points, key=lambda p: y(p.y)):
        marks.append(_labelled(p, x(along(p.x)), y(p.y), _whiskers(p, x, y, along), marks, frame))
    ticks = _log_ticks(x) if by_log else x.ticks(5)
    return Scatter(
        title=title,
        x_title=x_title,
        y_title=y_title,
        frame=frame,
        marks=marks,
        x_ticks=ticks,
        y_ticks=y.ticks(5),
        note=note,
    )


def ladder(
    rows: Sequence[tuple[str, int, Number, tuple[Number, Number] | None, str, bool]], *, title: str, subtitle: str
) -> Ladder:
    """rows: (run, colour, value, interval, value as text, is it the best)."""
    height = 26.0
    names = min(max(len(row[0]) for row in rows), LONGEST_NAME)
    depth = height * len(rows)
    frame = Frame(width=420, height=depth + 30, left=24 + CHARACTER * names, right=345, top=4, bottom=depth + 8)
    values = [v for _, _, value, interval, _, _ in rows for v in (value, *(interval or ())) if math.isfinite(v)]
    x = _axis(values, frame.left, frame.right)
    bars = [
        Bar(
            name=name,
            colour=colour,
            y=frame.top + height * (i + 0.5),
            x=x(value),
            low=None if interval is None else max(x(interval[0]), frame.left),
            high=None if interval is None else min(x(interval[1]), frame.right),
            text=text,
            best=best,
        )
        for i, (name, colour, value, interval, text, best) in enumerate(rows)
        if math.isfinite(value)
    ]
    return Ladder(title=title, subtitle=subtitle, frame=frame, bars=bars, ticks=x.ticks(4))


def _axis(values: Sequence[Number], start: Number, end: Number) -> Axis:
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 0.1 * abs(low) or 1.0
    # a quantity that is never negative does not get an axis that is
    floor = 0.0 if low >= 0 and low - room < 0 else low - room
    return Axis(low=floor, high=high + room, start=start, end=end)


def _log_ticks(x: Axis) -> list[Tick]:
    ticks: list[Tick] = []
    for power in range(math.floor(x.low), math.ceil(x.high) + 1):
        for factor in (1, 2, 5):
            at = power + math.log10(factor)
            if x.low <= at <= x.high:
                ticks.append(Tick(x(at), _plain(factor, power)))
    return ticks if len(ticks) <= 6 else [t for t in ticks if t.text.lstrip(MINUS + "0.").startswith("1")]


def _plain(factor: int, power: int) -> str:
    if -4 <= power <= 6:
        return f"{factor * 10**power:,}" if power >= 0 else f"{factor * 10.0**power:.{-power}f}"
    return f"{factor} {power_of_ten(power)}"


def _whiskers(p: Point, x: Axis, y: Axis, along) -> list[tuple[Number, Number, Number, Number]]:
    found = []
    if p.y_interval is not None:
        found.append((x(along(p.x)), y(p.y_interval[0]), x(along(p.x)), y(p.y_interval[1])))
    if p.x_interval is not None:
        found.append((x(along(p.x_interval[0])), y(p.y), x(along(p.x_interval[1])), y(p.y)))
    return found


def _labelled(p: Point, x: Number, y: Number, whiskers, before: Sequence[Mark], frame: Frame) -> Mark:
    """The mark with its label at the first of a few places that no earlier label and no edge disputes."""
    width = CHARACTER * len(p.name)
    level = [(9, 4, "start"), (-9, 4, "end")]
    aside = [(9, -9, "start"), (9, 17, "start"), (-9, -9, "end"), (-9, 17, "end")]
    places = aside + level if p.x_interval else level + aside  # a label does not lie on its own whisker
    for further in range(2, 2 + len(before)):  # in a crowd, above or below it
        places += [(9, 4 - further * LABEL_HEIGHT, "start"), (9, 4 + further * LABEL_HEIGHT, "start")]
    chosen = places[0]
    for dx, dy, anchor in places:
        left = x + dx if anchor == "start" else x + dx - width
        inside = left >= frame.left and left + width <= frame.width and 0 <= y + dy <= frame.bottom
        if inside and not any(_overlap(left, y + dy, width, m) for m in before):
            chosen = (dx, dy, anchor)
            break
    dx, dy, anchor = chosen
    return Mark(
        name=p.name, colour=p.colour, x=x, y=y, whiskers=whiskers, label_x=x + dx, label_y=y + dy, anchor=anchor
    )


def _overlap(left: Number, y: Number, width: Number, other: Mark) -> bool:
    other_width = CHARACTER * len(other.name)
    other_left = other.label_x if other.anchor == "start" else other.label_x - other_width
    labels = left < other_left + other_width and other_left < left + width and abs(y - other.label_y) < LABEL_HEIGHT
    dot = left < other.x + 6 and other.x - 6 < left + width and abs(y - 4 - other.y) < LABEL_HEIGHT / 2 + 4
    return labels or dot
