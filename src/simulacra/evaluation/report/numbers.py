"""Numbers as a person reads them: as many digits as the interval supports, thousands set apart, durations in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

Number = int | float

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
DIGITS_OF_INTERVAL = 2  # an uncertainty is itself uncertain: its third digit says nothing
DIGITS_ALONE = 3  # of a number whose uncertainty nobody knows
MOST_PLACES = 15
PLAIN = (1e-4, 1e7)  # sizes written without a power of ten


@dataclass(frozen=True, kw_only=True)
class Written:
    """A value and its interval as text, all three to the same last digit.

    value, low, high  decimal texts; low and high are "" where there is no interval.
    exponent          the power of ten by which all three are to be multiplied; 0 for most.
    """

    value: str
    low: str = ""
    high: str = ""
    exponent: int = 0

    @property
    def interval(self) -> str:
        """ "[12.02, 12.60]", or "" where there is none."""
        return f"[{self.low}, {self.high}]" if self.low else ""

    @property
    def power(self) -> str:
        """ "× 10⁻⁷", or ""."""
        return power_of_ten(self.exponent) if self.exponent else ""


def write(value: Number, interval: tuple[Number, Number] | None = None) -> Written:
    """A value to the digits its interval supports: the last digit is the second one of the interval's half width.

    Three significant digits where there is no interval, or one without a width. All three numbers share one power of
    ten, taken out where the largest of them lies outside 1e-4 .. 1e7.
    """
    numbers = (value, *(interval or ()))
    largest = max((abs(v) for v in numbers if math.isfinite(v)), default=0.0)
    exponent = 0 if not largest or PLAIN[0] <= largest < PLAIN[1] else math.floor(math.log10(largest))
    places = _places(value, interval) + exponent
    texts = [_decimal(v, exponent, min(places, MOST_PLACES)) for v in numbers]
    if interval is None:
        return Written(value=texts[0], exponent=exponent)
    return Written(value=texts[0], low=texts[1], high=texts[2], exponent=exponent)


def short(value: Number) -> str:
    """A number for an axis or a label: three significant digits, "12.3", "0.0041", "12,400", "1.3 × 10⁻⁶"."""
    if value == 0 or not math.isfinite(value):
        return _decimal(value, 0, 0)
    if value == int(value) and abs(value) < PLAIN[1]:
        return f"{int(value):,}".replace("-", MINUS)
    exponent = 0 if PLAIN[0] <= abs(value) < PLAIN[1] else math.floor(math.log10(abs(value)))
    text = _decimal(value, exponent, max(0, 2 - math.floor(math.log10(abs(value))) + exponent))
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {power_of_ten(exponent)}" if exponent else text


def power_of_ten(exponent: int) -> str:
    """ "× 10⁻⁷"."""
    return f"{TIMES} 10{str(exponent).translate(SUPERSCRIPTS)}"


def count(value: int) -> str:
    """ "1,234,567"."""
    return f"{value:,}"


def duration(seconds: Number) -> str:
    """ "0.8 ms", "12.3 s", "3 min 05 s", "2 h 07 min", "3 d 4 h"."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def _places(value: Number, interval: tuple[Number, Number] | None) -> int:
    """Decimal places worth writing; negative where even the units' digit is uncertain."""
    if interval is not None:
        ends = [v for v in interval if math.isfinite(v)]
        half = (ends[1] - ends[0]) / 2 if len(ends) == 2 else abs(value - ends[0]) if ends else 0.0
        if math.isfinite(half) and half > 0:
            return DIGITS_OF_INTERVAL - 1 - math.floor(math.log10(half))
    if not math.isfinite(value) or (value == int(value) and abs(value) < PLAIN[1]):
        return 0
    return DIGITS_ALONE - 1 - math.floor(math.log10(abs(value)))


def _decimal(value: Number, exponent: int, places: int) -> str:
    """value / 10**exponent to so many places, thousands set apart, with a true minus sign."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    # through Decimal, because 10.0**exponent is not exact and runs out for the smallest floats
    exact = Decimal(repr(float(value))).scaleb(-exponent)
    rounded = exact.quantize(Decimal(1).scaleb(-places)) + 0  # + 0 turns -0 into 0
    return f"{rounded:,f}".replace("-", MINUS)
