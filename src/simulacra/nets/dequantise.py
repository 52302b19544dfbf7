"""Between examples and points of R^d: what a flow needs on either side of its bijection.

Values on levels are spread over the cells around them, so that a density has something to be a density of. With u in
[0, 1) drawn from q(u | x) in every cell and p the density of the spread value in units of a cell,

    log P(x) = log integral p(x + u) du  >=  E_q [log p(x + u) - log q(u | x)]    (Ho et al. 2019, Flow++, eq. 12)

which for the uniform q = 1 is that of Theis et al. 2016, section 3.1: a lower bound, of the levels' own probability.
Real values are not touched: their density is exact. Then a chart takes each field onto the whole line, so that no
density is spent outside a field's range: a logit between two ends, the inverse of a softplus above (or below) one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.likelihood import Kind
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.nets.continuum import Continuum


@runtime_checkable
class Dequantiser(Protocol):
    """Draws where in its cell each value lies: a function, or a module that learns to (variational dequantisation)."""

    def __call__(self, f: Continuous, index: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Level indices as whole floats (b, *shape) -> u in [0, 1), alike, and log q(u | index), nats (b,)."""
        ...


def uniform(f: Continuous, index: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """Anywhere in the cell, every place as likely: log q = 0."""
    # numbers are multiples of 2**-24: half a step keeps them off the cell's edge, where a logit is infinite
    u = rng.uniform(index.shape, dtype=index.dtype, device=index.device) + 2.0**-25
    return u.clamp_max(1 - 2.0**-24), index.new_zeros(len(index))


def middle(f: Continuous, index: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """The middle of the cell. It bounds nothing: it is for codes, which want no draw."""
    return torch.full_like(index, 0.5), index.new_zeros(len(index))


@runtime_checkable
class Chart(Protocol):
    """A field's range onto the whole line, element by element, increasing."""

    def inward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values (b, *shape) -> u alike, and log |det du/dx|, nats (b,)."""
        ...

    def outward(self, u: Tensor) -> Tensor:
        """u (b, *shape) -> values, inside the range; differentiable."""
        ...


@dataclass(frozen=True)
class Standardised:
    """u = (x - centre) / scale."""

    field: Continuous

    def inward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.field
        log_det = x.new_full((len(x),), -math.log(f.scale) * math.prod(f.shape))
        return (x if (f.centre, f.scale) == (0.0, 1.0) else (x - f.centre) / f.scale), log_det

    def outward(self, u: Tensor) -> Tensor:
        f = self.field
        return u if (f.centre, f.scale) == (0.0, 1.0) else u * f.scale + f.centre


class Logit:
    """u = (log(p / (1 - p)) - a) / b with p = (x - low) / (high - low), a and b such that u is near zero and unit.

    An end of the range lies at infinity; values nearer to it than the dtype resolves are moved that far away.
    """

    def __init__(self, f: Continuous) -> None:
        self.field, self.range = f, f.high - f.low
        centre = min(max((f.centre - f.low) / self.range, 0.02), 0.98)
        self.shift = math.log(centre / (1 - centre))
        self.width = min(max(f.scale / (self.range * centre * (1 - centre)), 0.25), 4.0)  # the slope at the centre

    def inward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f, nearest = self.field, torch.finfo(x.dtype).eps
        # both distances are taken from their own end: 1 - p would lose the upper one
        below = ((x - f.low) / self.range).clamp_min(nearest).log()
        above = ((f.high - x) / self.range).clamp_min(nearest).log()
        each = -(below + above) - math.log(self.range * self.width)
        return (below - above - self.shift) / self.width, each.reshape(len(x), -1).sum(1)

    def outward(self, u: Tensor) -> Tensor:
        f = self.field
        return (f.low + self.range * torch.sigmoid(u * self.width + self.shift)).clamp(f.low, f.high)


class SoftplusInverse:
    """u = log(exp(w) - 1) - a with w = |x - end| / scale: logarithmic near the one end there is, straight far from it.

    sign  1 where the end is the lower one, -1 where it is the upper one (u then falls as w rises).
    """

    def __init__(self, f: Continuous) -> None:
        self.field = f
        self.end, self.sign = (f.low, 1.0) if math.isfinite(f.low) else (f.high, -1.0)
        centre = max(self.sign * (f.centre - self.end) / f.scale, 0.5)
        self.shift = centre + math.log(-math.expm1(-centre))

    def inward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.field
        w = (self.sign / f.scale * (x - self.end)).clamp_min(torch.finfo(x.dtype).eps)
        slope = torch.log(-torch.expm1(-w))  # minus the log of du/dw
        return self.sign * (w + slope - self.shift), (-slope - math.log(f.scale)).reshape(len(x), -1).sum(1)

    def outward(self, u: Tensor) -> Tensor:
        f = self.field
        w = F.softplus(self.sign * u + self.shift)
        return (self.end + self.sign * f.scale * w).clamp(f.low, f.high)


def by_range(f: Continuous) -> Chart:
    """The chart that leaves no density outside a field's range: by how many ends it has."""
    return (Standardised, SoftplusInverse, Logit)[_ends(f)](f)


def numbered(space: Space) -> Space:
    """The space with categories as levels 0 .. k-1, near zero mean and unit variance after the chart of a range."""
    fields = {
        name: Continuous(
            low=0.0, high=max(1.0, f.k - 1.0), levels=max(2, f.k), shape=f.shape, varying=f.varying,
            centre=max(1.0, f.k - 1.0) / 2, scale=max(2, f.k) / 4,
        ) if isinstance(f, Categorical) else f
        for name, f in space.fields.items()
    }  # fmt: skip
    return replace(space, fields=fields)


class Reals:
    """Examples of a space as points u of R^d, near zero mean and unit variance; categories are ``numbered``.

    chart   (field) -> its chart. ``by_range`` keeps to the range; ``Standardised`` leaves it open, as flows for
            pictures often do: the density that lies outside is then lost, and what is left bounds from below.
    event   shape of a point: of the one field, or (d,) where there are several.
    kind    of the log-likelihoods that come of it: "bound" where a field has levels, or a chart reaches beyond it.

    Raises ValueError, naming its ``user``, for varying or missing fields.
    """

    def __init__(self, space: Space, user: str, chart: Callable[[Continuous], Chart] = by_range) -> None:
        self.continuum = Continuum.of(numbered(space), user)
        self.categories = frozenset(name for name, f in space.fields.items() if isinstance(f, Categorical))
        self.charts = {name: chart(_cells(f)) for name, f in self.continuum.fields.items()}
        self.event = self.continuum.event
        fields = self.continuum.fields
        self.levels = any(f.levels is not None for f in fields.values())
        beyond = any(isinstance(c, Standardised) and _ends(fields[name]) for name, c in self.charts.items())
        self.kind: Kind = "bound" if self.levels or beyond else "exact"

    def spread(self, x: Values, rng: Rng, dequantiser: Dequantiser = uniform) -> tuple[Values, Tensor]:
        """Values on levels spread over their cells, and what it adds to the log density, nats (b,).

        log P(x) >= log p(spread) + added, in expectation: the added is the cells' log volume less log q.
        """
        x = self._floats(x)
        if not self.levels:
            first = x if isinstance(x, Tensor) else next(iter(x.values()))
            return x, first.new_zeros(len(first))
        found: dict[str, Tensor] = {}
        added: list[Tensor] = []
        for name, f in self.continuum.fields.items():
            found[name] = x if isinstance(x, Tensor) else x[name]
            if f.levels is not None:
                index = f.index(found[name])
                u, log_q = dequantiser(f, index, rng(name))
                found[name] = f.value(index + (u - 0.5))
                added.append(math.prod(f.shape) * math.log(f.spacing) - log_q)
        return (next(iter(found.values())) if isinstance(x, Tensor) else found), torch.stack(added).sum(0)

    def inward(self, x: Values) -> tuple[Tensor, Tensor]:
        """Values, spread or real -> u (b, *event), and log |det du/dx|, nats (b,)."""
        x = self._floats(x)
        parts = [chart.inward(x if isinstance(x, Tensor) else x[name]) for name, chart in self.charts.items()]
        if len(parts) == 1:
            return parts[0][0].reshape(-1, *self.event), parts[0][1]
        return torch.cat([u.flatten(1) if u.ndim > 1 else u[:, None] for u, _ in parts], 1), sum(d for _, d in parts)  # type: ignore[return-value]

    def outward(self, u: Tensor) -> Values:
        """u (b, *event) -> values within the fields' cells, not rounded; differentiable."""
        sizes = [math.prod(f.shape) for f in self.continuum.fields.values()]
        parts = [u] if len(sizes) == 1 else u.split(sizes, dim=1)
        named = {
            name: chart.outward(part.reshape(-1, *self.continuum.fields[name].shape))
            for (name, chart), part in zip(self.charts.items(), parts, strict=True)
        }
        return named if len(named) > 1 else next(iter(named.values()))

    def decoded(self, u: Tensor) -> Values:
        """u (b, *event) -> values as data has them: on their levels, inside their range."""
        return self.settled(self.outward(u))

    def inside(self, x: Values) -> Values:
        """Spread values moved to the nearest inside the fields' range, not rounded: the outermost cells reach out.

        Categories are whole.
        """
        return self._each(x, lambda f, value: value.clamp(f.low, f.high))

    def settled(self, x: Values) -> Values:
        """Spread values back on their levels, and inside their range."""
        return self._each(x, _settle)

    def _each(self, x: Values, settle: Callable[[Continuous, Tensor], Tensor]) -> Values:
        def settled(name: str, f: Continuous, value: Tensor) -> Tensor:
            return _settle(f, value).long() if name in self.categories else settle(f, value)

        if isinstance(x, Tensor):
            return settled(*next(iter(self.continuum.fields.items())), x)
        return {name: settled(name, f, x[name]) for name, f in self.continuum.fields.items()}

    def _floats(self, x: Values) -> Values:
        """Categories, int64, as floats like the other fields."""
        if not self.categories:
            return x
        given = [x] if isinstance(x, Tensor) else list(x.values())
        dtype = next((v.dtype for v in given if v.is_floating_point()), torch.get_default_dtype())
        if isinstance(x, Tensor):
            return x.to(dtype)
        return {name: value.to(dtype) if name in self.categories else value for name, value in x.items()}

    def check(self, x: Values) -> None:
        """Raise ValueError where x is not examples of the space: shape, dtype, numbers, range, levels."""
        for name, f in self.continuum.fields.items():
            value = x if isinstance(x, Tensor) else x.get(name)
            if value is None:
                raise ValueError(f"x has no field {name!r}; expected {list(self.continuum.fields)}")
            if name in self.categories:
                _check_categories(name, f, value)
            else:
                _check(name, f, value)


def _ends(f: Continuous) -> int:
    return math.isfinite(f.low) + math.isfinite(f.high)


def _cells(f: Continuous) -> Continuous:
    """A field's range with its outermost levels' cells whole, and without levels."""
    return f if f.levels is None else replace(f, low=f.low - f.spacing / 2, high=f.high + f.spacing / 2, levels=None)


def _settle(f: Continuous, x: Tensor) -> Tensor:
    return f.value(f.index(x)) if f.levels is not None else x.clamp(f.low, f.high)


def _check_categories(name: str, f: Continuous, x: Tensor) -> None:
    if x.shape[1:] != f.shape or x.dtype != torch.int64:
        raise ValueError(f"{name} must be int64 of shape {('n', *f.shape)}; got {x.dtype} of shape {tuple(x.shape)}")
    if not x.numel() or x.device.type != "cpu":
        return
    if int(x.min()) < 0 or int(x.max()) > f.high:
        raise ValueError(f"{name} must lie in 0 .. {f.high:g}; got {int(x.min())} .. {int(x.max())}")


def _check(name: str, f: Continuous, x: Tensor) -> None:
    if x.shape[1:] != f.shape or not x.is_floating_point():
        raise ValueError(f"{name} must be floats of shape {('n', *f.shape)}; got {x.dtype} of shape {tuple(x.shape)}")
    if not x.numel() or x.device.type != "cpu":  # looked at only where looking does not make a device wait
        return
    low, high = float(x.min()), float(x.max())
    slack = 1e-3 * f.spacing if f.levels is not None else 0.0
    # written so that NaN is outside too
    if not (low >= f.low - slack and high <= f.high + slack and math.isfinite(high - low)):
        raise ValueError(f"{name} must be finite and lie in [{f.low:g}, {f.high:g}]; got values in [{low:g}, {high:g}]")
    if f.levels is not None:
        off = float((f.value(f.index(x)) - x).abs().max())
        if off > slack:
            raise ValueError(f"{name} must lie on its {f.levels} levels; got a value off by {off:.3g}")
