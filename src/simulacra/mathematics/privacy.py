"""What noisy training gives away: epsilon of the subsampled Gaussian mechanism composed many times, from above.

One step takes every example with probability q, sums a vector of norm at most 1 for each that is taken, and adds
N(0, sigma^2 I). Neighbouring data sets differ by one example that one of them has and the other has not. The pair of
distributions that tells them apart best is N(0, sigma^2) and (1 - q) N(0, sigma^2) + q N(1, sigma^2) (Mironov, Talwar
& Zhang 2019, theorem 4), in either order; the privacy loss of T steps is the sum of T independent losses of one.

The loss of a step is put onto a grid so that its hockey-stick curve lies on or above the true one everywhere and meets
it on the grid (Doroshenko, Ghazi, Kamath, Kumar & Manurangsi 2022, "Connect the dots: tighter discrete approximations
of privacy loss distributions"): the composed epsilon is never too small, but for the rounding of float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special as special_  # pyright: ignore[reportMissingTypeStubs]

special: Any = special_  # its functions carry no types
Array = np.ndarray[Any, np.dtype[Any]]

POINTS = 1 << 17  # of the grid on which losses are composed
COARSE = 1 << 13  # of the grid on which a noise multiplier is sought, before the last steps on the fine one
LEAST_DELTA = 1e-10  # below it, the rounding of the composition could be felt
TAIL = 1e-3  # of delta: what may be cut off a step's losses, all steps together, and is counted as lost
CLOSE = 1e-3  # relative error of a noise multiplier that is solved for, upwards


@dataclass(frozen=True)
class _Losses:
    """Privacy losses of one step: mass (k,) at (first + 0 .. k - 1) width, and what is infinitely large."""

    mass: Array
    first: int
    width: float
    infinite: float


def epsilon(noise: float, rate: float, steps: int, delta: float, *, points: int = POINTS) -> float:
    """The least epsilon known to hold: (epsilon, delta) of ``steps`` steps, infinite where none is found.

    noise  standard deviation of the noise over the clipping norm; rate: each example's chance to be in a batch.
    Raises ValueError for values outside their ranges.
    """
    _check(noise, rate, steps, delta)
    return 0.0 if steps == 0 else max(_one_way(noise, rate, steps, delta, points, added) for added in (False, True))


@lru_cache(maxsize=64)
def noise_for(epsilon_: float, rate: float, steps: int, delta: float) -> float:
    """The least noise multiplier, to a thousandth, with which ``steps`` steps are (epsilon, delta)-private.

    Raises ValueError for values outside their ranges, and where no noise up to 10,000 suffices.
    """
    _check(1.0, rate, max(steps, 1), delta)
    if not 0 < epsilon_ < math.inf:
        raise ValueError(f"epsilon must be positive and finite; got {epsilon_}")
    low, high = 1e-2, 1e4
    for points in (COARSE, POINTS):
        while not epsilon(high, rate, steps, delta, points=points) <= epsilon_:
            if high >= 1e4:
                raise ValueError(
                    f"no noise makes {steps} steps private to epsilon = {epsilon_:g} at delta = {delta:g};"
                    " take fewer steps, a smaller batch or a larger epsilon"
                )
            low, high = high, high * (1 + 4 * CLOSE)
        while high / low > 1 + CLOSE:
            middle = math.sqrt(low * high)
            enough = epsilon(middle, rate, steps, delta, points=points) <= epsilon_
            low, high = (low, middle) if enough else (middle, high)
        # the finer grid needs a little less noise: look just below, and go up again where that is too little
        low, high = high * (1 - 8 * CLOSE), high
    return high


def _check(noise: float, rate: float, steps: int, delta: float) -> None:
    if not 0 < noise < math.inf:
        raise ValueError(f"the noise multiplier must be positive; got {noise}")
    if not 0 < rate <= 1:
        raise ValueError(f"an example is in a batch with a probability in (0, 1]; got {rate}")
    if steps < 0:
        raise ValueError(f"steps must not be negative; got {steps}")
    if not LEAST_DELTA <= delta < 1:
        raise ValueError(f"delta must lie in [{LEAST_DELTA:g}, 1); got {delta}")


@lru_cache(maxsize=64)
def _one_way(noise: float, rate: float, steps: int, delta: float, points: int, added: bool) -> float:
    cut = TAIL * delta
    reach = _reach(noise, rate, steps, cut, added)
    width = 2 * reach / points
    step = _losses(noise, rate, width, cut / steps, added)
    if len(step.mass) > points:
        return math.inf  # one step alone says more than the grid holds
    wheel = np.zeros(points)
    wheel[(step.first + np.arange(len(step.mass))) % points] = step.mass
    composed = np.fft.irfft(np.fft.rfft(wheel) ** steps, points).clip(min=0.0)
    # what lies beyond the reach comes back on the other side: above it is bounded and counted, below it does no harm
    lost = 1 - (1 - step.infinite) ** steps + cut
    order = np.arange(-points // 2, points // 2)
    return _epsilon_of(composed[order % points], order * width, delta - lost)


def _epsilon_of(mass: Array, loss: Array, delta: float) -> float:
    """The least epsilon >= 0 with sum over l > epsilon of mass (1 - e^(epsilon - l)) <= delta; infinite if none."""
    if delta <= 0:
        return math.inf
    keep = loss > 0
    mass, loss = mass[keep], loss[keep]
    above = np.cumsum(mass[::-1])[::-1]  # at and above each point
    scaled = np.cumsum((mass * np.exp(-loss))[::-1])[::-1]
    here = np.append(above[1:], 0.0) - np.exp(loss) * np.append(scaled[1:], 0.0)  # delta with epsilon at each point
    if above[0] - scaled[0] <= delta:
        return 0.0
    fits = np.flatnonzero(here <= delta)
    if not len(fits) or fits[0] == len(loss) - 1:
        return math.inf
    at = int(fits[0])
    # between two points of the grid the curve is linear in e^epsilon
    return min(float(loss[at]), math.log(max(above[at] - delta, 1.0 * scaled[at]) / scaled[at]))


def _losses(noise: float, rate: float, width: float, cut: float, added: bool) -> _Losses:
    """The losses of one step on a grid, from above; at most ``cut`` of their mass is counted as infinite."""
    low, high = _ends(noise, rate, cut, added)
    first, last = math.floor(low / width), math.ceil(high / width) + 1
    loss = width * np.arange(first, last + 1)
    p, q = _masses(loss, noise, rate, added)  # before the first point, between points, above the last
    inside_p, inside_q = p[1:-1], q[1:-1]
    # each part goes to its two ends with its mass kept under both distributions
    right = (inside_p - np.exp(loss[:-1]) * inside_q) / -math.expm1(-width)
    right = right.clip(0.0, inside_p)
    mass = np.zeros(len(loss))
    mass[1:] += right
    mass[:-1] += inside_p - right
    mass[0] += p[0]
    return _Losses(mass=mass, first=first, width=width, infinite=float(p[-1]))


def _masses(loss: Array, noise: float, rate: float, added: bool) -> tuple[Array, Array]:
    """Masses of the intervals that these losses bound, (k + 1,), under both distributions of the pair.

    added  the pair is (without, with the example), and the loss falls as x grows; else (with, without), and it rises.
    """
    x = _where(-loss if added else loss, noise, rate)
    without = _between(x / noise)
    present = (1 - rate) * without + rate * _between((x - 1) / noise)
    return (without[::-1], present[::-1]) if added else (present, without)


def _between(z: Array) -> Array:
    """Masses of N(0, 1) below, between and above points that rise, or fall: in the order of rising points."""
    z = z if z[0] <= z[-1] else z[::-1]
    lower, upper = special.ndtr(z), special.ndtr(-z)
    # differences of whichever tail is smaller keep their digits
    inner, right = lower[1:] - lower[:-1], z[:-1] > 0
    inner[right] = (upper[:-1] - upper[1:])[right]
    return np.concatenate([lower[:1], inner.clip(min=0.0), upper[-1:]])


def _where(loss: Array, noise: float, rate: float) -> Array:
    """x at which log((1 - q) + q exp((2 x - 1) / (2 sigma^2))) has these values; minus infinity where it has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # log((e^l - 1 + q) / q), for large l without e^l
        large = loss + np.log1p(-(1 - rate) * np.exp(-np.maximum(loss, 0.0)))
        small = np.log((np.expm1(np.minimum(loss, 0.0)) + rate).clip(min=0.0))
        inner = np.where(loss > 0, large, small) - math.log(rate)
    return noise**2 * inner + 0.5


def _ends(noise: float, rate: float, cut: float, added: bool) -> tuple[float, float]:
    """Losses between which all but at most ``cut`` of the mass lies, above and below each."""
    z = float(-special.ndtri(cut)) if cut > 1e-300 else 37.0
    low, high = -z * noise, (0.0 if added else 1.0) + z * noise

    def loss(x: float) -> float:
        return float(
            np.logaddexp(math.log1p(-rate) if rate < 1 else -math.inf, math.log(rate) + (2 * x - 1) / (2 * noise**2))
        )

    return (-loss(high), -loss(low)) if added else (loss(low), loss(high))


def _reach(noise: float, rate: float, steps: int, cut: float, added: bool) -> float:
    """A loss that the sum over ``steps`` steps exceeds with probability at most ``cut``: Chernoff's bound.

    Of losses on a coarse grid of one step, whose bound holds for finer ones as they are smaller.
    """
    low, high = _ends(noise, rate, cut / steps, added)
    step = _losses(noise, rate, (high - low) / 4000, cut / steps, added)
    at = step.width * (step.first + np.arange(len(step.mass)))
    best = math.inf
    with np.errstate(divide="ignore"):
        logs = np.log(step.mass)
    for order in np.geomspace(1e-2, 1e4, 61):
        moment = float(special.logsumexp(logs + order * at))
        best = min(best, (steps * moment - math.log(cut)) / order)
    spread = 12 * math.sqrt(steps * float(((at - step.mass @ at) ** 2) @ step.mass))
    return max(1.05 * best, spread, high, -low) + step.width
