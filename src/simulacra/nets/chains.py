"""Completion by models with a latent code: codes and unknown values drawn in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.randomness import Rng
from simulacra.nets.embeddings import pick

Propose = Callable[[Batch, Rng], tuple[Tensor, Tensor]]
Weigh = Callable[[Batch, Tensor], Tensor]
Fill = Callable[[Tensor, Rng], Batch]


def complete(
    state: Batch, start: Tensor, propose: Propose, weigh: Weigh, fill: Fill, *, sweeps: int, warm: int, rng: Rng
) -> Batch:
    """Draws what is unknown given what is known, by ``sweeps`` rounds of code and unknown values in turn.

    state    what is known, with ``known`` and what is given beside it; unknown entries may hold anything.
    start    codes (b, *latent) that the unknown is first filled from.
    propose  (state, rng) -> codes drawn from q(z | x), and their weight.
    weigh    (state, z) -> log p(x, z) - log q(z | x), nats (b,).
    fill     (z, rng) -> examples drawn from p(x | z).

    The first ``warm`` rounds draw the code from q(z | x) (pseudo-Gibbs, Rezende et al. 2014, appendix F); later
    ones accept it by Metropolis' rule (Mattei & Frellsen 2018, "Leveraging the exact likelihood"), so that the
    chain tends to p(unknown | known). Approximate, as is every chain of finite length.
    """
    known, x = state.known, state.x
    assert known is not None
    state = replace(state, x=merged(known, x, fill(start, rng("fill")).x))
    z = propose(state, rng("z", "start"))[0]
    for sweep in range(sweeps):
        proposal, proposed = propose(state, rng("z", sweep))
        if sweep < warm:
            z = proposal
        else:
            weight = weigh(state, z)  # of the old code, under the values of this round
            u = rng("accept", sweep).uniform((len(z),), dtype=torch.float64, device=z.device) + 2.0**-25
            accepted = (u.log() < proposed - weight).reshape(-1, *[1] * (z.ndim - 1))
            z = torch.where(accepted, proposal, z)
        state = replace(state, x=merged(known, x, fill(z, rng("fill", sweep)).x))
    return replace(state, known=None)


def merged(known: Values, x: Values, other: Values) -> Values:
    """x where it is known, the other values elsewhere."""
    if isinstance(x, Mapping):
        return {name: _merged(t, pick(known, name), pick(other, name)) for name, t in x.items()}
    return _merged(x, pick(known, ""), pick(other, ""))


def _merged(x: Tensor, known: Tensor | None, other: Tensor) -> Tensor:
    return x if known is None else torch.where(known.to(x.device), x, other.to(x.dtype))
