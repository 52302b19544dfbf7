"""Rows of a table given some of their columns, and rows whose holes are filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.modalities.tables.cells import missing as missing_cells
from simulacra.modalities.tables.conditions import Held, given
from simulacra.modalities.tables.encoding import TableEncoding
from simulacra.modalities.tables.filling import disagreeing, holes
from simulacra.modalities.tables.reading import Frame
from simulacra.uses.impute import impute

ROUNDS = 100  # in which a hole that was left a hole is drawn anew


@dataclass(frozen=True)
class Drawn:
    """Rows that were drawn, and what the draws are: of p(unknown | known), "exact" or "approximate", and how."""

    batch: Batch
    kind: Literal["exact", "approximate"]
    method: str


def sample_given(
    model: Any, encoding: TableEncoding, values: Mapping[str, Any], n: int, *, rng: Rng | int = 0
) -> Drawn:
    """n rows whose given columns hold these values, the others drawn given them: not by rejection.

    ValueError for values that the schema does not allow or that have probability zero, for a model that completes
    nothing, and where the target of a run that was fitted with one is not among them.
    """
    stream = Rng.of(rng)
    held = given(encoding, values, n, rng=stream("given"))
    _needs_target(encoding, held)
    known = torch.stack([t[0] for t in held.known.values()])
    if bool(known.all()):
        raise ValueError("every column is given, so nothing is left to draw; leave some out")
    if not bool(known.any()):
        # only the class is given: that is plain sampling
        with torch.no_grad():
            return Drawn(model.sample(n, y=held.y, rng=stream("class")), "exact", "drawn for its class")
    done = impute(model, _plain(held.x), _plain(held.known), y=held.y, rng=stream("rest"))
    return Drawn(_batch(done.draws, held, n), done.kind, done.method)


def fill(
    model: Any, encoding: TableEncoding, frame: Frame, *, draws: int = 1, rng: Rng | int = 0
) -> tuple[list[Drawn], int]:
    """Rows whose missing cells were drawn given the others, ``draws`` times over, and how many cells that were.

    Where a model knows what is missing as one value among others, a hole that it would leave one is drawn again, so
    that every draw is of p(value | known, there is one); it says so.
    """
    stream = Rng.of(rng)
    held = holes(encoding, frame, rng=stream("within"))
    _needs_target(encoding, held)
    missing = {name: ~held.known[name] for name in held.known}
    count = sum(int(missing_cells(frame[name], encoding.schema[name]).sum()) for name in encoding.columns)
    lacking = torch.stack(list(missing.values())).any(0)
    if not count:
        raise ValueError("nothing is missing: every cell holds a value; expected empty cells where to fill in")
    rows = lacking.nonzero()[:, 0]
    done: list[Drawn] = []
    for draw in range(draws):
        left = rows
        x = {name: t.clone() for name, t in held.x.items()}
        kind: Literal["exact", "approximate"] = "exact"
        method, rounds = "they follow from the other columns", 0
        while len(left) and rounds < ROUNDS:
            some = impute(
                model,
                _plain({k: t[left] for k, t in x.items()}),
                _plain({k: t[left] for k, t in held.known.items()}),
                y=None if held.y is None else held.y[left],
                rng=stream("draw", draw, rounds),
            )
            kind, method, rounds = some.kind, some.method, rounds + 1
            new = _batch(some.draws, held, len(left)).x
            assert isinstance(new, Mapping)
            for name in x:
                x[name][left] = new[name].to(x[name].dtype)
            again = torch.zeros(len(left), dtype=torch.bool)
            for name, category in held.present.items():
                again |= missing[name][left] & (x[name][left] == category)
            part = Batch(x={name: t[left] for name, t in x.items()} if len(x) > 1 else next(iter(x.values()))[left])
            rows_of = frame.iloc[left.numpy()].reset_index(drop=True)
            again |= torch.from_numpy(disagreeing(encoding, rows_of, encoding.decode(part)))
            left = left[again]
        if rounds > 1:
            method += "; rejected and drawn again: holes that stayed holes or broke a rule"
        done.append(Drawn(Batch(x=x if len(x) > 1 else next(iter(x.values())), y=held.y), kind, method))
    return done, count


def _needs_target(encoding: TableEncoding, held: Held) -> None:
    if encoding.target is not None and held.y is None:
        raise ValueError(
            f"this run was fitted with the target {encoding.target}, given which it knows the others; give it too, or "
            "fit without a target, so that it is a column like the others"
        )


def _plain(values: Mapping[str, Tensor]) -> Any:
    return dict(values) if len(values) > 1 else next(iter(values.values()))


def _batch(draws: Any, held: Held, n: int) -> Batch:
    """The one pass of draws (1, n), as a batch of named fields."""
    named = draws if isinstance(draws, Mapping) else {next(iter(held.x)): draws}
    return Batch(x={name: t.reshape(n, *t.shape[2:]) for name, t in named.items()}, y=held.y)
