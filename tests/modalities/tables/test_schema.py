"""What the columns of a table are found to be, and what a person may say of them."""

import json

import numpy as np
import pandas as pd
import pytest

from simulacra.modalities.tables.inference import infer
from simulacra.modalities.tables.reading import Table, has_header, read_table, sniff, unique
from simulacra.modalities.tables.schema import Column, Schema, read_schema, write_schema

N = 200


def column(values, name="x"):
    return infer(Table(pd.DataFrame({name: values})))[name]


def words(n=N, k=4):
    return [f"w{i % k}" for i in range(n)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([str(i * i) for i in range(N)], "integer"),
        ([f"{i / 7:.2f}" for i in range(N)], "numeric"),
        (words(), "categorical"),
        (["true", "false"] * 100, "boolean"),
        ([True, False] * 100, "boolean"),
        ([f"2020-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(N)], "date"),
        (pd.date_range("2020-01-01", periods=N), "date"),
        ([f"u{i:04d}" for i in range(N)], "identifier"),
        (range(5, N + 5), "identifier"),
        (["same"] * N, "constant"),
        ([""] * N, "constant"),
        ([None] * N, "constant"),
        ([f"the {i}th sentence of this text" for i in range(N)], "text"),
        (pd.Categorical(words(), categories=["w3", "w1", "w2", "w0"], ordered=True), "ordinal"),
        ([f"0{i % 90:04d}" for i in range(N)], "categorical"),  # postal codes keep their zeros
        ([1, "a"] * 100, "categorical"),
    ],
)
def test_kinds(values, kind):
    assert column(values).kind == kind


def test_the_step_of_numbers():
    assert column([i / 4 for i in range(N)]).step == 0.01
    assert column([i / 10 for i in range(N)]).step == 0.1
    assert column(np.arange(N) ** 2).step == 1
    assert column(np.sqrt(np.arange(N) + 0.5)).step is None
    assert column((np.arange(N) / 10).astype(np.float32)).step == 0.1


def test_few_numbers_are_values_in_their_order():
    found = column([3, 1, 2, 10] * 50)
    assert (found.kind, found.values) == ("integer", (1, 2, 3, 10))


def test_peaks_are_common_values_and_cut_ends():
    common = [0] * 40 + [99] * 15 + list(range(1, 90)) * 3
    assert column(common).peaks == (0.0, 99.0)
    assert column(list(range(1, 90)) * 3).peaks == ()


def test_what_is_missing_is_counted_and_infinities_are_peaks():
    values = [*np.linspace(0, 1, 98) ** 2, np.inf, np.nan]
    found = column(values)
    assert found.missing == 0.01
    assert found.peaks == (np.inf,)
    assert (found.low, found.high) == (0.0, 1.0)
    assert "1 infinite" in found.told()


@pytest.mark.parametrize(
    ("form", "note"),
    [("%Y-%m-%d", ""), ("%d.%m.%Y", ""), ("%b %d, %Y", ""), ("%Y-%m-%d %H:%M:%S", ""), ("%m/%d/%Y", "")],
)
def test_dates_in_several_formats(form, note):
    days = pd.Series(pd.date_range("1999-12-01 10:20:30", periods=N, freq="3D"))
    found = column(list(days.dt.strftime(form)))
    assert (found.kind, found.format) == ("date", form)
    assert found.unit == ("seconds" if "%H" in form else "days")


def test_one_column_of_two_ways_to_write_dates():
    days = pd.Series(pd.date_range("1999-12-01", periods=N, freq="3D"))
    found = column([*days[:150].dt.strftime("%Y-%m-%d"), *days[150:].dt.strftime("%d.%m.%Y")])
    assert (found.kind, found.format) == ("date", "%Y-%m-%d")
    assert "50 dates written otherwise" in found.note


def test_day_and_month_that_could_be_either_are_said_to_be():
    assert "other way round" in column([f"{1 + i % 12:02d}/{1 + i % 11:02d}/2020" for i in range(N)]).note


def test_a_schema_is_stated_by_a_person_and_completed(tmp_path):
    table = Table(pd.DataFrame({"a": ["1", "2", "-9", "30"] * 50, "size": ["S", "L", "M", "S"] * 50}))
    path = tmp_path / "schema.json"
    write_schema(infer(table), path)
    value = json.loads(path.read_text())
    value["columns"][0]["blank"] = ["-9"]
    del value["columns"][0]["values"]
    value["columns"][1] |= {"kind": "ordinal", "values": ["S", "M", "L"]}
    path.write_text(json.dumps(value))
    found = infer(table, read_schema(path))
    assert found["a"].values == (1, 2, 30)
    assert found["a"].missing == 0.25
    assert (found["size"].kind, found["size"].values) == ("ordinal", ("S", "M", "L"))
    assert Schema.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_stated_kind_of_number_reads_words_as_nothing():
    table = Table(pd.DataFrame({"a": [*map(str, range(90)), *["refused"] * 10]}))
    assert infer(table)["a"].kind == "text"
    found = infer(table, Schema(columns=(Column(name="a", kind="integer"),)))["a"]
    assert found.blank == ("refused",)
    assert found.missing == 0.0 or found.high == 89


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "no schema"),
        ({"columns": [{"name": "a"}]}, "needs a name and a kind"),
        ({"columns": [{"name": "a", "kind": "colour"}]}, "no kind 'colour'"),
        ({"columns": [{"name": "a", "kind": "integer", "sise": 3}]}, "nothing is called 'sise'"),
        ({"columns": [{"name": "a", "kind": "integer"}] * 2}, "each column once"),
        ({"columns": [{"name": "a", "kind": "integer"}], "rules": [{"at_most": ["a", "b"]}]}, "column 'b'"),
        ({"columns": [{"name": "a", "kind": "integer"}], "rules": [{"less": 3}]}, "no rule"),
    ],
)
def test_faults_of_a_schema_are_named(value, said):
    with pytest.raises(ValueError, match=said):
        Schema.from_json(value)


def test_a_schema_of_another_table_is_refused():
    with pytest.raises(ValueError, match="no column 'b'"):
        infer(Table(pd.DataFrame({"a": [1, 2]})), Schema(columns=(Column(name="a", kind="integer"),
                                                                 Column(name="b", kind="integer"))))  # fmt: skip


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_dialects_are_told_apart(delimiter):
    lines = [delimiter.join(row) for row in (["a", "b", "c"], ["1", "x y", "2.5"], ["2", '"q, r; s"', "3.5"])]
    assert sniff(lines) == delimiter


def test_headers_are_told_from_rows():
    assert has_header([["age", "sex"], ["3", "f"], ["4", "m"]])
    assert has_header([["kind", "sex"], ["a", "f"], ["b", "m"]])
    assert not has_header([["3", "f"], ["4", "m"]])
    assert not has_header([["a", "f"], ["b", "m"], ["a", "f"]])


def test_names_become_unique_and_none_is_empty():
    assert unique(["a", "", "a", "a_2", " b\n c "]) == ["a", "column_2", "a_3", "a_2", "b c"]


def test_a_csv_of_every_trouble(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffname;amount;amount;\r\nZoë;1,5;NA;x\r\n\r\n"O\'Hara; Jr";2,25;3;y\r\n'.encode())
    table = read_table(path)
    assert list(table.frame.columns) == ["name", "amount", "amount_2", "column_4"]
    assert table.frame["amount"].tolist() == ["1.5", "2.25"]
    assert table.frame["name"].tolist() == ["Zoë", "O'Hara; Jr"]
    assert infer(table)["amount_2"].missing == 0.5
    assert any("columns renamed" in note for note in table.notes)


def test_bytes_that_are_no_utf8(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("name,a\nZoë,1\nJörg,2\n".encode("cp1252"))
    table = read_table(path)
    assert table.frame["name"].tolist() == ["Zoë", "Jörg"]
    assert any("Windows-1252" in note for note in table.notes)


def test_parquet_and_frames_keep_their_types(tmp_path):
    frame = pd.DataFrame({"a": np.arange(3, dtype=np.int8), "b": pd.Categorical(["x", "y", "x"])})
    frame.to_parquet(tmp_path / "t.parquet")
    for table in (read_table(tmp_path / "t.parquet"), read_table(frame)):
        assert [str(t) for t in table.frame.dtypes] == ["int8", "category"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "nothing in it"), (b"a,b\n", "no rows"), (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, expected 2")],
)
def test_faults_of_a_file_are_one_line(tmp_path, content, said):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as fault:
        read_table(path)
    assert "\n" not in str(fault.value)


def test_a_damaged_parquet(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1nothing")
    with pytest.raises(ValueError, match="no parquet that can be read"):
        read_table(tmp_path / "t.parquet")
