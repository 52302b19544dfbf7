"""Differences between candidates: paired where they can be, corrected for their number, and never between unlikes."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.figure import Figure
from simulacra.core.randomness import Rng
from simulacra.evaluation.differences import differences
from simulacra.mathematics.significance import holm


def figure(value: float, error: float = 0.1, **changes) -> Figure:
    given = {"name": "kernel distance", "direction": "lower", "n": 500, "interval_method": "jackknife",
             "interval": (value - 1.959964 * error, value + 1.959964 * error), "extractor": "pixels"}  # fmt: skip
    return Figure(value=value, **{**given, **changes})


def test_a_difference_by_its_intervals():
    """1.0 and 1.3 with errors 0.06 and 0.08: 0.3 is three standard errors, p = 0.0027."""
    (found,) = differences({"a": [figure(1.0, 0.06)], "b": [figure(1.3, 0.08)]})
    assert found.difference == pytest.approx(-0.3)
    assert found.p == pytest.approx(0.0026998, rel=1e-3)
    assert found.interval == pytest.approx((-0.3 - 0.196, -0.3 + 0.196), abs=1e-3)
    assert (found.better, found.method, found.extractor) == ("a", "from the intervals", "pixels")


def test_many_tests_are_corrected():
    values = {"a": [figure(1.0)], "b": [figure(1.3)], "c": [figure(1.35)]}
    found = differences(values)
    assert len(found) == 3
    assert [t.adjusted for t in found] == holm([t.p for t in found])
    # b against a alone has p = 0.034; among three it is no longer beyond chance
    assert not any(t.better for t in found if {t.a, t.b} == {"a", "b"})


def test_likelihoods_are_paired():
    """Two models that differ by 0.05 on every example, whatever the examples: pairs see it, intervals could not."""
    each = 80 + 5 * Rng(0)("nats").normal((300,), dtype=torch.float64)
    noise = 0.1 * Rng(0)("noise").normal((300,), dtype=torch.float64)
    name = "negative log-likelihood of pixels"
    nll = lambda v, kind: figure(v, 0.3, name=name, interval_method="Student's t", kind=kind)  # noqa: E731
    for kinds, better in ((("exact", "exact"), "a"), (("exact", "bound"), ""), (("bound", "exact"), "a")):
        figures = {"a": [nll(80.0, kinds[0])], "b": [nll(80.05, kinds[1])]}
        (found,) = differences(figures, {name: {"a": each, "b": each + 0.05 + noise}})
        assert found.method == "paired bootstrap, n = 300"
        assert found.interval[0] < -0.05 < found.interval[1]
        assert found.p < 0.001
        assert found.better == better
    with pytest.raises(ValueError, match="a was scored on 300 examples and b on 200"):
        differences({}, {name: {"a": each, "b": each[:200]}})


@pytest.mark.parametrize(
    "other",
    [
        figure(9.0, extractor="classifier"), figure(9.0, extractor_hash="ff"), figure(9.0, unit="nats"),
        figure(9.0, interval=None), figure(9.0, interval_method="Wilson's score"), figure(9.0, direction="neither"),
    ],
)  # fmt: skip
def test_unlike_figures_are_not_tested(other):
    mine = figure(1.0, direction=other.direction)
    assert differences({"a": [mine], "b": [other]}) == []
