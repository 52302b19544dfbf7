"""Hidden Markov chains: filtering, smoothing, the likeliest path and drawn paths (Rabiner 1989, section III).

States are s; initial (b, s) weights of the first, which need not sum to 1, transition (s, s) from row to column,
emission (b, t, s) log p(step | state), present (b, t): the steps of each row that there are, from the first on.
Filtered weights are normalised at every step, so that nothing underflows, and the logarithms of their sums are added.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.randomness import Rng

SMALLEST = 1e-300  # what a weight that must be divided by is at least


@dataclass(frozen=True)
class Filtered:
    """What the steps so far say of the state.

    alpha  (b, t, s) p(state | steps up to this one); beyond the last step, as at the last.
    scale  (b, t) p(step | steps before), up to ``e``'s own scale; 1 beyond the last.
    e      (b, t, s) emissions, the largest of each step 1.
    nats   (b,) log p of all steps.
    """

    alpha: Tensor
    scale: Tensor
    e: Tensor
    nats: Tensor


def forward(initial: Tensor, transition: Tensor, emission: Tensor, present: Tensor) -> Filtered:
    """The forward pass; a row of no steps has log p of its initial weights' sum."""
    top = emission.amax(2)
    e = (emission - top[..., None]).exp()
    alphas: list[Tensor] = []
    scales: list[Tensor] = []
    total = initial.sum(1)
    alpha = initial / total[:, None].clamp_min(SMALLEST)
    nats = total.clamp_min(SMALLEST).log()
    for t in range(emission.shape[1]):
        moved = alpha if t == 0 else alpha @ transition
        joint = moved * e[:, t]
        scale = joint.sum(1).clamp_min(SMALLEST)
        here = present[:, t]
        alpha = torch.where(here[:, None], joint / scale[:, None], alpha)
        nats = nats + torch.where(here, scale.log() + top[:, t], 0.0)
        alphas.append(alpha)
        scales.append(torch.where(here, scale, 1.0))
    return Filtered(torch.stack(alphas, 1), torch.stack(scales, 1), e, nats)


def smooth(transition: Tensor, found: Filtered, present: Tensor) -> tuple[Tensor, Tensor]:
    """p(state of a step | all steps), (b, t, s), 0 where there is no step; and how often each transition, (s, s)."""
    beta = torch.ones_like(found.alpha[:, 0])
    gammas = [found.alpha[:, -1]]
    moves = torch.zeros_like(transition)
    for t in range(found.alpha.shape[1] - 2, -1, -1):
        here = present[:, t + 1, None]
        later = found.e[:, t + 1] * beta / found.scale[:, t + 1, None]
        moves = moves + (found.alpha[:, t] * here).T @ later * transition
        beta = torch.where(here, later @ transition.T, beta)
        gammas.append(found.alpha[:, t] * beta)
    gamma = torch.stack(gammas[::-1], 1)
    gamma = gamma / gamma.sum(2, keepdim=True).clamp_min(SMALLEST)
    return gamma * present[..., None], moves


def likeliest(initial: Tensor, transition: Tensor, emission: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest path of states, int64 (b, t), and log p of it and the steps, nats (b,) (Viterbi 1967)."""
    moves = transition.log()
    best = initial.log() + torch.where(present[:, 0, None], emission[:, 0], 0.0)
    came: list[Tensor] = []
    for t in range(1, emission.shape[1]):
        value, source = (best[:, :, None] + moves).max(1)
        here = present[:, t, None]
        stay = torch.arange(len(transition), device=best.device).expand_as(source)
        came.append(torch.where(here, source, stay))
        best = torch.where(here, value + emission[:, t], best)
    nats, state = best.max(1)
    path = [state]
    for source in reversed(came):
        state = source.gather(1, state[:, None])[:, 0]
        path.append(state)
    return torch.stack(path[::-1], 1) * present, nats


def draw_back(transition: Tensor, found: Filtered, present: Tensor, rng: Rng) -> Tensor:
    """Paths drawn given all steps, int64 (b, t): the last state first (forward filtering, backward sampling)."""
    moves = transition.log()
    steps = found.alpha.shape[1]
    state = rng("state", steps - 1).categorical(found.alpha[:, -1].log())
    path = [state]
    for t in range(steps - 2, -1, -1):
        onward = torch.where(present[:, t + 1, None], moves.T[state], 0.0)
        state = rng("state", t).categorical(found.alpha[:, t].log() + onward)
        path.append(state)
    return torch.stack(path[::-1], 1)


def draw(initial: Tensor, transition: Tensor, steps: int, rng: Rng) -> Tensor:
    """Paths of that many states, int64 (b, steps)."""
    moves = transition.log()
    path = [rng("state", 0).categorical(initial.log())]
    for t in range(1, steps):
        path.append(rng("state", t).categorical(moves[path[-1]]))
    return torch.stack(path, 1)
