"""What a person looks at: each column of drawn and of real rows, how pairs differ, what is missing, some rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from simulacra.evaluation.report.columns import Marginal, TableView
from simulacra.evaluation.tables.rows import Rows, rows_of
from simulacra.evaluation.tables.shapes import column_shapes, pair_trends
from simulacra.modalities.tables.reading import Frame, missing_cells
from simulacra.modalities.tables.schema import Schema, written_number

SHOWN = 8  # rows, and values of a column
BINS = 24
MOST_COLUMNS = 40
LONGEST = 24  # characters of a cell


def table_view(fake: Frame, real: Frame, schema: Schema) -> TableView:
    """The page's part on a table: drawn rows against held-out ones."""
    ours, theirs = rows_of(fake, schema), rows_of(real, schema)
    names = [c.name for c in schema.learnt][:MOST_COLUMNS]
    alike, pairs = column_shapes(ours, theirs), pair_trends(ours, theirs)
    differences = [[_apart(pairs, a, b) for b in names] for a in names]
    gone = [(name, _share(real, name), _share(fake, name)) for name in names]
    header = [str(name) for name in fake.columns][:MOST_COLUMNS]
    return TableView(
        header=header,
        rows=_shown(fake, header),
        real_rows=_shown(real, [h for h in header if h in real.columns]),
        marginals=[_marginal(name, ours, theirs, schema, alike[name]) for name in names],
        names=names,
        differences=differences,
        missing=[line for line in gone if line[1] or line[2]],
    )


def _marginal(name: str, fake: Rows, real: Rows, schema: Schema, alike: float) -> Marginal:
    column = schema[name]
    about = f"alike {alike:.3f}"
    if column.numbers:
        held = real.column(name)
        held = held[held.isfinite()]
        few = len(held.unique()) <= SHOWN
        if not few:
            low, high = (float(torch.quantile(held[: 1 << 22], q)) for q in (0.005, 0.995))
            if low == high:
                low, high = float(held.min()), float(held.max())
            # whole bins of steps: else some would hold a value more than others
            if column.step:
                width = max(1, int(np.ceil((high - low) / column.step / BINS))) * column.step
                edges = np.arange(low - column.step / 2, high + width, width)
            else:
                edges = np.linspace(low, high, BINS + 1)
            shares = [_histogram(rows.column(name), edges) for rows in (real, fake)]
            ends = [written_number(column, v) for v in (low, high)]
            return Marginal(name=name, labels=ends, real=shares[0], fake=shares[1], numbers=True, about=about)
        values = [float(v) for v in held.unique()]
        labels = [written_number(column, v) for v in values]
        counts = [[float((rows.column(name) == v).double().mean()) for v in values] for rows in (real, fake)]
        return Marginal(name=name, labels=labels, real=counts[0], fake=counts[1], numbers=False, about=about)
    labels = ["(missing)", *map(str, column.values)]
    shares = [(torch.bincount(rows.column(name), minlength=len(labels)) / len(rows)).tolist() for rows in (real, fake)]
    order = [i for i in sorted(range(len(labels)), key=lambda i: -shares[0][i]) if shares[0][i] or shares[1][i]]
    top, rest = (order, []) if len(order) <= SHOWN else (order[: SHOWN - 1], order[SHOWN - 1 :])
    found = [[side[i] for i in top] + ([sum(side[i] for i in rest)] if rest else []) for side in shares]
    told = [labels[i] for i in top] + ([f"{len(rest)} others"] if rest else [])
    return Marginal(name=name, labels=told, real=found[0], fake=found[1], numbers=False, about=about)


def _histogram(column: Tensor, edges: np.ndarray) -> list[float]:
    """Shares of all rows in each bin, what lies beyond the ends in the last ones."""
    held = column[~column.isnan()].numpy()
    counts, _ = np.histogram(np.clip(held, edges[0], edges[-1]), edges)
    return (counts / max(1, len(column))).tolist()


def _apart(pairs: dict[tuple[str, str], float], a: str, b: str) -> float | None:
    found = pairs.get((a, b), pairs.get((b, a)))
    return None if found is None else 1 - found


def _share(frame: Frame, name: str) -> float:
    return float(missing_cells(frame[name]).mean())


def _shown(frame: Frame, header: list[str]) -> list[list[str]]:
    found: list[list[str]] = []
    gone = {name: missing_cells(frame[name]) for name in header}
    for i in range(min(SHOWN, len(frame))):
        cells = ["" if gone[name][i] else str(frame[name].iloc[i]) for name in header]
        found.append([cell if len(cell) <= LONGEST else f"{cell[: LONGEST - 1]}…" for cell in cells])
    return found
