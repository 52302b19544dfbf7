"""Molecules of a model that learned towards a score, beside those of the model it was: what was gained, what it cost.

A score that rises is no success by itself: fewer texts may be molecules, the same few may be drawn again and again, or
what scores best may be what nobody can make. Each of these is a figure here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.evaluation import intervals
from simulacra.evaluation.intervals import Interval
from simulacra.evaluation.molecules import PAIRS, SETS, valid_share
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

    def figure(
        name: str,
        value: float,
        was: float | None,
        direction: Literal["lower", "higher", "neither"],
        interval: Interval,
        *,
        n: int = len(after.texts),
        **more: Any,
    ) -> Figure:
        note = more.pop("note", "" if was is None else f"before: {was:.4g}")
        return Figure(name=name, value=value, direction=direction, n=n, interval=interval.bounds,
                      interval_method=interval.method, level=intervals.LEVEL, seed=seed, note=note, **more)  # fmt: skip

    found = [
        figure(f"score: {objective}", float(after.scores.mean()), float(before.scores.mean()), "higher",
               intervals.of_mean(after.scores)),
        figure("distance from before", float(distance.mean()), None, "neither", intervals.of_mean(distance),
               unit="nats", note="KL(now || before), from log p / p before of what is drawn now"),
        valid_share(after.texts, seed=seed),
    ]  # fmt: skip
    if min(len(after.different), len(before.different)) < 2:
        return found
    mine, theirs, n = after.valid, before.valid, len(after.different)
    learned = {canonical(text) for text in known}
    novel, varied, frames = (
        [of(side.different) for side in (after, before)]
        for of in (lambda some: sum(m not in learned for m in some) / len(some), _diversity, _scaffolds)
    )
    found += [
        figure("unique molecules", len(after.different) / mine, len(before.different) / theirs, "higher", SETS, n=mine),
        figure("novel molecules", novel[0], novel[1], "neither", SETS, n=n),
        figure("internal diversity", varied[0], varied[1], "higher", PAIRS, n=n),
        figure("different scaffolds", frames[0], frames[1], "higher", SETS, n=n),
    ]
    for name, values in properties(after.best).items():
        other = float(properties(before.best)[name].mean())
        found.append(figure(f"{name} of the best {len(after.best)}", float(values.mean()), other, "neither", SETS,
                            n=len(after.best), unit="daltons" if name == "weight" else ""))  # fmt: skip
    return found


def _diversity(smiles: Sequence[str]) -> float:
    return internal_diversity(torch.from_numpy(fingerprints(smiles)))


def _scaffolds(smiles: Sequence[str]) -> float:
    """Different frames of rings to a molecule."""
    return len({scaffold(s) for s in smiles}) / len(smiles)
