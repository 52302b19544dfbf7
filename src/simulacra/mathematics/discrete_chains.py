"""What is done along paths between categories and noise: drawing back along them, and bounds of the likelihood.

Every sampler is a function over any belief (``mathematics.discrete_paths``), as solvers are over any denoiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.discrete_paths import Absorbing, Eased, Level, Noise, Schedule, chosen, posterior

EASED = Eased()
HALF = 2.0**-25  # half a step of the uniform numbers, so that a time is neither 0 nor 1
HARDLY = 1e-3  # a share of lost values at which examples are as good as whole, and which training has seen
Belief = Callable[[Tensor, Level], Tensor]  # states (b, n) at a level (b,) -> log b(x_0), (b, n, states)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a sampler runs back along.

    hold  (states, level, name) -> the states with what is known put in; as they are where nothing is.
    """

    belief: Belief
    noise: Noise
    law: Tensor
    hold: Callable[[Tensor, Level, int], Tensor]


Sampler = Callable[[Chain, Tensor, Sequence[Level], Rng], Tensor]


def ancestral(chain: Chain, x: Tensor, levels: Sequence[Level], rng: Rng) -> Tensor:
    """From states (b, n) at the first of these levels to values at the last: at each step all elements at once.

    Within a step elements are drawn as if they did not depend on one another: right in the limit of many steps.
    """
    law = chain.law
    for i, (now, then) in enumerate(pairwise(levels)):
        belief = chain.belief(x, Level(*(t.expand(len(x)) for t in now))).exp()
        p = posterior(x, belief, law.to(belief.dtype), now.beside(belief), then.beside(belief))
        u = rng("step", i).uniform(x.shape, dtype=torch.float32, device=x.device)
        x = chain.hold(chosen(p, u), then, i)
    return x


def one_by_one(chain: Chain, x: Tensor, levels: Sequence[Level], rng: Rng) -> Tensor:
    """Masks (b, n) lifted one at a time in a random order: as many steps as there are masks, whatever the levels.

    What absorbing noise tends to with more and more steps (Hoogeboom et al. 2022, "Autoregressive diffusion models").
    Raises ValueError for noise without a mask.
    """
    if not isinstance(chain.noise, Absorbing):
        raise ValueError(
            f"one_by_one lifts masks, and {type(chain.noise).__name__} noise has none; sample with ancestral"
        )
    mask = chain.law.shape[-1] - 1
    keys = rng("order").uniform(x.shape, dtype=torch.float32, device=x.device)
    order = torch.where(x == mask, keys, torch.inf).argsort(dim=1, stable=True)
    for i in range(int((x == mask).sum(1).max()) if x.numel() else 0):
        place = order[:, i, None]
        lost = (x == mask).sum(1) / (x.shape[1] + 1)  # a level at which so many masks are likely
        level = Level(1 - lost, lost)
        belief = chain.belief(x, level).exp().gather(1, place[..., None].expand(-1, -1, mask + 1))
        value = chosen(belief, rng("value", i).uniform(place.shape, dtype=torch.float32, device=x.device))
        x = x.scatter(1, place, torch.where(x.gather(1, place) == mask, value, x.gather(1, place)))
    return x


def settled(chain: Chain, x: Tensor, levels: Sequence[Level], rng: Rng) -> Tensor:
    """As ``ancestral``, and then each element drawn once more given all others: a sweep of Gibbs's sampler.

    Where values are held at each level by their noisy copies, what is drawn early sees little of them; at the end they
    are seen as they are (Geman & Geman 1984). It takes a look more for every element.
    """
    x = ancestral(chain, x, levels, rng("first"))
    order = rng("order").uniform(x.shape, dtype=torch.float32, device=x.device).argsort(dim=1, stable=True)
    hardly = torch.full((len(x),), HARDLY, dtype=torch.float64, device=x.device)
    for i in range(x.shape[1]):
        place = order[:, i, None]
        belief = chain.belief(x, Level(1 - hardly, hardly)).exp()
        belief = belief.gather(1, place[..., None].expand(-1, -1, belief.shape[-1]))
        u = rng("again", i).uniform(place.shape, dtype=torch.float32, device=x.device)
        x = chain.hold(x.scatter(1, place, chosen(belief, u)), levels[-1], len(levels) + i)
    return x


def evenly(schedule: Schedule, steps: int, *, device: torch.device | str = "cpu") -> list[Level]:
    """steps + 1 levels from all noise to none, evenly spaced in t; ValueError for no step."""
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step; got {steps}")
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64, device=device)
    return [schedule.level(t) for t in times]


def bound(
    x: Tensor,
    belief: Belief,
    noise: Noise,
    law: Tensor,
    *,
    there: Tensor,
    draws: int,
    rng: Rng,
    schedule: Schedule = EASED,
) -> Tensor:
    """A lower bound of log p(x) in expectation over its draws, nats (b,): one time in each of ``draws`` strata.

    The bound is the same for every schedule, the spread of its draws is not.

    there  bool (b, n): the elements that are scored; the others are shown as the belief is shown them.
    """
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for i in range(draws):
        share = rng("t", i).uniform((len(x),), dtype=torch.float32, device=x.device).double()
        t = (i + share + HALF) / draws
        total += missed(t, x, belief, noise, law, schedule, there=there, rng=rng("noise", i)).double() / draws
    return -total


def missed(
    t: Tensor, x: Tensor, belief: Belief, noise: Noise, law: Tensor, schedule: Schedule, *, there: Tensor, rng: Rng
) -> Tensor:
    """What the belief misses of x at times t (b,) in (0, 1), nats (b,): on average over t it bounds -log p(x)."""
    level = schedule.level(t.double())
    noisy = noise.noised(x, law, level, rng)
    each = torch.where(there, noise.missed(x, noisy, belief(noisy, level), law, level), 0.0)
    return schedule.rate(t.double()).to(each.dtype) * each.sum(1)
