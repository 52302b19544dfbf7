"""Runs of tables, judged: rows they draw against held-out ones, and likelihoods in the columns' own units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from simulacra.core.batch import Batch, Stored
from simulacra.core.capabilities import Likelihood, Sampler
from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation.likelihood import figures_of_likelihood, log_likelihood
from simulacra.evaluation.report.columns import TableView
from simulacra.evaluation.tables.judged import figures_of_rows
from simulacra.evaluation.tables.likelihood import InOwnUnits
from simulacra.evaluation.tables.picture import table_view
from simulacra.modalities.sources import Loaded
from simulacra.modalities.tables.encoding import TableEncoding
from simulacra.modalities.tables.reading import Frame

MOST = 10_000  # rows drawn and compared where nobody says how many
LOOKED_AT = 2_000  # rows that the page is made of


def frame_of(data: Any, table: TableEncoding, n: int | None = None) -> Frame:
    """The rows of data that was opened, the first n of them."""
    assert isinstance(data, Stored)
    batch = Batch(x=data.x, y=data.y, known=data.known)
    return table.decode(batch if n is None else batch.rows(torch.arange(min(n, len(data)))))


def figures_of_table(
    model: Any,
    loaded: Loaded,
    *,
    n: int | None = None,
    target: str | None = None,
    rng: Rng,
    options: Mapping[str, Any] | None = None,
) -> list[Figure]:
    """Every figure of a model of a table: of held-out rows' likelihood where it scores, of its rows where it draws.

    n       rows drawn, and at most so many held-out ones; None: as many as are held out, to 10,000.
    target  the column that classifiers tell from the others; None: that of the fit, or the last one of few values.
    """
    table = loaded.table
    assert table is not None
    count = min(len(loaded.held_out), MOST) if n is None else n
    figures: list[Figure] = []
    if isinstance(model, Likelihood):
        scored = log_likelihood(InOwnUnits(model, table, options), loaded.held_out, n=count, rng=rng("likelihood"))
        figures += figures_of_likelihood(scored, seed=rng.seed)
    if isinstance(model, Sampler):
        with torch.no_grad():
            fake = table.decode(model.sample(count, rng=rng("samples")))
        real, train = frame_of(loaded.held_out, table, count), frame_of(loaded.train, table)
        figures += figures_of_rows(fake, real, train, table.schema, target=target or table.target, rng=rng("rows"))
    return figures


def view_of(model: Any, loaded: Loaded) -> TableView | None:
    """What the page shows of a model that draws rows."""
    if loaded.table is None or not isinstance(model, Sampler):
        return None
    with torch.no_grad():
        fake = loaded.table.decode(model.sample(LOOKED_AT, rng=Rng(0)("look")))
    return table_view(fake, frame_of(loaded.held_out, loaded.table, 10 * LOOKED_AT), loaded.table.schema)
