"""Fill in what is missing, several times over: draws of p(unknown | known) under any mask.

What the draws are is said with them. "exact": a model that says so (``completion``), or one that is walked element by
element where all that is known comes before all that is missing. "approximate": a walk under any
other mask, whose candidates are weighed by the probability of what is known, or a ``Completer`` such as a VAE's chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values, each
from simulacra.core.capabilities import Completer, Stepwise, require
from simulacra.core.indices import from_indices, to_indices
from simulacra.core.randomness import Rng
from simulacra.evaluation.likelihood import resting
from simulacra.uses.checks import check_examples, check_labels, check_mask, device_of, space_of

CANDIDATES = 16  # walks among which one is chosen for each draw that cannot be exact


@dataclass(frozen=True)
class Imputed:
    """Completed examples.

    draws   (draws, n, *event), or field name -> that; known entries are those given.
    kind    "exact" | "approximate": whether they are draws of p(unknown | known) of the model.
    method  how they were drawn, in words.
    """

    draws: Values
    kind: Literal["exact", "approximate"]
    method: str


@torch.no_grad()
def impute(
    model: object,
    x: Values,
    known: Values,
    *,
    draws: int = 1,
    y: Tensor | None = None,
    length: Tensor | None = None,
    rng: Rng | int = 0,
    candidates: int = CANDIDATES,
) -> Imputed:
    """``draws`` completions of each example.

    x           (n, *event); what is not known may hold anything, NaN included.
    known       bool, shaped like x: True where x is to be kept.
    y           int64 (n,) classes, where the model is conditional on them.
    length      int64 (n,), how long each is, for a model of examples that vary in length and completes them.
    candidates  walks a draw is chosen from, where a walk is not exact by itself.
    Raises ValueError for a model that is neither a Completer nor Stepwise, a mask of another shape, one that knows
    nothing of an example or everything of all, and known values that are not of the model's space.
    """
    space = space_of(model, "impute")
    if draws < 1 or candidates < 1:
        raise ValueError(f"draws and candidates must be at least 1; got {draws} and {candidates}")
    check_mask(space, x, known)
    n = check_examples(space, x, known)
    check_labels(space, y, n)
    stream = Rng.of(rng)("impute")
    batch = Batch(x=_plain(x, known), y=y, known=known, length=length)
    batch = batch.to(device_of(model))
    with resting(model):
        found, kind, method = _drawn(model, batch, draws, stream, candidates)
    return Imputed(each(lambda t: t.reshape(draws, n, *t.shape[1:]).cpu(), found), kind, method)


def _drawn(
    model: object, batch: Batch, draws: int, rng: Rng, candidates: int
) -> tuple[Values, Literal["exact", "approximate"], str]:
    """All draws, one whole pass over the examples after another, (draws n, *event)."""
    repeated = batch.map(lambda t: t.repeat(draws, *[1] * (t.ndim - 1)))
    y = repeated.y if isinstance(repeated.y, Tensor) else None
    assert repeated.known is not None
    sure = getattr(model, "completion", "approximate") == "exact"
    # a walk is of one class; a model that can draw the class along with what is missing does so itself
    walked = isinstance(model, Stepwise) and (y is not None or space_of(model, "impute").y is None)
    if isinstance(model, Stepwise) and not sure and (walked or not isinstance(model, Completer)):
        exact = in_order(model, batch)
        found = along(model, repeated, rng, 1 if exact else candidates)
        if exact:
            return found, "exact", "walked: what is known comes first"
        return found, "approximate", f"the best weighed of {candidates} walks past what is known"
    completer = require(model, Completer, "impute")
    given = {name: value for name, value in (("y", y), ("length", repeated.length)) if value is not None}
    done = completer.complete(repeated.x, repeated.known, rng=rng, **given)
    return done.x, "exact" if sure else "approximate", f"{type(model).__name__}.complete"


def in_order(model: Stepwise, batch: Batch) -> bool:
    """Whether in every example all that is known comes before all that is missing, in the order of the walk."""
    walk = model.walk(1, y=each(lambda t: t[:1], batch.y))
    masks = _flat(space_of(model, "impute").fields, batch.known)[:, walk.order.cpu()]
    return bool((masks.long().diff(dim=1) <= 0).all())


def along(model: Stepwise, batch: Batch, rng: Rng, candidates: int) -> Values:
    """Walks that draw what is missing and keep what is known, one of ``candidates`` chosen for each example.

    A candidate is drawn with probability prod p(missing element | before), so its weight is prod p(known element |
    before): importance resampling (Rubin 1987), exact as candidates grow, and with one where nothing known comes late.
    """
    space = space_of(model, "impute")
    many = batch.map(lambda t: t.repeat_interleave(candidates, 0))
    n = len(many)
    index = to_indices(space, many.x)
    masks = _flat(space.fields, many.known).to(index.device)
    walk = model.walk(n, y=many.y)
    weight = torch.zeros(n, dtype=torch.float64, device=index.device)
    for step, place in enumerate(walk.order.tolist()):
        log_probs = walk.log_probs()
        seen = masks[:, place]
        drawn = rng("walk", step).categorical(log_probs)
        value = torch.where(seen, index[:, place], drawn)
        weight += torch.where(seen, log_probs.gather(1, value[:, None])[:, 0].double(), 0.0)
        index[:, place] = value
        walk.take(value)
    chosen = rng("chosen").categorical(weight.reshape(-1, candidates))
    kept = torch.arange(n // candidates, device=index.device) * candidates + chosen
    return from_indices(space, index[kept])


def _plain(x: Values, known: Values) -> Values:
    """x with something harmless, a value that is known somewhere, where it is not known."""

    def filled(value: Tensor, mask: Tensor) -> Tensor:
        rest = value[mask].flatten()[:1] if bool(mask.any()) else torch.zeros(1, dtype=value.dtype)
        return torch.where(mask, value, rest.to(value.dtype).to(value.device))

    if isinstance(x, Mapping):
        assert isinstance(known, Mapping)
        return {name: filled(t, known[name]) for name, t in x.items()}
    assert isinstance(known, Tensor)
    return filled(x, known)


def _flat(fields: Mapping[str, object], known: Values | None) -> Tensor:
    """Masks as ``to_indices`` lays examples out, bool (n, size)."""
    assert known is not None
    parts = [known] if isinstance(known, Tensor) else [known[name] for name in fields]
    return torch.cat([p.reshape(len(p), -1) for p in parts], dim=1)
