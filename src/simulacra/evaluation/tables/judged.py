"""Everything that can be said of drawn rows against held-out ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals, separability
from simulacra.evaluation.tables.attacks import figures_of_attacks
from simulacra.evaluation.tables.learners import LEARNERS, Boosting, finite, matrix
from simulacra.evaluation.tables.records import figures_of_records
from simulacra.evaluation.tables.rows import Rows, all_cells, rows_of
from simulacra.evaluation.tables.shapes import figures_of_shapes
from simulacra.evaluation.tasks import LEAST as LEAST_OF_TASKS
from simulacra.evaluation.tasks import Labelled, tasks
from simulacra.modalities.tables.reading import Frame
from simulacra.modalities.tables.schema import Column, Schema

TASK_ROWS = 5_000  # that a classifier learns from, at most
MOST_CLASSES = 50  # values of a column that is to be told from the others


def figures_of_rows(
    fake: Frame, real: Frame, train: Frame, schema: Schema, *, target: str | None = None, rng: Rng | int = 0
) -> list[Figure]:
    """Shapes, detection, use, records, attacks and rules of drawn rows; each figure's note says what real rows come to.

    target  the column that classifiers learn to tell from the others; None: the last one that has few values.
    ValueError for a target that is none, and cells that are not of the schema.
    """
    stream = Rng.of(rng)
    ours, theirs, learned = (rows_of(frame, schema) for frame in (fake, real, train))
    figures = figures_of_shapes(ours, theirs, learned, seed=stream.seed)
    figures += _detection(ours, theirs, learned, rng=stream("detection"))
    asked = schema[target] if target is not None else guessed_target(schema)
    if asked is not None:
        figures += figures_of_use(ours, theirs, learned, asked, rng=stream("use"))
    figures += figures_of_records(ours, theirs, learned, rng=stream("records"))
    figures += figures_of_attacks(ours, theirs, learned, rng=stream("attacks"))
    return figures + figures_of_rules(fake, real, schema, seed=stream.seed)


def guessed_target(schema: Schema) -> Column | None:
    """The column that is most likely asked for: the last one of 2 to 50 values; None where there is none."""
    able = [c for c in schema.learnt if not c.numbers and 2 <= len(c.values) <= MOST_CLASSES]
    return able[-1] if able else None


def figures_of_use(fake: Rows, real: Rows, train: Rows, target: Column, *, rng: Rng) -> list[Figure]:
    """What samples are good for (``tasks``), by each of several learners; ValueError for a target that is no column
    of values. Rows where it is missing are left out.
    """
    if target.numbers or len(target.values) < 2:
        raise ValueError(f"a target is told from the others by its values, and {target.name} is {target.kind}; name "
                         "a categorical column")  # fmt: skip
    sides: list[Labelled] = []
    for rows in (fake, train, real):
        y = rows.column(target.name) - 1
        index = (y >= 0).nonzero()[:, 0][: TASK_ROWS if rows is not real else None]
        some = rows.take(index).only([c for c in rows.columns if c != target.name])
        sides.append(Labelled(x=matrix(some), y=y[index]))
    if min(map(len, sides)) < LEAST_OF_TASKS or not sides[0].x.shape[1]:
        return []
    figures: list[Figure] = []
    for make in LEARNERS:
        learner = make(len(real.names) - (target.name in real.names))
        found = tasks(*sides, classes=len(target.values), learner=learner, rng=rng(learner.name))
        figures += [
            dataclasses.replace(f, name=f"{f.name} ({learner.name})", note=f"{target.name}; {f.note}")
            for f in found
            if f.name.endswith((" real on real", " samples on real"))
        ]
    return figures


def figures_of_rules(fake: Frame, real: Frame, schema: Schema, *, seed: int | None = None) -> list[Figure]:
    """The share of drawn rows that break each rule of the schema."""
    cells, usual = all_cells(fake, schema), all_cells(real, schema)
    figures: list[Figure] = []
    for rule in schema.rules:
        broken = int(np.sum(rule.violations(cells)))
        interval = intervals.of_share(broken, len(fake))
        figures.append(
            Figure(
                name=f"rows that break {rule.told()}", value=broken / len(fake), direction="lower", n=len(fake),
                interval=interval.bounds, interval_method=interval.method, level=intervals.LEVEL, seed=seed,
                note=f"held-out rows: {float(np.mean(rule.violations(usual))):.3g}",
            )
        )  # fmt: skip
    return figures


def _detection(fake: Rows, real: Rows, train: Rows, *, rng: Rng) -> list[Figure]:
    """Area under the curve of boosted trees that tell samples from held-out rows, and training rows from them."""
    if min(len(fake), len(real)) < separability.LEAST:
        return []
    trees = Boosting(len(real.names))

    def told(rows: Rows, name: str) -> separability.Told:
        a, b = finite(matrix(rows)), finite(matrix(real))
        return separability.told_apart(a, b, rng=rng(name), discriminator=trees.discriminate)

    found = told(fake, "samples")
    usual = told(train.take(torch.arange(min(len(train), len(fake)))), "training rows")
    area, error = found.area
    interval = intervals.of_auc(area, error, found.n // 2, found.n // 2)
    return [
        Figure(
            name="detection", value=area, direction="lower", n=len(fake), n_real=len(real), interval=interval.bounds,
            interval_method=interval.method, level=intervals.LEVEL, seed=rng.seed,
            note=f"area under the curve of boosted trees; one half is innocent, training rows have {usual.area[0]:.3f}",
        )
    ]  # fmt: skip
