"""Rows to fields and back, exactly; likelihoods in the columns' own units."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from simulacra.core.likelihood import LogLikelihood
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical
from simulacra.modalities.tables.bins import Bins
from simulacra.modalities.tables.encoding import OWN_UNITS, TableEncoding, fit
from simulacra.modalities.tables.inference import infer
from simulacra.modalities.tables.mixture import Mixture
from simulacra.modalities.tables.opening import open_table, read_known
from simulacra.modalities.tables.pieces import cut
from simulacra.modalities.tables.reading import Table
from simulacra.modalities.tables.scores import Quantile

WAYS = [Bins(count=16), Quantile(count=50), Mixture(components=3)]
N = 400


def frame(n=N):
    """A column of every kind and type, with holes, peaks and infinities."""
    r = np.random.default_rng(0)
    holes = r.random(n) < 0.1
    income = np.where(r.random(n) < 0.5, 0, np.round(r.lognormal(8, 1, n)))
    price = np.round(r.normal(50, 20, n), 2)
    real = r.normal(size=n)
    real[:5] = np.inf
    return pd.DataFrame({
        "income": income.astype(np.int32),
        "price": np.where(holes, np.nan, price),
        "small": r.normal(size=n).astype(np.float32).round(1),
        "real": real,
        "count": pd.array(np.where(holes, None, r.integers(0, 5, n)), dtype="Int64"),
        "many": pd.array(np.where(r.random(n) < 0.1, None, r.integers(0, 5000, n)), dtype="Int64"),
        "word": np.where(holes, None, r.choice(["a", "b", "Straße"], n)),
        "size": pd.Categorical(r.choice(["S", "M", "L"], n), categories=["S", "M", "L", "XL"], ordered=True),
        "yes": r.random(n) < 0.3,
        "day": pd.to_datetime("2001-02-03") + pd.to_timedelta(r.integers(0, 900, n), unit="D"),
        "moment": pd.Series(pd.to_datetime("2001-02-03") + pd.to_timedelta(r.integers(0, 9000, n), unit="s"))
        .dt.strftime("%d.%m.%Y %H:%M:%S").astype(object),
        "zip": [f"0{i:03d}" for i in r.integers(0, 30, n)],
        "one": ["same"] * n,
        "row": np.arange(1, n + 1),
    })  # fmt: skip


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: type(way).__name__)
def encoded(request):
    table = frame()
    schema = infer(Table(table))
    return table, fit(table, schema, numbers=request.param)


def test_rows_come_back_exactly(encoded):
    table, encoding = encoded
    back = encoding.decode(encoding.encode(table))
    # a float of all its digits is kept as well as float32 does; everything else to the last digit and type
    pd.testing.assert_frame_equal(back.drop(columns="real"), table.drop(columns="real"))
    same = np.isinf(table["real"]) == np.isinf(back["real"])
    assert same.all()
    finite = np.isfinite(table["real"])
    np.testing.assert_allclose(back["real"][finite], table["real"][finite], atol=1e-5)


def test_jitter_changes_fields_and_no_cell(encoded):
    table, encoding = encoded
    batch = encoding.encode(table)
    drawn = encoding.jitter(batch, Rng(1))
    assert any((batch.x[name] != drawn.x[name]).any() for name in batch.x)
    shown = encoding.decode(drawn).drop(columns="real")
    pd.testing.assert_frame_equal(shown, table.drop(columns="real"))


def test_json_there_and_back(encoded):
    _, encoding = encoded
    again = TableEncoding.from_json(json.loads(json.dumps(encoding.to_json(), allow_nan=False)))
    assert again == encoding
    assert again.space == encoding.space


def test_fields_fit_their_space(encoded):
    table, encoding = encoded
    batch = encoding.encode(table)
    assert set(batch.x) == set(encoding.space.fields)
    for name, f in encoding.space.fields.items():
        if isinstance(f, Categorical):
            assert batch.x[name].dtype == torch.int64
            assert 0 <= int(batch.x[name].min()) <= int(batch.x[name].max()) < f.k
        else:
            assert batch.x[name].dtype == torch.float32
            assert f.low <= float(batch.x[name].min()) <= float(batch.x[name].max()) <= f.high


def test_what_is_unobserved_is_hidden_and_takes_no_category():
    table = frame()
    schema = infer(Table(table))
    encoding = fit(table, schema, missing="unobserved", numbers=Bins(count=16))
    batch = encoding.encode(table)
    assert set(encoding.space.missing) == {"price", "price.within", "count", "many", "many.within", "word"}
    assert (batch.known["price.within"] == torch.tensor(table["price"].notna().tolist())).all()
    assert encoding.space.fields["word"].k == 3
    assert fit(table, schema).space.fields["word"].k == 4
    pd.testing.assert_frame_equal(encoding.decode(batch).drop(columns="real"), table.drop(columns="real"))


def test_a_target_is_y_and_comes_back():
    table = frame()
    encoding = fit(table, infer(Table(table)), target="size")
    batch = encoding.encode(table)
    assert encoding.space.classes.names == ("S", "M", "L", "XL")
    assert "size" not in batch.x
    assert (encoding.decode(batch)["size"] == table["size"]).all()


@pytest.mark.parametrize(("target", "said"), [("row", "identifier"), ("real", "number"), ("one", "constant"),
                                              ("nothing", "no column")])  # fmt: skip
def test_a_target_that_is_none(target, said):
    table = frame()
    with pytest.raises(ValueError, match=said):
        fit(table, infer(Table(table)), target=target)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("word", "c", "'c' in row 3 is none of its 3 values"),
        ("income", 10**9, "lies outside 0"),
        ("price", "dear", "is not a number"),
        ("moment", "soon", "is not a date"),
    ],
)
def test_cells_that_contradict_the_schema(column, value, said):
    table = frame()
    encoding = fit(table, infer(Table(table)))
    wrong = table.astype({column: object})
    wrong.loc[2, column] = value
    with pytest.raises(ValueError, match=said):
        encoding.encode(wrong)


def test_a_column_that_is_not_there():
    table = frame()
    with pytest.raises(ValueError, match="no column 'price'"):
        fit(table, infer(Table(table))).encode(table.drop(columns="price"))


def test_nothing_left_to_learn():
    table = pd.DataFrame({"a": ["x"] * 30, "row": range(30)})
    with pytest.raises(ValueError, match="no column is left"):
        fit(table, infer(Table(table)))


def test_twenty_thousand_categories_stay_one_field():
    n = 100_000
    table = pd.DataFrame({"shop": [f"s{i % 20_000}" for i in range(n)], "a": np.arange(n) % 7})
    encoding = fit(table, infer(Table(table)))
    assert encoding.space.fields["shop"].k == 20_000
    assert encoding.encode(table).x["shop"].shape == (n,)


# -- pieces -----------------------------------------------------------------------------------------------------------


def test_pieces_hold_equal_shares_and_cover_every_step():
    values = np.repeat(np.arange(0.0, 1000.0), 3)
    pieces = cut(values, 10, step=1.0, low=0.0, high=999.0)
    assert np.allclose(pieces.shares, 0.1, atol=0.002)
    assert pieces.cells.sum() == 1000


def test_common_values_are_pieces_of_their_own_and_missing_ones_none():
    values = np.concatenate([np.zeros(50), np.arange(1.0, 41.0), np.full(10, np.nan)])
    pieces = cut(values, 4, step=1.0, low=0.0, high=40.0)
    assert (pieces.lows[0], pieces.highs[0], pieces.shares[0]) == (0.0, 0.0, 0.5)
    assert pieces.missing == pytest.approx(0.1)
    assert sum(pieces.shares) + pieces.missing == pytest.approx(1)


def test_a_real_peak_at_the_end_of_a_range_is_found():
    values = np.concatenate([np.linspace(0, 1, 100), np.full(30, 0.5)])
    pieces = cut(values, 4, step=None, low=0.0, high=1.0, peaks=(0.5,))
    index, _ = pieces.place(np.array([0.5, 0.49, 0.51]))
    assert (pieces.lows[index[0]], pieces.highs[index[0]]) == (0.5, 0.5)
    assert index[1] < index[0] < index[2]


# -- likelihoods ------------------------------------------------------------------------------------------------------


def standard(encoding, x):
    """log p of fields that are independent: uniform over categories and ranges, standard normal on the line."""
    total = torch.zeros(len(next(iter(x.values()))), dtype=torch.float64)
    for name, f in encoding.space.fields.items():
        if isinstance(f, Categorical):
            total -= math.log(f.k)
        elif math.isinf(f.high):
            total += -0.5 * x[name].double() ** 2 - 0.5 * math.log(2 * math.pi)
    return total


@pytest.mark.parametrize("numbers", [Bins(count=8), Quantile(count=20)], ids=["bins", "quantile"])
def test_probabilities_in_their_own_units_sum_to_one(numbers):
    """One column of whole numbers: the bound averaged over jitter is tight for a law that is flat within each step."""
    r = np.random.default_rng(0)
    table = pd.DataFrame({"a": np.concatenate([r.integers(0, 60, 500), np.zeros(200, dtype=int)])})
    encoding = fit(table, infer(Table(table)), numbers=numbers)
    every = pd.DataFrame({"a": np.arange(0, table["a"].max() + 1)})
    total = np.zeros(len(every))
    for draw in range(20):
        batch = encoding.jitter(encoding.encode(every), Rng(draw))
        x = batch.x if isinstance(batch.x, dict) else {"a": batch.x}
        nats = LogLikelihood(nats=standard(encoding, x), kind="exact", measure=encoding.measure, count=2.0)
        total += encoding.in_own_units(nats, x).nats.exp().numpy() / 20
    assert total.sum() == pytest.approx(1, abs=0.02)


def test_a_density_in_its_own_units_integrates_to_one():
    r = np.random.default_rng(0)
    table = pd.DataFrame({"a": r.normal(10, 3, 500)})
    encoding = fit(table, infer(Table(table)), numbers=Quantile(count=20))
    grid = np.linspace(table["a"].min(), table["a"].max(), 20_001)
    batch = encoding.encode(pd.DataFrame({"a": grid}))
    nats = LogLikelihood(nats=standard(encoding, {"a": batch.x}), kind="exact", measure=encoding.measure, count=1.0)
    found = encoding.in_own_units(nats, batch.x)
    assert found.measure == OWN_UNITS
    assert np.trapezoid(found.nats.exp().numpy(), grid) == pytest.approx(1, abs=0.005)


# -- tables known by name ---------------------------------------------------------------------------------------------


def test_adult_as_its_source_has_it(real_data):
    tables = read_known("adult", real_data / "tables", ("adult.train.csv", "adult.test.csv"))
    assert [len(t.frame) for t in tables] == [32_561, 16_281]
    opened = open_table(tables, "adult", target="income")
    schema = opened.encoding.schema
    assert schema["income"].values == ("<=50K", ">50K")
    # adult.names: 24.78 % (without unknowns) above 50K; missing only in these three columns
    assert {c.name for c in schema.columns if c.missing} == {"workclass", "occupation", "native-country"}
    assert schema["capital-gain"].peaks == (0.0, 99999.0)
    assert schema["age"].kind == "integer"
    assert opened.train.y.float().mean() == pytest.approx(7841 / 32561)
    back = opened.encoding.decode(opened.encoding.encode(tables[0].frame))
    told = tables[0].frame.astype(object).where(tables[0].frame != "?", None)
    for name in back.columns:
        shown = [None if pd.isna(v) else str(v) for v in back[name]]
        assert shown == told[name].tolist(), name


def test_compas_has_double_names_dates_and_people(real_data):
    (table,) = read_known("compas", real_data / "tables", ("compas-scores-two-years.csv",))
    schema = infer(table)
    assert "decile_score_2" in schema.names
    assert schema["dob"].kind == "date"
    assert schema["name"].kind == "text"
    assert schema["id"].kind == "identifier"
    assert schema["violent_recid"].kind == "constant"
    fit(table.frame, schema, numbers=Bins())
