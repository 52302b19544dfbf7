"""Whether a likelihood sums to one over a small space, or integrates to one over a line or a plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Values
from simulacra.core.capabilities import Sampler
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Field, Space
from simulacra.laws.law import Broken, Inapplicable, Subject, weight_of

STATES = 4096  # the largest discrete space that is summed over
# points an axis, where a likelihood is exact and where it is drawn several times over; the difference of the two
# sums tells whether the grid is fine enough
GRIDS, DRAWN_GRIDS = (201, 301), (61, 91)
REACH = 12.0  # of the field's own scales on either side of its centre that a grid covers
DRAWS = 4  # of a likelihood that draws, for its standard error
CHUNK = 4096
ERRORS = 5.0  # standard errors that a bound may lie above 1


@dataclass(frozen=True)
class Total:
    """A sum of probabilities with the standard error of its draws, and of which kind they are."""

    value: float
    error: float
    kind: str


def sums_to_one(subject: Subject) -> str:
    space = subject.space
    model = subject.fresh()
    if all(isinstance(f, Categorical) or f.levels is not None for f in space.fields.values()):
        examples = _every_example(space)
        total = _total(model, subject, examples, 1.0)
        return _verdict(total, 1e-4, f"over {len(examples)} examples")
    if space.size > 2 or not all(isinstance(f, Continuous) and f.levels is None for f in space.fields.values()):
        raise Inapplicable("the space is neither small and discrete, nor a line or a plane")
    box = _box(model, subject)
    grids = GRIDS if _total(model, subject, *_grid(box, 1)).kind == "exact" else DRAWN_GRIDS
    coarse, fine = (_total(model, subject, *_grid(box, n)) for n in grids)
    change = abs(coarse.value - fine.value)
    if change > 0.02 * max(1.0, fine.value) + ERRORS * (coarse.error + fine.error):
        raise Inapplicable(f"too narrow for a grid: {coarse.value:.3g} and, twice as fine, {fine.value:.3g}")
    # what a grid leaves out: the tails beyond it, and half a step at the ends of a bounded range
    return _verdict(fine, 0.01 + change, f"on a grid of {grids[1]} points an axis")


def _verdict(total: Total, slack: float, where: str) -> str:
    if total.kind == "estimate":
        raise Inapplicable("estimates need not sum to 1")
    said = f"{total.kind}: {total.value:.5g} {where}"
    if total.kind == "exact" and abs(total.value - 1) > slack:
        raise Broken(f"{said}, which is not 1")
    if not total.value <= 1 + slack + ERRORS * total.error:
        raise Broken(f"{said}, more than 1 by {(total.value - 1) / max(total.error, 1e-12):.2g} standard errors")
    return said


def _total(model: Any, subject: Subject, examples: Tensor, volume: float) -> Total:
    """Sum over flat examples (n, size) of exp(log p) times a volume each."""
    value, variance, kind = 0.0, 0.0, ""
    given: dict[str, Any] = {}
    for first in range(0, len(examples), CHUNK):
        flat = examples[first : first + CHUNK]
        if isinstance(subject.space.y, Classes):
            given = {"y": torch.zeros(len(flat), dtype=torch.int64, device=weight_of(model).device)}
        elif subject.space.y is not None:
            raise Inapplicable("the likelihood is of an example given a condition that is no class")
        x = _unflattened(flat, subject.space, weight_of(model))
        draws = []
        for draw in range(DRAWS):
            said = model.log_likelihood(x, **given, rng=Rng(17)("draw", draw).rows(first))
            kind = said.kind
            draws.append(said.nats.detach().double().cpu())
            if kind == "exact":
                break
        nats = torch.stack(draws)
        # the exponential of a mean of bounds is, by Jensen, no larger than the mean of their exponentials
        p = nats.mean(0).exp() * volume
        value += float(p.sum())
        if len(draws) > 1:
            # the exponential is steeper above the mean than below: half the variance is its bias
            spread = nats.var(0) / len(draws)
            variance += float((p.square() * spread).sum())
            value -= float((p * spread.clamp_max(1.0) / 2).sum())
    return Total(value, math.sqrt(variance), kind)


def _every_example(space: Space) -> Tensor:
    """All examples of a small discrete space, flat, (n, size); category or level numbers as float64."""
    if any(f.varying for f in space.fields.values()):
        raise Inapplicable("whether the length is part of an example that varies in it is the model's affair")
    choices = [_choices(f) for f in space.fields.values() for _ in range(math.prod(f.shape))]
    if math.prod(map(float, choices)) > STATES:
        raise Inapplicable(f"the space has more than {STATES} examples")
    return torch.cartesian_prod(*(torch.arange(k, dtype=torch.float64) for k in choices)).reshape(-1, len(choices))


def _choices(f: Field) -> int:
    return f.k if isinstance(f, Categorical) else f.levels or 0


def _box(model: Any, subject: Subject) -> Tensor:
    """Ends of every axis, (size, 2): around the model's samples, or where the space says that examples lie."""
    ends = []
    for f in subject.space.fields.values():
        assert isinstance(f, Continuous)
        centre, scale = f.centre, f.scale
        ends += [[centre - REACH * scale, centre + REACH * scale, f.low, f.high]] * math.prod(f.shape)
    box = torch.tensor(ends, dtype=torch.float64)
    if isinstance(model, Sampler):
        given: dict[str, Any] = {}
        if isinstance(subject.space.y, Classes):
            given = {"y": torch.zeros(512, dtype=torch.int64, device=weight_of(model).device)}
        x = model.sample(512, **given, rng=subject.rng("box")).x
        parts = [x] if isinstance(x, Tensor) else [x[name] for name in subject.space.fields]
        flat = torch.cat([t.detach().double().cpu().reshape(512, -1) for t in parts], 1)
        # half the samples' range beyond their ends: six deviations of a normal, and more where tails are heavier
        low, high = flat.amin(0), flat.amax(0)
        box[:, 0], box[:, 1] = low - (high - low) / 2, high + (high - low) / 2
    return torch.stack([box[:, 0].maximum(box[:, 2]), box[:, 1].minimum(box[:, 3])], 1)


def _grid(box: Tensor, n: int) -> tuple[Tensor, float]:
    """Midpoints of n equal cells along every axis, flat (n ** size, size), and a cell's volume."""
    axes = [low + (torch.arange(n, dtype=torch.float64) + 0.5) * (high - low) / n for low, high in box]
    return torch.cartesian_prod(*axes).reshape(-1, len(box)), float(((box[:, 1] - box[:, 0]) / n).prod())


def _unflattened(flat: Tensor, space: Space, weight: Tensor) -> Values:
    """Flat examples as values of the space, on a weight's device and in its precision."""
    x: dict[str, Tensor] = {}
    sizes = [math.prod(f.shape) for f in space.fields.values()]
    for (name, f), part in zip(space.fields.items(), flat.split(sizes, 1), strict=True):
        part = part.reshape(-1, *f.shape)
        if isinstance(f, Categorical):
            x[name] = part.to(weight.device, torch.int64)
        else:
            x[name] = (part if f.levels is None else f.value(part)).to(weight.device, weight.dtype)
    return x if len(x) > 1 else next(iter(x.values()))
