"""Curves of several methods against a quantity, each with its band: geometry that a template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simulacra.evaluation.report.curves import Axis, Frame, Tick
from simulacra.evaluation.report.numbers import Number, short

SOLID, DASHED, DOTTED = "", "7 4", "1.5 4.5"


@dataclass(frozen=True, kw_only=True)
class Series:
    """A method's values, one at each place, and the ends of their intervals; colour by number, dash as SVG has it."""

    name: str
    colour: int
    values: Sequence[Number]
    low: Sequence[Number]
    high: Sequence[Number]
    dash: str = SOLID


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series as drawn: the line, the band around it, and its points."""

    name: str
    colour: int
    dash: str
    line: str
    band: str
    points: Sequence[tuple[Number, Number]]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines in one frame.

    span  (left, right, middle) of an interval along x that is shaded, or None; level: where a straight line is drawn.
    """

    title: str
    x_title: str
    y_title: str
    frame: Frame
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    span: tuple[Number, Number, Number] | None = None
    level: Number | None = None


def chart(
    places: Sequence[Number],
    series: Sequence[Series],
    *,
    title: str,
    x_title: str,
    y_title: str,
    logarithmic: bool = False,
    span: tuple[Number, Number, Number] | None = None,
    level: Number | None = None,
) -> Chart:
    """The lines of some series over common places; y begins at nought, as its measures do.

    span   low end, high end and middle of an interval along x. level: a value of y that is marked.
    """
    frame = Frame(width=420, height=250, left=40, right=408, top=22, bottom=204)
    along = math.log10 if logarithmic else float
    x = Axis(low=along(places[0]), high=along(places[-1]), start=frame.left, end=frame.right)
    # a band that reaches far beyond all means would press them flat; it is cut at the frame
    top = max(max(s.values) for s in series)
    highest = min(max(max(s.high) for s in series), 1.35 * top) or 1.0
    y = Axis(low=0.0, high=1.05 * highest, start=frame.bottom, end=frame.top)
    xs = [x(along(p)) for p in places]

    def inside(value: Number) -> Number:
        return min(max(y(value), frame.top), frame.bottom)

    lines = [
        Line(
            name=s.name,
            colour=s.colour,
            dash=s.dash,
            line=_path(xs, [inside(v) for v in s.values]),
            band=_path([*xs, *reversed(xs)], [inside(v) for v in (*s.high, *reversed(s.low))]) + "Z",
            points=list(zip(xs, [inside(v) for v in s.values], strict=True)),
        )
        for s in series
    ]
    ticks = [Tick(x(along(p)), short(p)) for p in places] if len(places) <= 6 else _thinned(places, x, along)
    return Chart(
        title=title,
        x_title=x_title,
        y_title=y_title,
        frame=frame,
        lines=lines,
        x_ticks=ticks,
        y_ticks=y.ticks(5),
        span=None if span is None else (x(along(span[0])), x(along(span[1])), x(along(span[2]))),
        level=None if level is None else inside(level),
    )


def _thinned(places: Sequence[Number], x: Axis, along) -> list[Tick]:
    return [Tick(x(along(p)), short(p)) for p in places[::2]]


def _path(xs: Sequence[Number], ys: Sequence[Number]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(xs, ys, strict=True))
