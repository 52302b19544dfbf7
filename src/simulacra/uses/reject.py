"""Better samples from the same model: those that its critic finds poor are drawn again (Azadi et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simulacra.core.batch import Batch, Values
from simulacra.core.capabilities import Critic, Sampler, require
from simulacra.core.randomness import Rng
from simulacra.mathematics.rejection import acceptance, log_odds

CHUNK = 512  # samples proposed at a time
PATIENCE = 200  # chunks without a single one accepted, after which it is given up


@torch.no_grad()
def reject(
    model: object,
    n: int,
    *,
    y: Tensor | None = None,
    percentile: float | None = 80.0,
    burn_in: int = 2_048,
    options: Mapping[str, Any] | None = None,
    rng: Rng | int = 0,
) -> Batch:
    """n examples that were kept with a probability by their critic's score; the first 8 of 64 are those of 8.

    y           classes int64 (n,); None: labels are drawn and rejected with the examples.
    percentile  of the odds of ``burn_in`` samples: examples at it are kept with probability 1/2 (section 3.2).
                None: kept in proportion to the density ratio, exact where the critic is at its best, and slow.
    options     the model's own of ``sample``: ``truncation=`` ...
    Means something for critics whose score is a log ratio: of non-saturating, minimax and relativistic games.
    Raises ValueError for a model without a critic, a percentile outside 0 .. 100, or scores that keep nothing.
    """
    if n < 1 or burn_in < 2:
        raise ValueError(f"n is at least 1 and burn_in at least 2; got {n} and {burn_in}")
    if percentile is not None and not 0 <= percentile <= 100:
        raise ValueError(f"a percentile lies in 0 .. 100; got {percentile}, leave it at 80 for the paper's")
    require(model, Critic, "rejection")
    rng, own = Rng.of(rng), dict(options or {})
    if y is None:
        return _kept(model, n, None, percentile, burn_in, own, rng)
    out: Batch | None = None
    for label in y.unique().tolist():
        where = (y == label).nonzero()[:, 0]
        found = _kept(model, len(where), int(label), percentile, burn_in, own, rng("class", int(label)))
        out = found.map(lambda t: t.new_zeros((n, *t.shape[1:]))) if out is None else out
        _put(out.x, found.x, where)
    assert out is not None
    return Batch(x=out.x, y=y)


def _kept(
    model: object, n: int, label: int | None, percentile: float | None, burn_in: int, own: dict[str, Any], rng: Rng
) -> Batch:
    """The first n proposals that are accepted; all of one class where one is given."""

    def proposed(first: int, count: int, rng: Rng) -> tuple[Batch, Tensor]:
        y = None if label is None else torch.full((count,), label)
        batch = require(model, Sampler, "rejection").sample(count, y=y, rng=rng.rows(first), **own)
        given = {} if batch.y is None else {"y": batch.y}
        return batch, require(model, Critic, "rejection").criticise(batch.x, **given).double().flatten()

    before = proposed(0, burn_in, rng("burn-in"))[1]
    best = float(before.max())
    gamma = 0.0 if percentile is None else float(log_odds(before, best).quantile(percentile / 100))
    parts: list[Batch] = []
    found = chunks = 0
    while found < n:
        batch, scores = proposed(chunks * CHUNK, CHUNK, rng("proposals"))
        chance = rng("kept").rows(chunks * CHUNK).uniform((CHUNK,), dtype=torch.float64).to(scores.device)
        kept = (chance < acceptance(scores, best, gamma)).nonzero()[:, 0]
        parts.append(batch.rows(kept.to(_first(batch.x).device)))
        found, chunks = found + len(kept), chunks + 1
        if not found and chunks >= PATIENCE:
            raise ValueError(f"none of {chunks * CHUNK:,} samples was kept; take a lower percentile than {percentile}")
    y = None if parts[0].y is None else torch.cat([_tensor(p.y) for p in parts])[:n]
    return Batch(x=_joined([p.x for p in parts], n), y=y)


def _joined(parts: list[Values], n: int) -> Values:
    """The first n rows of all parts."""
    if isinstance(parts[0], Mapping):
        return {name: torch.cat([p[name] for p in parts if isinstance(p, Mapping)])[:n] for name in parts[0]}
    return torch.cat([_tensor(p) for p in parts])[:n]


def _put(out: Values, found: Values, where: Tensor) -> None:
    """Rows into their places."""
    if isinstance(out, Mapping):
        for name, t in out.items():
            assert isinstance(found, Mapping)
            t[where.to(t.device)] = found[name]
        return
    out[where.to(out.device)] = _tensor(found)


def _tensor(value: Values | None) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def _first(x: Values) -> Tensor:
    return x if isinstance(x, Tensor) else next(iter(x.values()))
