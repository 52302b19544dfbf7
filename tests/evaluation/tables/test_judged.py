"""Rows judged: real ones are innocent, copies are found, broken columns, pairs and rules lower what they break."""

import numpy as np
import pandas as pd
import pytest

from simulacra.core.randomness import Rng
from simulacra.evaluation.report.figures import explain
from simulacra.evaluation.tables.attacks import figures_of_attacks
from simulacra.evaluation.tables.judged import figures_of_rows, figures_of_rules, figures_of_use
from simulacra.evaluation.tables.records import figures_of_records
from simulacra.evaluation.tables.rows import rows_of
from simulacra.evaluation.tables.shapes import column_shapes, conditional_shapes, pair_trends
from simulacra.modalities.tables.inference import infer
from simulacra.modalities.tables.opening import with_rules
from simulacra.modalities.tables.reading import Table


def people(n, seed=0):
    r = np.random.default_rng(seed)
    kind = r.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    height = np.round(r.normal(170, 10, n) + 8 * (kind == "a"), 1)
    weight = np.round(height - 100 + r.normal(0, 8, n), 1)
    rich = r.random(n) < 1 / (1 + np.exp(-(weight - 75) / 5))
    return pd.DataFrame({
        "height": np.where(r.random(n) < 0.1, np.nan, height), "weight": weight,
        "more": np.round(weight + r.gamma(2, 2, n), 1),
        "kind": kind, "group": np.where(kind == "a", "x", "y"), "rich": np.where(rich, "yes", "no"),
        "place": np.where(r.random(n) < 0.05, None, r.choice([f"p{i}" for i in range(30)], n)),
    })  # fmt: skip


def apart(table):
    """Each column as it is, and nothing that holds them together."""
    return pd.DataFrame({c: table[c].sample(frac=1, random_state=i).to_numpy() for i, c in enumerate(table)})


@pytest.fixture(scope="module")
def world():
    train, held = people(1500, 1), people(800, 2)
    whole = pd.concat([train, held], ignore_index=True)
    schema = with_rules(infer(Table(whole)), whole)
    return train, held, schema


def figures(found):
    return {f.name: f for f in found}


def test_equal_rows_are_alike_in_all(world):
    _, held, schema = world
    rows = rows_of(held, schema)
    for measure in (column_shapes, pair_trends, conditional_shapes):
        assert set(np.round(list(measure(rows, rows).values()), 12)) == {1.0}


def test_each_shape_sees_what_it_is_for(world):
    train, held, schema = world
    real = rows_of(held, schema)
    shuffled = apart(train)
    fake = rows_of(shuffled, schema)
    # columns by themselves are right, and what holds them together is gone
    assert min(column_shapes(fake, real).values()) > 0.85
    pairs = pair_trends(fake, real)
    assert pairs["height", "weight"] == pytest.approx(1 - 0.79 / 2, abs=0.05)  # 1 - |0 - r| / 2
    assert pairs["kind", "group"] == pytest.approx(0.5, abs=0.06)  # joint of independents against a function
    assert conditional_shapes(fake, real)["kind"] < 0.9
    heavier = train.assign(weight=train["weight"] + 30)
    assert column_shapes(rows_of(heavier, schema), real)["weight"] < 0.3


def test_holes_are_part_of_a_shape(world):
    train, held, schema = world
    full = train.assign(height=train["height"].fillna(170.0))
    found = column_shapes(rows_of(full, schema), rows_of(held, schema))["height"]
    assert found < column_shapes(rows_of(train, schema), rows_of(held, schema))["height"] - 0.03


def test_real_rows_are_innocent_and_all_is_told(world):
    train, held, schema = world
    fresh = people(800, 3)
    found = figures(figures_of_rows(fresh, held, train, schema, target="rich", rng=0))
    assert found["detection"].interval[0] < 0.5 < found["detection"].interval[1]
    assert abs(found["nearer to training rows than to held-out ones"].value - 0.5) < 0.06
    assert found["distance to the closest record"].value == pytest.approx(1, abs=0.2)  # of medians of 800
    assert found["rows that stand in training"].value == 0
    for name in ("singling out risk", "linkability risk", "attribute inference risk"):
        interval = found[name].interval
        assert interval[0] <= 0 <= interval[1]
    real, fake = found["area, real on real (boosting)"], found["area, samples on real (boosting)"]
    assert abs(real.value - fake.value) < 0.06
    assert fake.value > 0.75
    assert found["rows that break weight <= more"].value == 0
    for f in found.values():
        assert explain(f.name), f.name
        assert f.interval is not None or f.interval_method.startswith("none"), f.name


def test_copies_are_found(world):
    train, held, schema = world
    rows = [rows_of(f, schema) for f in (train, held, train)]
    found = figures([*figures_of_records(*rows, rng=Rng(0)), *figures_of_attacks(*rows, rng=Rng(0))])
    assert found["rows that stand in training"].value == 1
    assert found["distance to the closest record"].value == 0
    assert found["nearer to training rows than to held-out ones"].value > 0.7
    assert found["membership by distance"].value > 0.95
    for name in ("linkability risk", "attribute inference risk", "singling out risk"):
        assert found[name].interval[0] > 0.2, name


def test_rows_of_nonsense_are_told_apart_and_good_for_nothing(world):
    train, held, schema = world
    shuffled = apart(train)
    found = figures(figures_of_rows(shuffled, held, train, schema, target="rich", rng=0))
    assert found["detection"].value > 0.9
    for learner in ("boosting", "logistic regression", "forest"):
        assert found[f"area, samples on real ({learner})"].value < found[f"area, real on real ({learner})"].value - 0.1
    assert found["rows that break group follows from kind"].value > 0.3
    broken = (shuffled["weight"] > shuffled["more"]).mean()
    assert found["rows that break weight <= more"].value == pytest.approx(broken)


def test_a_target_of_numbers_is_refused(world):
    train, held, schema = world
    rows = [rows_of(f, schema) for f in (train, held, train)]
    with pytest.raises(ValueError, match="weight is numeric"):
        figures_of_use(*rows, schema["weight"], rng=Rng(0))


def test_rows_with_values_of_another_table_are_refused(world):
    train, held, schema = world
    with pytest.raises(ValueError, match="none of its 3 values"):
        figures_of_rows(train.assign(kind="q"), held, train, schema)


def test_rules_are_counted_with_their_null(world):
    train, held, schema = world
    found = figures(figures_of_rules(train, held, schema))
    assert set(found) == {f"rows that break {rule.told()}" for rule in schema.rules}
