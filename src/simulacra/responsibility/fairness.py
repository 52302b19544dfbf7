"""Fairness: which groups samples show, how often, how well; against the data they were learned from, or a target.

Groups are seen by a classifier, which errs, and errs more on some groups than on others. Shares are therefore
corrected by its confusion on labelled examples that it did not learn from, and their intervals come from a bootstrap
over both: the samples and those labelled examples. The correction supposes that the classifier errs on samples as it
does on real examples of the same group; samples of poor quality may break that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import optimize, stats
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation import intervals
from simulacra.evaluation.statistics import NEIGHBOURS, NOWHERE, Origin
from simulacra.mathematics.shares import confusion, corrected
from simulacra.mathematics.two_sample import manifolds
from simulacra.responsibility.finding import ALARM, Finding, unmeasured

SMALLEST = 30  # labelled examples of a group, and examples of it on either side, for figures of its own
REPEATS = 400  # of the bootstrap


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Examples whose group is known, as the classifier sees them: truth and seen, int64 (m,)."""

    truth: Tensor
    seen: Tensor


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Corrected shares (groups,), their bootstrap draws (repeats, groups), and what the classifier itself counts."""

    value: Tensor
    draws: Tensor
    counted: Tensor

    def interval(self, group: int) -> tuple[float, float]:
        """95 % by the bootstrap's percentiles."""
        low, high = self.draws[:, group].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        return low, high


def group_shares(
    seen: Tensor, labelled: Labelled, groups: int, *, rng: Rng | int = 0, repeats: int = REPEATS
) -> Shares:
    """Shares of the groups in samples whose groups were seen as ``seen``, int64 (n,).

    The bootstrap draws samples anew, and labelled examples anew within each group. ValueError for no samples, or a
    group without a labelled example.
    """
    if not len(seen):
        raise ValueError("shares of groups need samples; got none")
    stream = Rng.of(rng)
    errs = confusion(labelled.truth, labelled.seen, groups)
    counted = torch.bincount(seen, minlength=groups).double() / len(seen)
    members = [labelled.seen[labelled.truth == g] for g in range(groups)]
    draws: list[Tensor] = []
    for i in range(repeats):
        again = seen[stream("samples", i).integers(len(seen), (len(seen),))]
        rows = [
            torch.bincount(m[stream("labelled", i, g).integers(len(m), (len(m),))], minlength=groups).double() / len(m)
            for g, m in enumerate(members)
        ]
        draws.append(corrected(torch.bincount(again, minlength=groups).double() / len(again), torch.stack(rows)))
    return Shares(value=corrected(counted, errs), draws=torch.stack(draws), counted=counted)


def amplification(
    seen: Tensor, labelled: Labelled, target: Tensor, names: Sequence[str], *, rng: Rng | int = 0,
    against: str = "the training data", origin: Origin = NOWHERE,
) -> list[Finding]:  # fmt: skip
    """Corrected shares of samples less the target's (groups,), with intervals; one test over all groups.

    p  share of the bootstrap's draws that lie as far from their centre, in the group where they do most, as the
       target does: a test of all groups at once.
    Groups with fewer than 30 labelled examples are not measured, and say so.
    """
    groups = len(names)
    if target.shape != (groups,) or abs(float(target.sum()) - 1) > 1e-6:
        raise ValueError(f"a target gives each of {groups} groups a share, 1 together; got {target.tolist()}")
    stream = Rng.of(rng)
    found = group_shares(seen, labelled, groups, rng=stream)
    enough = torch.bincount(labelled.truth, minlength=groups) >= SMALLEST
    small = [n for n, fine in zip(names, enough.tolist(), strict=True) if not fine]
    refused = [
        unmeasured(
            f"share of group {name}",
            f"{int((labelled.truth == names.index(name)).sum())} labelled examples, the classifier's errors on it are"
            f" known from {SMALLEST} on",
        )
        for name in small
    ]
    if not bool(enough.any()):
        return refused
    figures: list[Figure] = []
    for g in enough.nonzero()[:, 0].tolist():
        low, high = found.interval(g)
        aim = float(target[g])
        note = f"{float(found.value[g]):.3f} of samples, {aim:.3f} of {against}; seen before correction"
        figures.append(
            origin.figure(
                f"amplification of {names[g]}", float(found.value[g]) - aim, "neither",
                intervals.Interval(bounds=(low - aim, high - aim), method="bootstrap of samples and confusion"),
                n=len(seen), n_real=len(labelled.truth), note=f"{note} {float(found.counted[g]):.3f}",
            )
        )  # fmt: skip
    apart = ((found.value - target)[enough]).abs()
    spread = found.draws[:, enough].std(0).clamp(min=1e-12)
    farthest = ((found.draws - found.draws.mean(0))[:, enough].abs() / spread).amax(1)
    p = (1 + int((farthest >= float((apart / spread).max())).sum())) / (1 + len(farthest))
    worst = enough.nonzero()[:, 0][int(apart.argmax())]
    moved = float((found.value - target)[worst])
    why = (
        f"farthest from {against}: {names[int(worst)]}, {moved:+.3f} (p = {p:.2g} over all {int(enough.sum())} groups)"
    )
    verdict = "attention" if p < ALARM else "pass"
    return [Finding(name="shares of groups", verdict=verdict, why=why, figures=tuple(figures), p=p), *refused]


def quality_by_group(
    fake: Tensor, fake_groups: Tensor, real: Tensor, real_groups: Tensor, names: Sequence[str], *,
    rng: Rng | int = 0, origin: Origin = NOWHERE,
) -> list[Finding]:  # fmt: skip
    """Coverage, recall and precision of each group, all at the same number of examples.

    The expected coverage of a perfect model depends on numbers alone, not on the group (Naeem et al. 2020, lemma 2),
    so that at equal n gaps are the model's. p is of the chi-squared test that all groups are covered alike; it takes
    the examples of a group for independent, which neighbours are not quite.
    """
    stream = Rng.of(rng)
    sizes = {g: min(int((fake_groups == g).sum()), int((real_groups == g).sum())) for g in range(len(names))}
    kept = [g for g, size in sizes.items() if size >= SMALLEST]
    refused = [
        unmeasured(f"quality of group {names[g]}", f"{size} examples of it on one side, at least {SMALLEST} are needed")
        for g, size in sizes.items()
        if size < SMALLEST
    ]
    if len(kept) < 2:
        return [
            unmeasured(
                "quality by group",
                f"{len(kept)} of {len(names)} groups have {SMALLEST} examples on both sides, 2 are needed",
            ),
            *refused,
        ]
    n = min(sizes[g] for g in kept)
    figures: list[Figure] = []
    covered: list[int] = []
    for g in kept:
        f = fake[(fake_groups == g).nonzero()[:, 0]]
        r = real[(real_groups == g).nonzero()[:, 0]]
        f, r = f[stream("fake", g).permutation(len(f))[:n]], r[stream("real", g).permutation(len(r))[:n]]
        found = manifolds(f, r, k=NEIGHBOURS)
        covered.append(int(found.covered.sum()))
        for name, each in (("coverage", found.covered), ("recall", found.recalled), ("precision", found.precise)):
            reason = intervals.none("a group alone has too few examples for one")
            figures.append(
                origin.figure(f"{name}, group {names[g]}", float(each.mean()), "higher", reason, n=n, n_real=n)
            )
    low, high = min(covered), max(covered)
    table = np.array([covered, [n - c for c in covered]])
    p = 1.0
    if low < high:
        test: Any = stats.chi2_contingency(table)
        p = float(test.pvalue)
    worst, best = names[kept[covered.index(low)]], names[kept[covered.index(high)]]
    why = f"coverage from {low / n:.2f} ({worst}) to {high / n:.2f} ({best}) at {n} examples each (p = {p:.2g})"
    verdict = "attention" if p < ALARM else "pass"
    return [Finding(name="quality by group", verdict=verdict, why=why, figures=tuple(figures), p=p), *refused]


def reweighted(seen: Tensor, labelled: Labelled, target: Tensor, n: int, *, rng: Rng | int = 0) -> Tensor:
    """Which n of the samples to keep, so that their true shares are the target's (groups,): int64 (n,), distinct.

    Samples are chosen by the group they are seen as, in shares v that solve sum_s v_s p(group | seen s) = target as
    nearly as shares can (non-negative least squares): the classifier's errors are part of the choice. ValueError where
    too few samples are seen as some group that is needed.
    """
    stream, groups = Rng.of(rng), len(target)
    errs = confusion(labelled.truth, labelled.seen, groups)
    counted = torch.bincount(seen, minlength=groups).double() / len(seen)
    joint = corrected(counted, errs)[:, None] * errs
    truth = joint / joint.sum(0).clamp(min=1e-300)  # p(group | seen)
    v, _ = optimize.nnls(truth.numpy(), target.double().numpy())
    wanted = torch.from_numpy(v / v.sum()) * n
    quota = wanted.floor().long()
    rest = (wanted - quota).argsort(descending=True, stable=True)[: n - int(quota.sum())]
    quota[rest] += 1
    chosen: list[Tensor] = []
    for g, need in enumerate(quota.tolist()):
        there = (seen == g).nonzero()[:, 0]
        if len(there) < need:
            raise ValueError(
                f"{need} samples seen as group {g} are needed and {len(there)} are there; draw more, or keep fewer"
            )
        chosen.append(there[stream("group", g).permutation(len(there))[:need]])
    return torch.cat(chosen)


def balanced(groups: Tensor, n: int, *, rng: Rng | int = 0) -> Tensor:
    """n numbers of examples in which every group is as frequent (to within one), int64 (n,): for ``Stored.subset``.

    A group smaller than its part is gone through again and again. In a random order.
    """
    stream = Rng.of(rng)
    present = groups.unique().tolist()
    parts: list[Tensor] = []
    for place, g in enumerate(present):
        there = (groups == g).nonzero()[:, 0]
        need = n // len(present) + (place < n % len(present))
        rounds = -(-need // len(there))
        order = [there[stream("group", int(g), i).permutation(len(there))] for i in range(rounds)]
        parts += [torch.cat(order)[:need]] if order else []
    whole = torch.cat(parts)
    return whole[stream("order").permutation(len(whole))]
