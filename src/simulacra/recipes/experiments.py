"""Experiments that ask a published question again, over many data sets: what ``simulacra reproduce`` runs too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulacra.core.figure import Figure
from simulacra.recipes.versus import experiment as versus

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question with many figures and a page of its own.

    what       what is asked, in words.
    published  source -> what it found, in words.
    full, quick  its settings, and smaller ones that show that it runs in seconds.
    run        (settings, folder, seed, say) -> what was measured; parts that the folder has already are not run again.
    page       what was measured -> a whole HTML file. said: in sentences. figures: as numbers with intervals.
    cost       what it takes, in words.
    """

    what: str
    published: Mapping[str, str]
    full: Callable[[], Any]
    quick: Callable[[], Any]
    run: Callable[[Any, Path, int, Say], Any]
    page: Callable[[Any], str]
    said: Callable[[Any], list[str]]
    figures: Callable[[Any], list[Figure]]
    cost: str = ""


EXPERIMENTS: dict[str, Experiment] = {
    "generative-vs-discriminative": Experiment(
        what="when modelling p(x, y) classifies better than p(y | x): learning curves, and density-based classifiers"
        " against discriminative peers on pictures, texts and tables",
        published={
            "Ng & Jordan 2002, figure 1, 15 UCI data sets": "naive Bayes is ahead of logistic regression on few"
            " examples in most, and behind it on many where there were enough",
        },
        full=versus.full,
        quick=versus.quick,
        run=versus.run,
        page=versus.page,
        said=versus.said,
        figures=versus.figures,
        cost="about a quarter of an hour of one core; --quick seconds",
    ),
}
