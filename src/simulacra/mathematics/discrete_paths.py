"""Paths from categories to noise: an element keeps its value with probability kept(t), or is drawn anew from a law.

    q(x_t | x_0) = kept(t) [x_t = x_0] + lost(t) law(x_t),      kept + lost = 1, lost(0) = 0, lost(1) = 1

Austin et al. 2021, "Structured denoising diffusion models in discrete state-spaces" (D3PM), section 3. With all of the
law on one further state, the mask, noise absorbs: masked diffusion, Sahoo et al. 2024 (MDLM), Shi et al. 2024. With
every category as likely it is uniform: Lou et al. 2024 (SEDD), Schiff et al. 2025 (UDLM).

Everything below needs one thing of a network: its *belief* b(x_0) about an element given the noisy others. What the
element itself still tells is added by Bayes' rule: p(x_0 | x_t) is b(x_0) q(x_t | x_0), normalised.

Values are int64 of any shape (...), beliefs (..., states), a law (states,) or one for each element, (n, states).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from simulacra.core.randomness import Rng


class Level(NamedTuple):
    """How much noise there is: the shares of elements that kept their value and that lost it; shapes alike.

    Both, because near either end rounding leaves nothing of one minus the other.
    """

    kept: Tensor
    lost: Tensor

    def beside(self, elements: Tensor) -> Level:
        """(b,) or () as (b, 1) or (1, 1), for tensors (b, n, ...) in the precision of ``elements``."""
        return Level(*(t.to(elements.dtype).reshape(-1, *[1] * (elements.ndim - 1)) for t in self))


@runtime_checkable
class Schedule(Protocol):
    """How noise grows with t in [0, 1]; tensors of one shape in and out."""

    def level(self, t: Tensor) -> Level: ...

    def rate(self, t: Tensor) -> Tensor:
        """d lost / dt."""
        ...


@dataclass(frozen=True, kw_only=True)
class Straight:
    """lost = t: Austin et al. 2021, section 3.1 (beta_t = 1 / (T - t + 1)); "log-linear" in Lou et al. 2024."""

    def level(self, t: Tensor) -> Level:
        return Level(1 - t, t)

    def rate(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)


@dataclass(frozen=True, kw_only=True)
class Eased:
    """lost = t^2: evenly drawn times whose draws of the bound vary least.

    A draw's square is about n / lost in expectation, an event as rare as lost that counts 1 / lost; times drawn as its
    root, lost^(-1/2), are best (importance sampling), and keep the spread finite where even ones do not.
    """

    def level(self, t: Tensor) -> Level:
        return Level((1 - t) * (1 + t), t.square())

    def rate(self, t: Tensor) -> Tensor:
        return 2 * t


@dataclass(frozen=True, kw_only=True)
class Sine:
    """lost = sin(pi t / 2): backwards, few elements at first (the cosine schedule of Chang et al. 2022, MaskGIT)."""

    def level(self, t: Tensor) -> Level:
        # 1 - sin(pi t / 2) in the form that does not cancel
        return Level(2 * torch.sin(math.pi / 4 * (1 - t)).square(), torch.sin(math.pi / 2 * t))

    def rate(self, t: Tensor) -> Tensor:
        return math.pi / 2 * torch.cos(math.pi / 2 * t)


@runtime_checkable
class Noise(Protocol):
    """What values that are lost become."""

    def law(self, k: Sequence[int]) -> Tensor:
        """The law of elements of k values each, float64 (n, states); values 0 .. k-1 are states 0 .. k-1."""
        ...

    def noised(self, x: Tensor, law: Tensor, level: Level, rng: Rng) -> Tensor:
        """A draw from q(x_t | x_0) for values (b, n) at levels (b,)."""
        ...

    def held(self, x: Tensor, law: Tensor, level: Level, rng: Rng) -> Tensor:
        """What elements whose value is known are shown as at this level, (b, n)."""
        ...

    def missed(self, x: Tensor, noisy: Tensor, log_belief: Tensor, law: Tensor, level: Level) -> Tensor:
        """``path_divergence``, (b, n), of values and their noisy states (b, n) at levels (b,)."""
        ...

    def shown(self, level: Level) -> Tensor:
        """What a network is told of the level, (b,)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Absorbing:
    """Lost values become the mask, the last state: D3PM's absorbing diffusion; masked diffusion.

    The level tells a network nothing that the masks do not: beliefs do not depend on it (Ou et al. 2024, theorem 1).
    """

    def law(self, k: Sequence[int]) -> Tensor:
        law = torch.zeros(len(k), max(k) + 1, dtype=torch.float64)
        law[:, -1] = 1
        return law

    def noised(self, x: Tensor, law: Tensor, level: Level, rng: Rng) -> Tensor:
        lost = level.lost.to(torch.float32).reshape(-1, 1).expand(x.shape)
        return x.masked_fill(rng("lost").bernoulli(lost), law.shape[-1] - 1)

    def held(self, x: Tensor, law: Tensor, level: Level, rng: Rng) -> Tensor:
        """The values themselves: to the rest of the chain they are elements that have been decided already."""
        return x

    def missed(self, x: Tensor, noisy: Tensor, log_belief: Tensor, law: Tensor, level: Level) -> Tensor:
        # of the general sum one term is left: a cross-entropy over the share that is lost (Sahoo et al. 2024, eq. 10)
        nats = -log_belief.gather(-1, x[..., None])[..., 0]
        masked = noisy == law.shape[-1] - 1
        return torch.where(masked, nats, 0.0) / level.beside(nats).lost

    def shown(self, level: Level) -> Tensor:
        return torch.zeros_like(level.lost)


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Lost values become any value, each as likely: every element may still change until the end."""

    def law(self, k: Sequence[int]) -> Tensor:
        sizes = torch.tensor(list(k), dtype=torch.float64)[:, None]
        return torch.where(torch.arange(max(k)) < sizes, 1 / sizes, 0.0)

    def noised(self, x: Tensor, law: Tensor, level: Level, rng: Rng) -> Tensor:
        lost = level.lost.to(torch.float32).reshape(-1, 1).expand(x.shape)
        anew = chosen(law, rng("value").uniform(x.shape, dtype=torch.float32, device=x.device))
        return torch.where(rng("lost").bernoulli(lost), anew, x)

    def held(self, x: Tensor, law: Tensor, level: Level, rng: Rng) -> Tensor:
        """The values with the noise of this level, as a network has learnt to see them."""
        return self.noised(x, law, level, rng)

    def missed(self, x: Tensor, noisy: Tensor, log_belief: Tensor, law: Tensor, level: Level) -> Tensor:
        return path_divergence(x, noisy, log_belief, law, level)

    def shown(self, level: Level) -> Tensor:
        return level.lost


def forward(belief: Tensor, law: Tensor, level: Level) -> Tensor:
    """q(x_t) where x_0 is distributed as a belief, (..., states); level broadcasts against it."""
    return level.kept * belief + level.lost * law


def posterior(noisy: Tensor, belief: Tensor, law: Tensor, now: Level, then: Level) -> Tensor:
    """p(x_s | x_t) of an earlier level ``then`` given states at ``now`` and a belief, (..., states).

    With the belief all on one value this is q(x_s | x_t, x_0), Austin et al. 2021, eq. 3. Levels broadcast against
    beliefs; kept is positive at ``then``.
    """
    here = _one_hot(noisy, belief)
    stay = now.kept / then.kept
    move = (now.lost - then.lost) / then.kept  # 1 - stay
    into = stay * here + move * _at(law.expand_as(belief), noisy)  # q(x_t | x_s), as a function of x_s
    found = into * forward(belief, law, then)
    total = found.sum(-1, keepdim=True)
    # a belief that rules out what is seen there says nothing: it stays
    return torch.where(total > 0, found / total.clamp(min=torch.finfo(total.dtype).tiny), here)


def path_divergence(x: Tensor, noisy: Tensor, log_belief: Tensor, law: Tensor, level: Level) -> Tensor:
    """How fast the path back from x_t by beliefs leaves that which leads to x_0, nats for each unit of lost, (b, n).

    Its integral over lost from 0 to 1, in expectation over q(x_t | x_0), summed over the elements, is the divergence of
    the two paths: an upper bound of -log p(x_0), Campbell et al. 2022, proposition 2; equal to it where the beliefs are
    the truth. Back, a state jumps from x_t to y at the rate beta law(x_t) g(y), g(y) = q(y | x_0) / q(x_t | x_0) the
    ratio that Lou et al. 2024 call the concrete score, so that with beta dt = d lost / kept it is

        law(x_t) / kept  sum over y != x_t of  g'(y) - g(y) + g(y) log(g(y) / g'(y)),        g' that of the belief.

    Elements and states (b, n) and (b, n, states), level (b,).
    """
    wide = level.beside(log_belief)
    truth = forward(_one_hot(x, log_belief), law.to(log_belief.dtype), wide)
    guess = forward(log_belief.exp(), law.to(log_belief.dtype), wide)
    weight = _at(law.to(log_belief.dtype).expand_as(truth), noisy)
    here = _at(truth, noisy)
    possible = weight > 0  # elsewhere nothing was lost, and nothing can jump
    tiny = torch.finfo(truth.dtype).tiny
    g = truth / torch.where(possible, here, 1.0)
    ratio = guess / _at(guess, noisy).clamp(min=tiny)
    # with r = g' / g the term is g (r - 1 - log r): no difference of large numbers, and never below 0
    r = torch.where(g > 0, ratio / torch.where(g > 0, g, 1.0), 1.0)
    log = torch.where((r - 1).abs() < 0.5, torch.log1p((r - 1).clamp(min=-0.5)), r.clamp(min=tiny).log())
    each = torch.where(g > 0, g * (r - 1 - log), ratio)
    each = each * (1 - _one_hot(noisy, each))
    summed = torch.where(possible[..., 0], each.sum(-1), 0.0)
    return weight[..., 0] * summed / level.beside(summed).kept


def chosen(p: Tensor, u: Tensor) -> Tensor:
    """A draw from probabilities (..., states), normalised or not, by one uniform number in [0, 1) (...) each; int64."""
    reached = p.cumsum(-1)
    # a little less than the whole, so that rounding never reaches a state without probability
    mark = u.to(p.dtype) * (1 - 2.0**-20) * reached[..., -1]
    return (reached <= mark[..., None]).sum(-1)


def _one_hot(x: Tensor, like: Tensor) -> Tensor:
    """(...) -> (..., states) in the type of ``like``."""
    return (x[..., None] == torch.arange(like.shape[-1], device=x.device)).to(like.dtype)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """values (..., states) at an index (...), as (..., 1)."""
    return values.gather(-1, index[..., None])
