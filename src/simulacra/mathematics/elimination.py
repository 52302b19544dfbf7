"""Exact inference in discrete networks: variables are summed out one after another, and drawn in the opposite order.

Koller & Friedman 2009, algorithm 9.1 (sum-product variable elimination). A factor is a tensor of log values with a
first extent that counts examples (1 where it is the same for all) and one for each of its variables, which ascend.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.core.randomness import Rng


@dataclass(frozen=True)
class Factor:
    """log values (b or 1, *sizes) of the variables, which ascend."""

    variables: tuple[int, ...]
    log: Tensor


def reduced(variables: Sequence[int], table: Tensor, evidence: Tensor, known: Iterable[int]) -> Factor:
    """A table (*sizes) over variables (in any order) with the known ones at their values, evidence int64 (b, all)."""
    known = set(known)
    free = [v for v in variables if v not in known]
    table = table.permute([variables.index(v) for v in (*(v for v in variables if v in known), *sorted(free))])
    seen = [v for v in variables if v in known]
    if not seen:
        return Factor(tuple(sorted(free)), table[None])
    return Factor(tuple(sorted(free)), table[tuple(evidence[:, v] for v in seen)])


def aligned(factor: Factor, scope: Sequence[int]) -> Tensor:
    """A factor's log values with an extent of 1 for each variable of the scope that it lacks."""
    at = [i for i, v in enumerate(scope) if v not in factor.variables]
    log = factor.log
    for i in at:
        log = log.unsqueeze(i + 1)
    return log


def eliminate(factors: Sequence[Factor], order: Sequence[int]) -> tuple[Tensor, list[Factor]]:
    """log of the sum of the factors' product over all variables, (b or 1,), and what each was drawn from.

    The i-th factor returned is the product of which order[i] was summed out: its conditional given those after it.
    Variables that are not in the order must occur in no factor.
    """
    left, steps = list(factors), list[Factor]()
    for v in order:
        mine = [f for f in left if v in f.variables]
        left = [f for f in left if v not in f.variables]
        scope = tuple(sorted({u for f in mine for u in f.variables} | {v}))
        product = aligned(mine[0], scope)
        for f in mine[1:]:
            product = product + aligned(f, scope)
        steps.append(Factor(scope, product))
        rest = tuple(u for u in scope if u != v)
        left.append(Factor(rest, product.logsumexp(1 + scope.index(v))))
    total = left[0].log
    for f in left[1:]:
        total = total + f.log
    return total, steps


def draw(steps: Sequence[Factor], order: Sequence[int], rows: Tensor, width: int, rng: Rng) -> Tensor:
    """Values int64 (n, width) of the variables that ``eliminate`` summed out, drawn jointly; 0 for all others.

    rows  int64 (n,): which example of the factors each row is a draw for.
    """
    found = torch.zeros(len(rows), width, dtype=torch.int64, device=rows.device)
    for v, step in zip(reversed(order), reversed(steps), strict=True):
        log = step.log.movedim(1 + step.variables.index(v), -1)
        others = [u for u in step.variables if u != v]
        first = rows if len(log) > 1 else torch.zeros_like(rows)
        logits = log[(first, *(found[:, u] for u in others))]
        found[:, v] = rng(v).categorical(logits)
    return found


def cheap_order(scopes: Iterable[Sequence[int]], sizes: Sequence[int]) -> tuple[list[int], float]:
    """An order in which to sum out all variables of these scopes, smallest product first; its largest, in numbers."""
    cliques = [set(scope) for scope in scopes]
    left, order, largest = {v for c in cliques for v in c}, list[int](), 1.0
    cost: Mapping[int, float]
    while left:
        cost = {v: math.prod(sizes[u] for u in _around(v, cliques)) for v in left}
        v = min(sorted(left), key=lambda u: cost[u])
        largest = max(largest, cost[v])
        around = _around(v, cliques)
        cliques = [c for c in cliques if v not in c] + [around - {v}]
        left.remove(v)
        order.append(v)
    return order, largest


def _around(v: int, cliques: Sequence[set[int]]) -> set[int]:
    return {u for c in cliques if v in c for u in c}
