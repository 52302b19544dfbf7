"""Figures as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulacra.core.figure import Figure
from simulacra.evaluation.report.by_class import apart, text
from simulacra.evaluation.report.figures import ARROWS, basis, extractor_text, interval_text, value_text

MOST_NAME = 40  # characters of a name in a terminal's line; longer ones are folded


def text_table(figures: Sequence[Figure], *, title: str = "") -> Group:
    """The figures for a rich console: one table for all that rest on the same examples, features and seed, and
    one of those of single classes."""
    groups: dict[str, list[Figure]] = {}
    figures, classes = apart(figures)
    for f in figures:
        seed = "" if f.seed is None else f"seed {f.seed}"
        groups.setdefault("; ".join(p for p in (extractor_text(f), basis(f), seed) if p), []).append(f)
    # columns of equal width, so that the tables line up
    names = max((len(f.name) for f in figures), default=0)
    values = max((len(value_text(f)) for f in figures), default=0)
    parts: list[RenderableType] = [Text(title, style="bold")] if title else []
    for about, several in groups.items():
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(width=min(names, MOST_NAME))
        table.add_column(width=1)
        table.add_column(justify="right", width=values)
        table.add_column(overflow="fold")
        for f in several:
            # Text, not markup: an interval's square brackets would be read as a style
            told = interval_text(f) + (f"; {f.note}" if f.note else "")
            table.add_row(Text(f.name), ARROWS[f.direction], Text(value_text(f), style="bold"), Text(told))
        parts += [Text(about, style="dim"), table]
    for table in classes:
        parts += [Text(f"{table.subject}, by class", style="dim"), text(table)]
    return Group(*parts)
