"""Figures of tunes: equal sets overlap, others do not, copies are found."""

from __future__ import annotations

import pytest

from simulacra.core.randomness import Rng
from simulacra.evaluation.music import figures_of_tunes
from simulacra.evaluation.report.figures import explain
from simulacra.modalities.music.tunes import GRID, Note, Tune, tidied

SCALE = (60, 62, 64, 65, 67, 69, 71, 72)


def tune(seed: int, *, scale=SCALE, length: int = GRID) -> Tune:
    degrees = Rng(seed)("degree").integers(len(scale), (16,)).tolist()
    notes = [Note(start=i * length, program=0, pitch=scale[d], duration=length, velocity=92)
             for i, d in enumerate(degrees)]  # fmt: skip
    return Tune(notes=tidied(notes).notes, bars=(48,) * (16 * length // 48))


TRAIN, REAL, NEW = ([tune(i) for i in range(a, a + 40)] for a in (0, 100, 200))


def named(fake):
    return {f.name: f for f in figures_of_tunes(fake, REAL, train=TRAIN, seed=1)}


def test_tunes_of_one_kind_overlap_and_others_do_not():
    same, other = named(NEW), named([tune(i, scale=tuple(range(30, 42)), length=2 * GRID) for i in range(40)])
    assert same["overlapping area"].value > 0.9
    assert other["overlapping area"].value < 0.6
    assert other["overlapping area of durations"].value == 0.0
    assert same["out-of-key rate"].value == pytest.approx(0.0, abs=1e-12)
    assert other["out-of-key rate"].value > 0.2
    assert same["notes a quarter"].value == pytest.approx(1.0)
    assert other["notes a quarter"].value == pytest.approx(0.5)


def test_copies_are_found():
    assert named(TRAIN)["tunes that stand whole in training"].value == 1.0
    assert named(NEW)["tunes that stand whole in training"].value == 0.0


def test_every_figure_is_explained():
    assert all(explain(name) for name in named(NEW))
    with pytest.raises(ValueError, match="compared from 3 on; got 2 samples"):
        figures_of_tunes(NEW[:2], REAL, train=TRAIN)
