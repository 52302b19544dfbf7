"""How many raters and trials a study needs to see an effect of a given size.

Answers of one rater resemble one another, so n answers of m each are worth n / (1 + (m - 1) rho) independent ones
(Kish 1965, section 5.4): beyond some length a longer session buys little, and more raters are what helps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one length of session asks for: raters, answers in all, and the design effect behind it."""

    each: int
    raters: int
    answers: int
    design_effect: float


def check(power: float, level: float, rho: float) -> None:
    """ValueError for what is no probability, or no correlation within raters."""
    for name, value in (("power", power), ("level", level)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is a probability, above 0 and below 1; got {value:g}")
    if not 0 <= rho < 1:
        raise ValueError(f"rho, the correlation of one rater's answers, lies in 0 .. 1; got {rho:g}")


def of_share(share: float, *, against: float = 0.5, power: float = 0.8, level: float = 0.95) -> float:
    """Independent answers needed to tell a true share from another, two-sided, by the normal approximation.

    n = ((z_(1 - a/2) sqrt(p0 q0) + z_power sqrt(p1 q1)) / (p1 - p0))^2 (Fleiss, Levin & Paik 2003, eq. 2.18, before
    its correction for continuity).
    """
    if not (0 < share < 1 and 0 < against < 1) or share == against:
        raise ValueError(
            f"two different shares above 0 and below 1 are to be told apart; got {share:g} and {against:g}"
        )
    a, b = stats.norm.ppf(0.5 + level / 2), stats.norm.ppf(power)
    top = a * math.sqrt(against * (1 - against)) + b * math.sqrt(share * (1 - share))
    return float((top / (share - against)) ** 2)


def of_difference(effect: float, *, power: float = 0.8, level: float = 0.95) -> float:
    """Independent ratings of each system needed to tell two means apart, two-sided.

    effect  their difference over the deviation of one rating. n = 2 ((z_(1 - a/2) + z_power) / effect)^2.
    """
    if effect == 0 or not math.isfinite(effect):
        raise ValueError(f"the effect is a difference of means over a rating's deviation, not 0; got {effect:g}")
    return float(2 * ((stats.norm.ppf(0.5 + level / 2) + stats.norm.ppf(power)) / effect) ** 2)


def needs(independent: float, rho: float, sessions: tuple[int, ...] = (5, 10, 20, 40, 80)) -> list[Need]:
    """What sessions of these many trials a group ask for, given how many independent answers are needed of it."""
    found = []
    for each in sessions:
        effect = 1 + (each - 1) * rho
        raters = max(2, math.ceil(independent * effect / each))
        found.append(Need(each=each, raters=raters, answers=raters * each, design_effect=effect))
    return found


def correlation(sd_rater: float) -> float:
    """rho of answers near one half whose raters differ by this deviation on the logit scale.

    A rater's own share then has deviation sd / 4 about the mean, and an answer's variance is 1 / 4 (delta method).
    """
    return min(0.999, sd_rater**2 / (4 + sd_rater**2))
