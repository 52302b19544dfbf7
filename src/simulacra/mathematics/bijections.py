"""Increasing maps of single elements with their inverses and log-slopes: affine, and rational-quadratic splines.

Everything works features first: x is (d, b), d elements of each of b examples, and whatever an element's map depends
on stands in a dimension between the two, (d, parameters, b). The innermost loop then runs over examples: on a CPU a
softmax over eight bins is twenty times faster there than in the last dimension.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

NARROWEST = 0.01  # share of the box that a bin has at least: no chord is steeper than 1 / NARROWEST
STEEPEST = 4.0  # log of the steepest slope at a knot; with the above, float32 stays within 1e-4 on the way back


def soft_clamp(x: Tensor, limit: float) -> Tensor:
    """x / (1 + |x| / limit): x near zero, never beyond the limit, with a slope everywhere; a fifth of a tanh's time."""
    return x / (1 + x.abs() / limit)


def affine(
    x: Float[Tensor, "d b"], raw: Float[Tensor, "d 2 b"], limit: float, reach: float
) -> tuple[Float[Tensor, "d b"], Float[Tensor, "d b"]]:
    """y = (x - shift) exp(-log_scale) and log dy/dx, nats, as Papamakarios et al. 2017, eq. 5.

    raw holds shift and log_scale; the one is clamped to +-reach, the other softly to +-limit. Once differentiable.
    """
    return cast(Any, _Affine).apply(x, raw, limit, reach)


def affine_inverse(
    y: Float[Tensor, "d b"], raw: Float[Tensor, "d 2 b"], limit: float, reach: float
) -> tuple[Float[Tensor, "d b"], Float[Tensor, "d b"]]:
    """x = y exp(log_scale) + shift and log dx/dy, nats."""
    log_scale = soft_clamp(raw[:, 1], limit)
    return y * torch.exp(log_scale) + raw[:, 0].clamp(-reach, reach), log_scale


class _Affine(Function):
    """x -> y, log dy/dx; its gradient written out takes half the time of a recorded one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor, limit: float, reach: float) -> tuple[Tensor, Tensor]:
        shift, steep = raw.unbind(1)
        flat = (steep.abs() / limit).add_(1).reciprocal_()
        log_slope = (steep * flat).neg_()
        slope = log_slope.exp()
        y = (x - shift.clamp(-reach, reach)).mul_(slope)
        ctx.save_for_backward(shift, flat, slope, y)
        ctx.reach = reach
        return y, log_slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_log: Tensor) -> tuple[Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        shift, flat, slope, y = ctx.saved_tensors
        grad_x = grad_y * slope
        by_shift = torch.where(shift.abs() <= ctx.reach, -grad_x, 0.0)
        by_steep = (grad_y * y).add_(grad_log).neg_().mul_(flat).mul_(flat)
        return grad_x, torch.stack([by_shift, by_steep], 1), None, None


# -- the rational-quadratic spline ------------------------------------------------------------------------------------


def spline_parameters(bins: int) -> int:
    """Raw numbers a spline of so many bins takes: widths, heights, slopes at the inner knots."""
    return 3 * bins - 1


def spline(
    x: Float[Tensor, "d b"], raw: Float[Tensor, "d p b"], bound: float
) -> tuple[Float[Tensor, "d b"], Float[Tensor, "d b"]]:
    """Monotone rational-quadratic spline on [-bound, bound], the identity outside; y and log dy/dx, nats.

    Durkan et al. 2019, "Neural spline flows", eq. 4 and 5 (after Gregory & Delbourgo 1982), slope 1 at both ends.
    raw holds k logits of the bins' widths, k of their heights, and k - 1 logs of the slopes at the knots between
    them; raw = 0 is the identity. Everything is bounded (``NARROWEST``, ``STEEPEST``), whatever raw is. Its gradient
    is written out, once differentiable.
    """
    return cast(Any, _Spline).apply(x, raw, bound)


def spline_inverse(
    y: Float[Tensor, "d b"], raw: Float[Tensor, "d p b"], bound: float
) -> tuple[Float[Tensor, "d b"], Float[Tensor, "d b"]]:
    """The inverse of ``spline``: x and log dx/dy, nats; by a root in which nothing cancels (``_root``)."""
    return cast(Any, _SplineInverse).apply(y, raw, bound)


class _Bins(NamedTuple):
    """Where each element lies: its bin's ends (d, 2, b), x and y; its slopes; what the gradient needs beside."""

    share: Tensor  # (d, 2, k, b), softmax of the widths' and heights' logits
    number: Tensor  # int64 (d, b), of the bin
    left: Tensor
    right: Tensor
    flat: Tensor  # (d, 2, b), what the soft clamp makes of the knots' raw log slopes, as a factor
    slope: Tensor  # (d, 2, b), at the left and the right knot


def _bins(raw: Tensor, at: Tensor, axis: int, bound: float) -> _Bins:
    """The bins of x (axis 0) or of y (axis 1); at (d, b) in [-bound, bound]."""
    d, p, b = raw.shape
    k = (p + 1) // 3
    share = raw[:, : 2 * k].reshape(d, 2, k, b).softmax(2)
    knots = raw.new_empty(d, 2, k + 1, b)
    # the ends are set, not summed up to, so that the spline meets the identity exactly
    knots[:, :, 0], knots[:, :, k] = -bound, bound
    inner = knots[:, :, 1:k]
    torch.cumsum(share[:, :, :-1], 2, out=inner)
    inner.mul_(_free(k, bound)).add_(_floor(k, bound, raw)[1:k])
    index = (at[:, None] >= inner[:, axis]).sum(1)
    here = index[:, None, None].expand(d, 2, 1, b)
    left, right = knots.gather(2, here)[:, :, 0], knots.gather(2, here + 1)[:, :, 0]
    around = torch.stack([index - 1, index], 1)
    logs = raw[:, 2 * k :].gather(1, around.clamp(0, k - 2))
    logs = logs * ((around >= 0) & (around < k - 1))
    flat = (logs.abs() / STEEPEST).add_(1).reciprocal_()
    return _Bins(share, index, left, right, flat, (logs * flat).exp_())


def _free(k: int, bound: float) -> float:
    """Length that is shared out among the bins, beyond the least that each has."""
    return 2 * bound * (1 - k * NARROWEST)


def _floor(k: int, bound: float, like: Tensor) -> Tensor:
    """Where the knots would be if every bin were as narrow as can be, (k + 1, 1)."""
    step = 2 * bound * NARROWEST
    return torch.arange(k + 1, dtype=like.dtype, device=like.device)[:, None] * step - bound


class _Local(NamedTuple):
    """The spline within a bin: t the place from 0 to 1, u = 1 - t, s the chord's slope, each (d, b)."""

    t: Tensor
    u: Tensor
    s: Tensor
    width: Tensor
    height: Tensor
    twice: Tensor  # t u
    below: Tensor  # the denominator of eq. 4
    steep: Tensor  # dy/dx = s^2 steep / below^2, eq. 5


def _local(bins: _Bins, t: Tensor, u: Tensor, s: Tensor, width: Tensor, height: Tensor) -> _Local:
    d0, d1 = bins.slope.unbind(1)
    twice = t * u
    # s + (d1 + d0 - 2 s) t u, written as a sum of positive terms
    below = s * (1 - 2 * twice) + (d0 + d1) * twice
    steep = d1 * t * t + 2 * s * twice + d0 * u * u
    return _Local(t, u, s, width, height, twice, below, steep)


def _fraction(at: _Local, bins: _Bins) -> Tensor:
    """(y - y0) / (y1 - y0), eq. 4."""
    return at.t * (at.s * at.t + bins.slope[:, 0] * at.u) / at.below


def _log_slope(at: _Local) -> Tensor:
    return (at.steep * (at.s / at.below).square()).log()


def _at_x(bins: _Bins, x: Tensor) -> _Local:
    size = bins.right - bins.left
    width, height = size.unbind(1)
    t, u = (x - bins.left[:, 0]) / width, (bins.right[:, 0] - x) / width
    return _local(bins, t, u, height / width, width, height)


def _at_y(bins: _Bins, y: Tensor) -> _Local:
    size = bins.right - bins.left
    width, height = size.unbind(1)
    v, w = (y - bins.left[:, 1]) / height, (bins.right[:, 1] - y) / height
    t, u = _root(v, w, height / width, *bins.slope.unbind(1))
    return _local(bins, t, u, height / width, width, height)


def _root(v: Tensor, w: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """The place t in its bin of the share v = 1 - w of its height; t and 1 - t.

    The quadratic of Durkan et al. 2019, eq. 6 to 8, has the discriminant g^2 + 4 s^2 v w with g = d0 w - d1 v: a sum
    of squares, which rounding cannot make negative. Of its root's two forms,

        t = 2 s v / (2 s v + g + r)   and   1 - t = 2 s w / (2 s w - g + r),   r the discriminant's square root,

    the one is taken in which g and r have the same sign, so that no digits cancel.
    """
    g = d0 * w - d1 * v
    r = (g * g + 4 * s * s * v * w).sqrt() + g.abs()
    rising = g >= 0
    near = 2 * s * torch.where(rising, v, w)
    a = near / (near + r)
    # the other distance, by the same cancellation-free quotient
    b = r / (near + r)
    return torch.where(rising, a, b), torch.where(rising, b, a)


class _Spline(Function):
    """x -> y, log dy/dx."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        within = x.clamp(-bound, bound)
        bins = _bins(raw, within, 0, bound)
        at = _at_x(bins, within)
        inside = x.abs() < bound
        y = torch.where(inside, bins.left[:, 1] + at.height * _fraction(at, bins), x)
        ctx.save_for_backward(inside, *bins, *at)
        ctx.bound = bound
        return y, _log_slope(at) * inside

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_log: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inside, bins, at = _saved(ctx)
        x, raw = _pull(bins, at, grad_y * inside, grad_log * inside, ctx.bound)
        return torch.where(inside, x, grad_y), raw, None


class _SplineInverse(Function):
    """y -> x, log dx/dy."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, raw: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        within = y.clamp(-bound, bound)
        bins = _bins(raw, within, 1, bound)
        at = _at_y(bins, within)
        inside = y.abs() < bound
        x = torch.where(inside, bins.left[:, 0] + at.width * at.t, y)
        ctx.save_for_backward(inside, *bins, *at)
        ctx.bound = bound
        return x, -_log_slope(at) * inside

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_x: Tensor, grad_log: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inside, bins, at = _saved(ctx)
        # y = F(x, raw): dx = (dy - dF/draw draw) / F', so all of x's gradient reaches y and raw through F
        grad_log = -grad_log * inside
        through = (grad_x * inside + grad_log * _log_bends(bins, at)[0] / at.width) * (at.below / at.s).square()
        through = through / at.steep
        _, raw = _pull(bins, at, -through, grad_log, ctx.bound)
        return torch.where(inside, through, grad_x), raw, None


def _saved(ctx: Any) -> tuple[Tensor, _Bins, _Local]:
    saved: tuple[Tensor, ...] = ctx.saved_tensors
    inside, rest = saved[0], saved[1:]
    split = len(_Bins._fields)
    return inside, _Bins(*rest[:split]), _Local(*rest[split:])


def _log_bends(bins: _Bins, at: _Local) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of log dy/dx by t, s, d0 and d1."""
    d0, d1 = bins.slope.unbind(1)
    t, u, s, twice = at.t, at.u, at.s, at.twice
    over, under = 1 / at.steep, 2 / at.below
    by_t = 2 * (d1 * t - d0 * u + s * (u - t)) * over - (u - t) * (d0 + d1 - 2 * s) * under
    by_s = 2 / s + 2 * twice * over - (1 - 2 * twice) * under
    return by_t, by_s, u * u * over - twice * under, t * t * over - twice * under


def _pull(bins: _Bins, at: _Local, grad_y: Tensor, grad_log: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Gradients by x and by raw of grad_y . y + grad_log . log dy/dx."""
    t, s = at.t, at.s
    share, grad_share = _fraction(at, bins), grad_y * at.height / at.below
    by_t, by_s, by_d0, by_d1 = (grad_log * bend for bend in _log_bends(bins, at))
    by_t = by_t + grad_share * s * at.steep / at.below
    by_s = by_s + grad_share * (t * t - share * (1 - 2 * at.twice))
    by_d0 = by_d0 + grad_share * at.twice * (1 - share)
    by_d1 = by_d1 - grad_share * at.twice * share
    grad_x = by_t / at.width
    by_s = by_s / at.width
    by_width, by_height = -(by_t * t) / at.width - by_s * s, grad_y * share + by_s
    left = torch.stack([-grad_x - by_width, grad_y - by_height], 1)
    right = torch.stack([by_width, by_height], 1)
    slopes = torch.stack([by_d0, by_d1], 1) * bins.slope * bins.flat.square()
    return grad_x, _pull_raw(bins, left, right, slopes, bound)


def _pull_raw(bins: _Bins, left: Tensor, right: Tensor, slopes: Tensor, bound: float) -> Tensor:
    """The gradient by raw (d, p, b) from those by the bin's ends (d, 2, b) and by its knots' raw log slopes."""
    d, _, k, b = bins.share.shape
    free, index = _free(k, bound), bins.number[:, None]
    # a knot is the sum of the shares before it, the last one excepted, which stays where it is
    right = right * (index < k - 1)
    floor = _floor(k, bound, left)[:, 0]
    mean = left * (bins.left - floor[index]) + right * (bins.right - floor[index + 1])  # free . sum of share . gradient
    raw = left.new_zeros(d, 3 * k - 1, b)
    by_share = raw[:, : 2 * k].view(d, 2, k, b)
    place = torch.arange(k, device=left.device)[:, None]
    before, here = place < index[:, None], place == index[:, None]
    both = torch.where(before, (free * (left + right))[:, :, None], 0.0)
    torch.where(here, (free * right)[:, :, None], both, out=by_share)
    by_share.sub_(mean[:, :, None])
    by_share.mul_(bins.share)
    padded = left.new_zeros(d, k + 1, b)
    padded.scatter_(1, torch.cat([index, index + 1], 1), slopes)
    raw[:, 2 * k :] = padded[:, 1:-1]
    return raw


def check_bins(bins: int) -> None:
    """Raise ValueError where a spline cannot have so many bins."""
    most = math.floor(0.5 / NARROWEST)
    if not 2 <= bins <= most:
        raise ValueError(f"bins must lie in 2 .. {most}, so that half the box at least is free; got {bins}")
