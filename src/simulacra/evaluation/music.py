"""Tunes that were drawn, against held-out ones and those that were learned from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from simulacra.core.figure import Figure
from simulacra.evaluation import intervals
from simulacra.evaluation.intervals import Interval
from simulacra.mathematics.tunes import (
    intervals_between,
    out_of_key,
    overlapping_area,
    pitch_classes,
    repeated,
)
from simulacra.modalities.music.tunes import DRUMS, GRID, Tune

MOST = 300  # tunes a side: all pairs of them are compared
PAIRS = intervals.none("pairs share tunes, and no method was tried")
DURATIONS = (3, 6, 12, 18, 24, 48)  # steps: a sixteenth, an eighth, a quarter, dotted, a half, a whole note or more


def _pitch(tune: Tune) -> Tensor:
    return torch.tensor([n.pitch for n in tune.notes if n.program != DRUMS], dtype=torch.int64)


def _durations(tune: Tune) -> Tensor:
    lengths = torch.tensor([n.duration for n in tune.notes], dtype=torch.float64)
    cells = torch.bucketize(lengths, torch.tensor(DURATIONS, dtype=torch.float64))
    return torch.bincount(cells, minlength=len(DURATIONS) + 1).double() / max(len(lengths), 1)


def _density(tune: Tune) -> Tensor:
    """Notes a quarter."""
    return torch.tensor([len(tune.notes) * GRID / sum(tune.bars)], dtype=torch.float64)


def _range(tune: Tune) -> Tensor:
    pitch = _pitch(tune)
    return torch.tensor([float(pitch.max() - pitch.min()) if len(pitch) else 0.0], dtype=torch.float64)


def _bars(tune: Tune) -> Tensor:
    """The pitch classes of every bar that has a note, (bars, 12)."""
    rows, begins = [], 0
    for length in tune.bars:
        inside = [n.pitch for n in tune.notes if begins <= n.start < begins + length and n.program != DRUMS]
        begins += length
        if inside:
            rows.append(pitch_classes(torch.tensor(inside)))
    return torch.stack(rows) if rows else torch.zeros(0, 12, dtype=torch.float64)


FEATURES: Mapping[str, Callable[[Tune], Tensor]] = {
    "pitch classes": lambda t: pitch_classes(_pitch(t)),
    "intervals": lambda t: intervals_between(_pitch(t)),
    "durations": _durations,
    "note density": _density,
    "pitch range": _range,
}


def figures_of_tunes(
    fake: Sequence[Tune], real: Sequence[Tune], *, train: Sequence[Tune], seed: int | None = None
) -> list[Figure]:
    """Overlapping areas of features, keys, density, repetition and copies; each note says what held-out tunes come to.

    ValueError for fewer than three tunes with notes on a side.
    """
    ours, theirs, learned = ([t for t in part if t.notes][:MOST] for part in (fake, real, train))
    if min(len(ours), len(theirs), len(learned)) < 3:
        raise ValueError(
            f"tunes are compared from 3 on; got {len(ours)} samples with notes, {len(theirs)} held out,"
            f" {len(learned)} learned from"
        )
    found: list[Figure] = []

    def add(name: str, value: float, direction: Literal["lower", "higher", "neither"], interval: Interval, note: str,
            unit: str = "") -> None:  # fmt: skip
        found.append(
            Figure(
                name=name,
                value=value,
                direction=direction,
                n=len(ours),
                n_real=len(theirs),
                interval=interval.bounds,
                interval_method=interval.method,
                level=intervals.LEVEL,
                seed=seed,
                note=note,
                unit=unit,
            )
        )

    areas: list[tuple[float, float]] = []
    for name, of in FEATURES.items():
        a, b, c = (torch.stack([of(t) for t in part]) for part in (ours, theirs, learned))
        areas.append((overlapping_area(a, b), overlapping_area(c, b)))
        add(f"overlapping area of {name}", areas[-1][0], "higher", PAIRS, f"training tunes: {areas[-1][1]:.3g}")
    mine, usual = (sum(side) / len(areas) for side in zip(*areas, strict=True))
    add("overlapping area", mine, "higher", PAIRS, f"mean of {len(areas)} features; training tunes: {usual:.3g}")
    single: Mapping[str, tuple[Callable[[Tune], float], str]] = {
        "out-of-key rate": (lambda t: out_of_key(_pitch(t)), ""),
        "notes a quarter": (lambda t: float(_density(t)), ""),
        "bars that come again": (lambda t: repeated(_bars(t)), ""),
    }
    for name, (of, unit) in single.items():
        a, b = ([v for t in part if not math.isnan(v := of(t))] for part in (ours, theirs))
        if a and b:
            values = torch.tensor(a, dtype=torch.float64)
            add(name, float(values.mean()), "neither", intervals.of_mean(values),
                f"held-out tunes: {sum(b) / len(b):.3g}", unit)  # fmt: skip
    known = {t.notes for t in train}
    copies, other = sum(t.notes in known for t in ours), sum(t.notes in known for t in theirs)
    add("tunes that stand whole in training", copies / len(ours), "neither", intervals.of_share(copies, len(ours)),
        f"held-out tunes: {other / len(theirs):.3g}")  # fmt: skip
    return found
