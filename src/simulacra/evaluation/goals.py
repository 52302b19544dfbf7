"""Molecules of a model that learned towards a score, beside those of the model it was: what was gained, what it cost.

A score that rises is no success by itself: fewer texts may be molecules, the same few may be drawn again and again, or
what scores best may be what nobody can make. Each of these is a figure here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.evaluation import intervals
from simulacra.evaluation.intervals import Interval
from simulacra.evaluation.molecules import PAIRS, SETS, UNITS, valid_share
from simulacra.mathematics.fingerprints import internal_diversity
from simulacra.modalities.molecules.chemistry import canonical, fingerprints, properties, scaffold
from simulacra.modalities.molecules.objectives import Objective

BEST = 100  # different molecules of the highest scores


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Texts that a model drew, and what is counted of them.

    scores     of each text, float64 (n,).
    different  the different molecules among them, canonical, in the order they were drawn.
    best       up to 100 of those, the highest scores first.
    """

    texts: Sequence[str]
    scores: Tensor
    different: Sequence[str]
    best: Sequence[str]

    @staticmethod
    def of(texts: Sequence[str], objective: Objective) -> Scored:
        """Score texts, molecules or not."""
        different = list(dict.fromkeys(s for text in texts if (s := canonical(text)) is not None))
        order = np.argsort(-objective(different), kind="stable").tolist() if different else []
        return Scored(
            texts=texts,
            scores=torch.from_numpy(objective(texts)),
            different=different,
            best=[different[i] for i in order[:BEST]],
        )

    @property
    def valid(self) -> int:
        """How many of the texts are molecules."""
        return sum(canonical(text) is not None for text in self.texts)


def figures_of_goal(
    after: Scored,
    before: Scored,
    distance: Tensor,
    *,
    objective: Objective,
    known: Sequence[str],
    seed: int | None = None,
) -> list[Figure]:
    """What learning towards an objective came to; each note says what it was before.

    after, before  what the model draws now, and what it drew.
    distance       log p / p_before of the texts drawn now, nats (n,).
    known          SMILES of the molecules the model first learned from.
    ValueError for fewer than two texts on either side.
    """
    if min(len(after.texts), len(before.texts)) < 2:
        raise ValueError(
            f"what was learned shows in two texts or more of either model; got {len(after.texts)} and"
            f" {len(before.texts)}: draw more"
        )

    n = len(after.texts)
    found = [
        _with_before(
            _figure(f"score: {objective}", float(after.scores.mean()), "higher", n, intervals.of_mean(after.scores)),
            float(before.scores.mean()),
        ),
        _figure("distance from before", float(distance.mean()), "neither", n, intervals.of_mean(distance),
                "KL(now || before), from log p / p before of what is drawn now", "nats"),
        _with_before(valid_share(after.texts), before.valid / len(before.texts)),
    ]  # fmt: skip
    if min(len(after.different), len(before.different)) >= 2:
        found += [*_variety(after, before, known), *_best(after.best, before.best)]
    return [replace(f, seed=seed) for f in found]


def _variety(after: Scored, before: Scored, known: Sequence[str]) -> list[Figure]:
    """How many different molecules and scaffolds there are, how many of them new, and how unlike they are."""
    learned, n, hits = {canonical(text) for text in known}, len(after.different), after.valid
    new, was_new = (sum(m not in learned for m in side.different) for side in (after, before))
    return [
        _with_before(_figure("unique molecules", n / hits, "higher", hits, SETS), len(before.different) / before.valid),
        _with_before(
            _figure("novel molecules", new / n, "neither", n, intervals.of_share(new, n)),
            was_new / len(before.different),
        ),
        _with_before(
            _figure("internal diversity", _diversity(after.different), "higher", n, PAIRS), _diversity(before.different)
        ),
        _with_before(
            _figure("different scaffolds", _scaffolds(after.different), "higher", n, SETS), _scaffolds(before.different)
        ),
    ]


def _best(after: Sequence[str], before: Sequence[str]) -> list[Figure]:
    """Means of the properties of the best molecules."""
    now, was = properties(after), properties(before)
    return [
        _with_before(
            _figure(f"{name} of the best {len(after)}", float(values.mean()), "neither", len(after), SETS,
                    unit=UNITS.get(name, "")),
            float(was[name].mean()),
        )
        for name, values in now.items()
    ]  # fmt: skip


def _figure(
    name: str, value: float, direction: Literal["lower", "higher", "neither"], n: int, interval: Interval,
    note: str = "", unit: str = "",
) -> Figure:  # fmt: skip
    return Figure(name=name, value=value, direction=direction, n=n, interval=interval.bounds, note=note, unit=unit,
                  interval_method=interval.method, level=intervals.LEVEL)  # fmt: skip


def _with_before(figure: Figure, was: float) -> Figure:
    return replace(figure, note="; ".join(filter(None, [figure.note, f"before: {was:.4g}"])))


def _diversity(smiles: Sequence[str]) -> float:
    return internal_diversity(torch.from_numpy(fingerprints(smiles)))


def _scaffolds(smiles: Sequence[str]) -> float:
    """Different frames of rings to a molecule."""
    return len({scaffold(s) for s in smiles}) / len(smiles)
