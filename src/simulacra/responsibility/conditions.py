"""Gaps between the conditions of a conditional model: is one class drawn as it was asked for, and another not?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.evaluation import intervals
from simulacra.evaluation.statistics import NOWHERE, Origin
from simulacra.responsibility.fairness import SMALLEST, Labelled
from simulacra.responsibility.finding import ALARM, Finding, unmeasured


def condition_gap(
    wanted: Tensor, seen: Tensor, labelled: Labelled, names: Sequence[str], *, origin: Origin = NOWHERE
) -> Finding:
    """Share of each condition's samples that show it, less the same share of real examples of that class.

    wanted, seen  int64 (n,): the classes asked for and those the classifier sees in the samples.
    A class that the classifier knows badly is low on both sides. p is Fisher's exact test that fewer samples than real
    examples show their class, in the class where it is smallest, times the number of classes (Bonferroni).
    """
    figures: list[Figure] = []
    worst: tuple[float, str, float] | None = None
    for g, name in enumerate(names):
        ours, real = seen[wanted == g] == g, labelled.seen[labelled.truth == g] == g
        n, m = len(ours), len(real)
        if min(n, m) < SMALLEST:
            continue
        kept, known = int(ours.sum()), int(real.sum())
        table = np.array([[kept, n - kept], [known, m - known]])
        p = float(stats.fisher_exact(table, alternative="less")[1])  # pyright: ignore[reportIndexIssue, reportArgumentType]
        share = intervals.of_share(kept, n)
        figures.append(
            origin.figure(f"labels kept, condition {name}", kept / n, "higher", share, n=n, n_real=m,
                          note=f"held-out real data of the class: {known / m:.3f}")
        )  # fmt: skip
        if worst is None or p < worst[0]:
            worst = (p, name, kept / n - known / m)
    if worst is None:
        return unmeasured("gaps between conditions", f"no condition has {SMALLEST} samples and as many real examples")
    p = min(1.0, worst[0] * len(figures))
    why = f"farthest below real data of its class: {worst[1]}, {worst[2]:+.3f} of labels kept (p = {p:.2g} over all)"
    verdict = "attention" if p < ALARM else "pass"
    return Finding(name="gaps between conditions", verdict=verdict, why=why, figures=tuple(figures), p=p)
