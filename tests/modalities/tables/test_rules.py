"""Rules of rows: found where chance would not keep them, kept by construction, counted where they are broken."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical
from simulacra.modalities.tables.bins import Bins
from simulacra.modalities.tables.encoding import TableEncoding, cells_of, fit
from simulacra.modalities.tables.inference import infer
from simulacra.modalities.tables.opening import with_rules
from simulacra.modalities.tables.reading import Table
from simulacra.modalities.tables.rules import AtMost, Settled, Sum, Together
from simulacra.modalities.tables.schema import Schema

N = 600


def stays(n=N):
    """Stays in a hospital: a start and an end, a total of two costs, a city in a land, and columns of their own."""
    r = np.random.default_rng(1)
    start = pd.to_datetime("2020-01-01") + pd.to_timedelta(r.integers(0, 700, n), unit="D")
    nights = r.integers(0, 40, n)
    city = r.integers(0, 12, n)
    care, drugs = np.round(r.gamma(2, 100, n), 2), np.round(r.gamma(2, 30, n), 2)
    return pd.DataFrame({
        "start": start, "end": start + pd.to_timedelta(nights, unit="D"),
        "city": [f"c{i}" for i in city], "land": [f"l{i // 4}" for i in city],
        "care": care, "drugs": drugs, "total": np.round(care + drugs, 2),
        "grade": r.choice(["a", "b", "c"], n), "noise": r.normal(size=n),
    })  # fmt: skip


def random_rows(encoding: TableEncoding, n: int, seed: int = 0) -> Batch:
    """Rows of fields that have nothing to do with each other: the worst model there is."""
    rng = Rng(seed)
    x = {}
    for name, f in encoding.space.fields.items():
        if isinstance(f, Categorical):
            x[name] = rng(name).integers(f.k, (n,))
        else:
            x[name] = rng(name).normal((n,)) if np.isinf(f.high) else rng(name).uniform((n,))
    return Batch(x=x)


@pytest.fixture(scope="module")
def known():
    table = stays()
    schema = with_rules(infer(Table(table)), table)
    return table, schema, fit(table, schema)


def test_rules_are_found(known):
    _, schema, _ = known
    assert AtMost(lower="start", upper="end") in schema.rules
    assert Sum(total="total", parts=("care", "drugs")) in schema.rules
    assert Settled(column="land", by="city") in schema.rules
    assert not any("noise" in rule.columns or "grade" in rule.columns for rule in schema.rules)


def test_nothing_is_found_where_columns_have_nothing_to_do_with_each_other():
    r = np.random.default_rng(2)
    table = pd.DataFrame(r.integers(0, 8, (400, 12)), columns=list("abcdefghijkl"))
    table["x"], table["y"] = r.normal(size=400), r.normal(1, 1, size=400)
    assert with_rules(infer(Table(table)), table).rules == ()


def test_few_rows_prove_no_rule():
    assert with_rules(infer(Table(stays(60))), stays(60)).rules == ()


def test_what_is_drawn_cannot_break_them(known):
    _, schema, encoding = known
    assert {part.column.name for part in encoding.parts} == {"start", "end", "city", "care", "drugs", "grade", "noise"}
    rows = encoding.decode(random_rows(encoding, 500))
    cells = cells_of(rows, schema_without_range(schema), list(schema.names))
    for rule in schema.rules:
        assert not rule.violations(cells).any(), rule.told()
    lands = stays().groupby("city")["land"].first()
    assert (rows["land"] == rows["city"].map(lands)).all()
    assert (rows["total"] == np.round(rows["care"] + rows["drugs"], 2)).all()


def schema_without_range(schema):
    """The schema, numbers as far as they go: sums reach beyond what was seen."""
    from dataclasses import replace

    return Schema(columns=tuple(replace(c, low=None, high=None) for c in schema.columns), rules=schema.rules)


def test_rows_with_rules_come_back_exactly_and_as_json(known):
    table, _, encoding = known
    back = encoding.decode(encoding.encode(table))
    pd.testing.assert_frame_equal(back.drop(columns="noise"), table.drop(columns="noise"))
    assert TableEncoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


def test_a_chain_of_inequalities_and_of_things_that_settle_others():
    r = np.random.default_rng(0)
    a = r.integers(0, 50, N)
    b, shop = a + r.integers(0, 40, N), r.integers(0, 60, N)
    table = pd.DataFrame({"c": b + r.integers(0, 60, N), "b": b, "a": a, "shop": [f"s{i}" for i in shop],
                          "town": [f"t{i // 3}" for i in shop], "land": [f"l{i // 30}" for i in shop]})  # fmt: skip
    encoding = fit(table, with_rules(infer(Table(table)), table), numbers=Bins(count=8))
    assert len(encoding.parts) == 4
    rows = encoding.decode(random_rows(encoding, 300))
    assert (rows["a"] <= rows["b"]).all()
    assert (rows["b"] <= rows["c"]).all()
    pd.testing.assert_frame_equal(encoding.decode(encoding.encode(table)), table, check_dtype=False)


def test_columns_together_are_one_column_of_combinations():
    table = pd.DataFrame({"kind": ["cat", "cat", "dog", None] * 30, "size": [1, 2, 3, 3] * 30, "x": list("ab") * 60})
    rule = Together(columns=("kind", "size"))
    schema = Schema(columns=infer(Table(table)).columns, rules=(rule,))
    encoding = fit(table, schema)
    assert encoding.space.fields["kind + size"].k == 4
    assert "missing & 3" in encoding.space.fields["kind + size"].names
    pd.testing.assert_frame_equal(encoding.decode(encoding.encode(table)), table)
    rows = encoding.decode(random_rows(encoding, 200))
    assert set(zip(rows["kind"].fillna("-"), rows["size"], strict=True)) == {
        ("cat", 1),
        ("cat", 2),
        ("dog", 3),
        ("-", 3),
    }
    strange = pd.DataFrame({"kind": ["dog"], "size": [1], "x": ["a"]})
    with pytest.raises(ValueError, match="combines kind, size as no row did"):
        encoding.encode(strange)


def test_a_rule_that_holes_or_rows_break_is_left_to_be_counted():
    table = stays()
    table.loc[5, "start"] = pd.NaT  # the end is known where the start is not
    schema = Schema(columns=infer(Table(table)).columns,
                    rules=(AtMost(lower="start", upper="end"), AtMost(lower="care", upper="drugs")))  # fmt: skip
    encoding = fit(table, schema)
    assert encoding.arrangement.kept == ()
    cells = cells_of(table, schema, list(schema.names))
    assert schema.rules[1].violations(cells).mean() == pytest.approx((table["care"] > table["drugs"]).mean())


def test_numbers_that_stand_twice_are_learnt_once():
    table = stays()
    table["again"] = table["care"]
    encoding = fit(table, with_rules(infer(Table(table)), table))
    assert "again" not in {part.column.name for part in encoding.parts}
    rows = encoding.decode(random_rows(encoding, 50))
    assert (rows["again"] == rows["care"]).all()


def test_a_settled_target_stays_a_target():
    table = stays()
    encoding = fit(table, with_rules(infer(Table(table)), table), target="land")
    assert encoding.encode(table).y.dtype == torch.int64
    assert encoding.space.classes.names == ("l0", "l1", "l2")
