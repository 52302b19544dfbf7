"""Figures of samples with classes: whether labels are kept, classes used evenly, and each class varied; and by class.

Where samples carry no labels of their own, those that the extractor's classifier gives them stand in, on both sides.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.evaluation import intervals
from simulacra.evaluation.further import Sets
from simulacra.evaluation.statistics import NEIGHBOURS, Origin
from simulacra.mathematics.diversity import class_spreads, pair_spread
from simulacra.mathematics.two_sample import manifolds

LEAST = 10  # examples of a class on either side, for a row of its own


def label_accuracy(sets: Sets, origin: Origin) -> list[Figure]:
    """Share of samples in which the classifier sees the class they were asked for; in its note, of real data."""
    if sets.fake_p is None or sets.fake_y is None:
        return []
    right = sets.fake_p.argmax(1) == sets.fake_y
    note = ""
    if sets.real_p is not None and sets.real_y is not None:
        note = f"held-out real data: {float((sets.real_p.argmax(1) == sets.real_y).double().mean()):.3f}"
    interval = intervals.of_share(int(right.sum()), len(right))
    value = float(right.double().mean())
    return [origin.figure("labels kept", value, "higher", interval, n=len(right), note=note)]


def class_balance(sets: Sets, origin: Origin) -> list[Figure]:
    """Total variation between the classes seen in samples and in real data: 0 for equal shares, 1 for none in common.

    The classifier names both sides, so that its own faults fall on both alike. p is of the chi-squared test that the
    shares are equal (Pearson 1900).
    """
    if sets.fake_p is None or sets.real_p is None:
        return []
    k = sets.fake_p.shape[1]
    counts = [torch.bincount(p.argmax(1), minlength=k).double() for p in (sets.fake_p, sets.real_p)]
    value = float((counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).abs().sum()) / 2
    table = torch.stack(counts)
    table = table[:, table.sum(0) > 0]
    test: Any = stats.chi2_contingency(table.numpy(), correction=False) if table.shape[1] > 1 else None
    p = 1.0 if test is None else float(test.pvalue)
    unused = int(((counts[0] == 0) & (counts[1] > 0)).sum())
    note = f"p = {p:.2g} by chi-squared" + (f"; {unused} of {k} classes never drawn" if unused else "")
    why = intervals.none("equal shares lie at the end of its range; see the p beside it")
    n, m = len(sets.fake_p), len(sets.real_p)
    return [origin.figure("class imbalance", value, "lower", why, n=n, n_real=m, note=note)]


def class_diversity(sets: Sets, origin: Origin) -> list[Figure]:
    """Distances within a class and between classes, in units of the real data's: 1 is right, below it too alike."""
    labels = _labels(sets)
    if labels is None:
        return []
    fake_y, real_y, whose = labels
    try:
        fake, real = class_spreads(sets.fake, fake_y), class_spreads(sets.real, real_y)
    except ValueError:
        return []  # no class has three examples
    n, m = len(sets.fake), len(sets.real)
    why = intervals.none("classes are few, and their spread is not chance")
    figures: list[Figure] = []
    for name, f, r in zip(("diversity within classes", "diversity between classes"), fake, real, strict=True):
        if r > 0 and not math.isnan(f):
            note = f"1 is right; mean distances {f:.4g} and {r:.4g}, {whose}"
            figures.append(origin.figure(name, f / r, "neither", why, n=n, n_real=m, note=note))
    return figures


def diversity(sets: Sets, origin: Origin) -> list[Figure]:
    """Mean distance of two samples in units of that of two real examples: 1 is right, below it too alike."""
    if min(len(sets.fake), len(sets.real)) < 3:
        return []
    fake, real = pair_spread(sets.fake), pair_spread(sets.real)
    if not real.value > 0:
        return []
    ratio = fake.value / real.value
    interval = intervals.none("the samples are all alike")
    if fake.value > 0:
        reason = intervals.spread_reason(len(sets.fake), len(sets.real))
        relative = ((fake.error / fake.value) ** 2 + (real.error / real.value) ** 2) ** 0.5
        interval = intervals.none(reason) if reason else intervals.normal(ratio, ratio * relative, "delta method")
    note = f"1 is right; mean distances {fake.value:.4g} and {real.value:.4g}"
    n, m = len(sets.fake), len(sets.real)
    return [origin.figure("diversity", ratio, "neither", interval, n=n, n_real=m, note=note)]


def by_class(sets: Sets, origin: Origin) -> list[Figure]:
    """Coverage, diversity and (where labels were asked for) labels kept, of every class with examples enough."""
    labels = _labels(sets)
    if labels is None:
        return []
    fake_y, real_y, whose = labels
    figures: list[Figure] = []
    names = sets.classes or tuple(str(c) for c in range(int(max(fake_y.max(), real_y.max())) + 1))
    for c, name in enumerate(names):
        fake, real = sets.fake[fake_y == c], sets.real[real_y == c]
        n, m = len(fake), len(real)
        if m < LEAST:
            continue
        share = intervals.of_share(n, len(fake_y))
        note = f"of real data {m / len(real_y):.3f}, {whose}"
        figures.append(
            origin.figure(f"share, class {name}", n / len(fake_y), "neither", share, n=len(fake_y), note=note)
        )
        if n < LEAST:
            continue
        if sets.fake_p is not None and sets.fake_y is not None:
            right = int((sets.fake_p[fake_y == c].argmax(1) == c).sum())
            interval = intervals.of_share(right, n)
            figures.append(origin.figure(f"labels kept, class {name}", right / n, "higher", interval, n=n))
        found = manifolds(fake, real, k=NEIGHBOURS)
        value = float(found.covered.mean())
        reason = intervals.none("a class alone has too few examples for one")
        figures.append(
            origin.figure(f"coverage (k={NEIGHBOURS}), class {name}", value, "higher", reason, n=n, n_real=m)
        )
        whole = diversity(Sets(fake=fake, real=real), origin)
        figures += [replace(f, name=f"diversity, class {name}") for f in whole]
    return figures


def _labels(sets: Sets) -> tuple[Tensor, Tensor, str] | None:
    """Labels of both sides, in words whose: the examples' own where both have them, else the classifier's of both."""
    if sets.fake_y is not None and sets.real_y is not None:
        return sets.fake_y, sets.real_y, "by their labels"
    if sets.fake_p is not None and sets.real_p is not None:
        return sets.fake_p.argmax(1), sets.real_p.argmax(1), "as the classifier sees them"
    return None
