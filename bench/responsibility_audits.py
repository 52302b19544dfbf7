"""Audits against planted faults: power and false alarms of the copying tests, membership, and doses of unfairness.

All worlds are made, so that the truth is known: a mixture of ten Gaussians of 16 dimensions stands for data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.responsibility.copying import copying
from simulacra.responsibility.fairness import Labelled, amplification, reweighted
from simulacra.responsibility.membership import attack

if TYPE_CHECKING:
    from bench.harness import Row

REPETITIONS = 50
TRAIN, N = 2_000, 1_000  # examples learned from; samples and held-out examples
ERRS = torch.tensor([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]], dtype=torch.float64)
TRUE = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
DOSE = torch.tensor([0.1, -0.04, -0.06], dtype=torch.float64)


def world(name: str, n: int, i: int) -> Tensor:
    """n draws from the mixture."""
    means = 3 * Rng(0)("means").normal((10, 16), dtype=torch.float64)
    stream = Rng(i)(name)
    return means[stream("mode").integers(10, (n,))] + stream("x").normal((n, 16), dtype=torch.float64)


def run() -> list[Row]:
    """The rows of all questions."""
    return [*copies(), *members(), *doses()]


def copies(repetitions: int = REPETITIONS) -> list[Row]:
    """How often each test speaks of attention at p < 0.05, for honest samples and for planted copies."""
    from bench.harness import Row

    rows: list[Row] = []
    for share, noise, target in (
        (0.0, 0.0, "0.02 .. 0.08"),
        (0.01, 0.0, ">= 0.9"),
        (0.05, 0.0, ">= 0.9"),
        (0.05, 0.2, ""),
    ):
        tail = cells = 0
        for i in range(repetitions):
            train, held, fake = world("train", TRAIN, i), world("held", N, i), world("fake", N, i)
            planted = round(share * N)
            fake[:planted] = train[:planted] + noise * Rng(i)("noise").normal((planted, 16), dtype=torch.float64)
            found = copying(fake, held, train, rng=i)
            tail += found.tail.p < 0.05
            cells += found.data_copying is not None and found.data_copying.p < 0.05
        what = f"{share:.0%} of samples copied" + (f", noise of {noise:g} deviations" if noise else "")
        for name, hits in (("nearest neighbours", tail), ("C_T", cells)):
            value = hits / repetitions
            met = None
            if share == 0:
                met = 0.02 <= value <= 0.08
            elif target and name == "nearest neighbours":
                met = value >= 0.9
            rows.append(
                Row(
                    what=f"copying, {name}; {what if share else 'honest samples'}",
                    unit="alarms",
                    ours=value,
                    target=target if met is not None else "",
                    met=met,
                    note=f"{repetitions} repetitions; {N} samples and held-out examples, {TRAIN} training examples",
                )
            )
    return rows


def members() -> list[Row]:
    """Areas of an attack on kernels about other data (which know nothing), and about the training data."""
    from bench.harness import Row

    train, held = world("train", TRAIN, 0), world("held", TRAIN, 0)

    def score(x: Tensor, about: Tensor, width: float) -> Tensor:
        return (-torch.cdist(x, about).square() / (2 * width**2)).logsumexp(1)

    rows: list[Row] = []
    for name, about, width in (("ignorant", world("other", TRAIN, 0), 1.0), ("memorising", train, 0.3)):
        found = attack("likelihood", score(train, about, width), score(held, about, width), seed=0)
        area, hits = found.figures
        low, high = area.interval or (area.value, area.value)
        good = low <= 0.5 <= high if name == "ignorant" else area.value >= 0.9
        rows.append(
            Row(
                what=f"membership by likelihood; {name} model",
                unit="AUC",
                ours=area.value,
                target="interval holds 0.5" if name == "ignorant" else ">= 0.9",
                met=good,
                note=f"interval [{low:.3f}, {high:.3f}]; hits at 0.1 % false alarms {hits.value:.4f} {hits.interval}",
            )
        )
    return rows


def doses(repetitions: int = REPETITIONS) -> list[Row]:
    """How often the audit's intervals of amplification hold nothing, or the dose that was planted."""
    from bench.harness import Row

    rows: list[Row] = []
    for name, share in (("resampled training data", TRUE), ("a known dose", TRUE + DOSE)):
        inside = alarms = counted = 0
        nearer = 0.0
        for i in range(repetitions):
            truth = Rng(i)("labelled").categorical(TRUE.log().expand(N, -1))
            labelled = Labelled(truth=truth, seen=Rng(i)("labelled seen").categorical(ERRS[truth].log()))
            drawn = Rng(i)("fake").categorical(share.log().expand(2 * N, -1))
            seen = Rng(i)("seen").categorical(ERRS[drawn].log())
            found = amplification(seen, labelled, TRUE, ["a", "b", "c"], rng=i)[0]
            alarms += found.verdict == "attention"
            for figure, moved in zip(found.figures, (share - TRUE).tolist(), strict=True):
                low, high = figure.interval or (0.0, 0.0)
                inside += low <= moved <= high
                counted += 1
            kept = drawn[reweighted(seen, labelled, TRUE, N // 2, rng=i)]
            nearer += float((torch.bincount(kept, minlength=3) / len(kept) - TRUE).abs().sum() / 2) / repetitions
        before = float((share - TRUE).abs().sum()) / 2
        rows.append(
            Row(
                what=f"amplification; {name}",
                unit="intervals that hold it",
                ours=inside / counted,
                target="0.90 .. 0.99",
                met=0.90 <= inside / counted <= 0.99,
                note=f"alarms in {alarms} of {repetitions}; distance from the target {before:.3f} before, {nearer:.3f}"
                " after reweighted sampling",
            )
        )
    return rows
