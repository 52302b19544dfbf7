"""Figures: what may stand in one column, and JSON there and back."""

import json

import pytest

from simulacra.core.figure import Figure

FRECHET = Figure(
    name="Frechet distance",
    value=12.5,
    direction="lower",
    n=2000,
    n_real=10_000,
    interval=(12.0, 13.0),
    interval_method="jackknife",
    seed=3,
    extractor="pixels",
    extractor_hash="ab12",
)


@pytest.mark.parametrize(
    "change",
    [{"name": "kernel distance"}, {"unit": "nats"}, {"extractor": "classifier"}, {"extractor_hash": "cd34"}],
    ids=str,
)
def test_what_measures_different_things_is_refused_by_name(change):
    other = Figure(**{**FRECHET.to_json(), **change})
    for a, b in ((FRECHET, other), (other, FRECHET)):
        with pytest.raises(ValueError, match="cannot be compared") as error:
            a.comparable_to(b)
        assert str(next(iter(change.values()))) in str(error.value)


@pytest.mark.parametrize("change", [{"value": 3.0}, {"seed": 4}, {"note": "again"}, {"interval": None}], ids=str)
def test_the_same_measure_of_other_models_may_be_compared(change):
    FRECHET.comparable_to(Figure(**{**FRECHET.to_json(), **change}))


@pytest.mark.parametrize(
    "figure", [FRECHET, Figure(name="test NLL", value=-80.0, direction="lower", n=10, unit="nats")]
)
def test_json_there_and_back(figure):
    assert Figure.from_json(json.loads(json.dumps(figure.to_json()))) == figure
