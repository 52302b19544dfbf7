"""How near drawn rows lie to single real ones, beside rows that were never seen: what tells copying from learning."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.tables.rows import Rows, Scale
from simulacra.mathematics.ranking import auc
from simulacra.mathematics.records import nearest_records

MOST = 2_000  # rows whose nearest ones are looked for
SEARCHED = 10_000  # rows among which
WHOLE = 50_000  # training rows among which the closest one is looked for


def distances(rows: Rows, among: Rows, scale: Scale) -> Tensor:
    """Of each row the distance to the nearest of others, (n,), 0 .. 1."""
    return nearest_records(scale(rows), rows.codes, scale(among), among.codes)[0][:, 0]


def figures_of_records(fake: Rows, held: Rows, train: Rows, *, rng: Rng) -> list[Figure]:
    """Distance to the closest record, with held-out rows as the null; equally many rows on both sides.

    Train and held-out rows are interchangeable to a model that learned none by heart: samples then lie nearer to the
    one as often as to the other, and its distances are those of held-out rows.
    """
    # of two sets the larger one lies nearer by chance
    m = min(len(held), len(train), SEARCHED)
    scale, some, unseen = Scale.of(train), _some(fake, MOST, rng("fake")), _some(held, MOST, rng("unseen"))
    to_train = distances(some, _some(train, m, rng("train")), scale)
    to_held = distances(some, _some(held, m, rng("held out")), scale)
    # what was learned from in full: a copy of one row lies far from a part that lacks it
    whole = _some(train, WHOLE, rng("whole"))
    closest, usual = distances(some, whole, scale), distances(unseen, whole, scale)
    coin = rng("ties").uniform((len(some),)) < 0.5
    nearer = (to_train < to_held) | ((to_train == to_held) & coin)
    n = len(some)
    copies, chance = int(equal(fake, train).sum()), float(equal(held, train).double().mean())
    area, reach = membership(fake, held, train, scale, rng=rng("membership"))
    return [
        _figure(
            "nearer to training rows than to held-out ones", int(nearer.sum()) / n, "neither", n, m,
            intervals.of_share(int(nearer.sum()), n), "one half is innocent; of these records", rng,
        ),
        _figure(
            "distance to the closest record", float(closest.median() / usual.median().clamp(min=1e-12)), "neither",
            n, len(whole), intervals.none("a ratio of medians"),
            f"median, in units of held-out rows' ({float(usual.median()):.4f}); 1 is innocent, far below it copies",
            rng,
        ),
        _figure(
            "rows that stand in training", copies / len(fake), "neither", len(fake), len(train),
            intervals.of_share(copies, len(fake)), f"held-out rows: {chance:.3g}", rng,
        ),
        _figure(
            "membership by distance", area, "lower", min(MOST, len(train)), min(MOST, len(held)), reach,
            "area under the curve of an attacker who takes rows near a sample for learnt ones; one half is innocent",
            rng,
        ),
    ]  # fmt: skip


def equal(rows: Rows, among: Rows) -> Tensor:
    """Which rows stand among others, cell for cell, bool (n,)."""
    both = torch.cat([torch.cat([r.numbers.nan_to_num(nan=1e300), r.codes.double()], 1) for r in (rows, among)])
    number = both.unique(dim=0, return_inverse=True)[1]
    return torch.isin(number[: len(rows)], number[len(rows) :])


def membership(fake: Rows, held: Rows, train: Rows, scale: Scale, *, rng: Rng) -> tuple[float, intervals.Interval]:
    """Area under the curve of telling training rows from held-out ones by their distance to the nearest sample, and
    where it is believed to lie.
    """
    among = _some(fake, SEARCHED, rng("fake"))
    members = distances(_some(train, MOST, rng("members")), among, scale)
    others = distances(_some(held, MOST, rng("others")), among, scale)
    area, error = auc(members, others)
    return area, intervals.of_auc(area, error, len(members), len(others))


def _some(rows: Rows, n: int, rng: Rng) -> Rows:
    return rows.take(rng.permutation(len(rows))[:n])


def _figure(name, value, direction, n, m, interval, note, rng) -> Figure:
    return Figure(
        name=name, value=value, direction=direction, n=n, n_real=m, interval=interval.bounds,
        interval_method=interval.method, level=intervals.LEVEL, seed=rng.seed, note=note,
    )  # fmt: skip
