"""Attacks on rows that were learned from, by somebody who has the drawn ones: singling out, linking, inferring.

The three of anonymeter (Giomi, Boenisch, Wehmeyer & Tasnadi 2023, "A unified framework for quantifying privacy risk in
synthetic data"), after what Article 29 of the European data protection working party asks of anonymous data. Each is
tried as often on rows that were not learned from: what succeeds there too is knowledge of the population, not of
persons. These attacks bound nothing: a better attacker may do better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.tables.rows import Rows, Scale
from simulacra.mathematics.attacks import Risk, risk
from simulacra.mathematics.records import nearest_records

ATTACKS = 500  # guesses of each kind
CONDITIONS = 4  # columns that a guess of singling out names
NEAREST = 5  # samples among which a link is looked for
CLOSE = 0.05  # of a number: how near an inferred one must be, as a share
SEARCHED = 10_000  # samples that the attacker searches
LEAST = 40  # rows a side

Guess = Callable[[Rows, Rows, Rows, Rng], tuple[int, int, int, str]]


def singling_out(fake: Rows, train: Rows, held: Rows, rng: Rng) -> tuple[int, int, int, str]:
    """Guesses that exactly one person has these cells: hits in training, hits held out, guesses, note.

    A guess takes a sample and some of its columns: the value itself, of numbers at least or at most it, whichever side
    of the samples' median it lies on. Only guesses that name one sample are made (Giomi et al., section 4.1).
    """
    columns = fake.columns
    width = min(CONDITIONS, len(columns))
    medians = {name: float(fake.column(name).nanmedian()) for name in fake.names}
    hits = np.zeros(2, dtype=int)
    made = tried = 0
    while made < ATTACKS and tried < 10 * ATTACKS:
        stream = rng("guess", tried)
        tried += 1
        row = int(stream("row").integers(len(fake), (1,)))
        chosen = [columns[i] for i in stream("columns").permutation(len(columns))[:width].tolist()]
        if int(_agreeing(fake, fake, row, chosen, medians).sum()) != 1:
            continue
        made += 1
        for side, rows in enumerate((train, held)):
            hits[side] += int(_agreeing(rows, fake, row, chosen, medians).sum()) == 1
    return int(hits[0]), int(hits[1]), made, f"guesses of {width} columns that one sample alone agrees with"


def linking(fake: Rows, train: Rows, held: Rows, rng: Rng) -> tuple[int, int, int, str]:
    """Whether two halves of a person's columns, known apart, lead to one sample: both are near it."""
    order = [fake.columns[i] for i in rng("halves").permutation(len(fake.columns)).tolist()]
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    n = min(ATTACKS, len(train), len(held))
    k = min(NEAREST, len(fake))
    scale = Scale.of(train)
    hits: list[int] = []
    for name, rows in (("train", train), ("held out", held)):
        some = rows.take(rng(name).permutation(len(rows))[:n])
        near = [_near(some, fake, half, scale, k) for half in halves]
        hits.append(int((near[0][:, :, None] == near[1][:, None, :]).flatten(1).any(1).sum()))
    return hits[0], hits[1], n, f"either half's {k} nearest samples share one"


def inferring(fake: Rows, train: Rows, held: Rows, rng: Rng) -> tuple[int, int, int, str]:
    """Whether the sample nearest in all other columns has a person's secret, a column drawn for each person; numbers
    within 5 %.
    """
    n = min(ATTACKS, len(train), len(held))
    columns = fake.columns
    secret = rng("secret").integers(len(columns), (n,))
    scale = Scale.of(train)
    hits: list[int] = []
    for name, rows in (("train", train), ("held out", held)):
        some, right = rows.take(rng(name).permutation(len(rows))[:n]), 0
        for number, column in enumerate(columns):
            asked = (secret == number).nonzero()[:, 0]
            if not len(asked):
                continue
            known = [c for c in columns if c != column]
            near = _near(some.take(asked), fake, known, scale, 1)[:, 0]
            right += int(_same(fake.column(column)[near], some.column(column)[asked]).sum())
        hits.append(right)
    return hits[0], hits[1], n, "the nearest sample's cell, a column drawn for each row"


GUESSES: dict[str, Guess] = {
    "singling out": singling_out,
    "linkability": linking,
    "attribute inference": inferring,
}


def figures_of_attacks(fake: Rows, held: Rows, train: Rows, *, rng: Rng) -> list[Figure]:
    """The risk of each attack: success on rows learned from beyond that on held-out ones; 0 is innocent."""
    m = min(len(train), len(held))
    if min(m, len(fake)) < LEAST or len(fake.columns) < 2:
        return []
    # equally many records on either side: how many agree with a guess depends on how many there are
    train, held = (
        train.take(rng("train").permutation(len(train))[:m]),
        held.take(rng("held").permutation(len(held))[:m]),
    )
    fake = fake.take(rng("fake").permutation(len(fake))[:SEARCHED])
    figures: list[Figure] = []
    for name, guess in GUESSES.items():
        mine, theirs, n, how = guess(fake, train, held, rng(name))
        if not n:
            continue
        found = risk(mine, theirs, n)
        figures.append(_figure(name, found, n, m, how, rng))
    return figures


def _figure(name: str, found: Risk, n: int, m: int, how: str, rng: Rng) -> Figure:
    note = f"{found.target:.1%} succeed on training rows, {found.control:.1%} on held-out ones; {how}"
    return Figure(
        name=f"{name} risk", value=found.value, direction="lower", n=n, n_real=m, interval=found.interval,
        interval_method="Newcombe's of two shares, of these guesses", level=intervals.LEVEL, seed=rng.seed, note=note,
    )  # fmt: skip


def _agreeing(rows: Rows, fake: Rows, row: int, columns: list[str], medians: dict[str, float]) -> Tensor:
    """Which rows agree with a sample in these columns, bool (n,)."""
    agree = torch.ones(len(rows), dtype=torch.bool)
    for name in columns:
        value, column = fake.column(name)[row], rows.column(name)
        if name not in medians or bool(value.isnan()):
            agree &= (column == value) | (column.isnan() & value.isnan())
        else:
            agree &= column >= value if float(value) > medians[name] else column <= value
    return agree


def _near(rows: Rows, fake: Rows, columns: list[str], scale: Scale, k: int) -> Tensor:
    """The numbers of the k samples nearest in some columns, int64 (n, k)."""
    mine, theirs = rows.only(columns), fake.only(columns)
    kept = [i for i, name in enumerate(rows.names) if name in columns]
    part = Scale(tuple(scale.ordered[i] for i in kept))
    return nearest_records(part(mine), mine.codes, part(theirs), theirs.codes, k=k)[1]


def _same(guess: Tensor, truth: Tensor) -> Tensor:
    if truth.dtype == torch.int64:
        return guess == truth
    return ((guess - truth).abs() <= CLOSE * truth.abs()) | (guess.isnan() & truth.isnan())
