"""Rows given some columns, and rows whose holes are filled in: what is known stays, what is drawn has the right law."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.modalities.tables.bins import Bins
from simulacra.modalities.tables.conditions import said
from simulacra.modalities.tables.encoding import fit
from simulacra.modalities.tables.filling import filled
from simulacra.modalities.tables.inference import infer
from simulacra.modalities.tables.opening import with_rules
from simulacra.modalities.tables.reading import Table
from simulacra.uses.rows import fill, sample_given

N = 800


class Resampler(nn.Module):
    """A model whose law is that of the rows it was given: it draws among those that agree with what is known."""

    completion = "exact"

    def __init__(self, encoding, frame):
        super().__init__()
        self.space = encoding.space
        self.rows = encoding.encode(frame).x

    def complete(self, x, known, *, y=None, rng):
        n = len(next(iter(x.values())))
        agree = torch.ones(n, len(next(iter(self.rows.values()))), dtype=torch.bool)
        for name in x:
            if not x[name].is_floating_point():
                agree &= (self.rows[name][None] == x[name][:, None]) | ~known[name][:, None]
        chosen = Rng.of(rng)("row").categorical(torch.where(agree, 0.0, -torch.inf))
        return Batch(x={name: torch.where(known[name], x[name], self.rows[name][chosen]) for name in x})


def people(n=N):
    r = np.random.default_rng(0)
    sex = r.choice(["Female", "Male"], n)
    city = r.integers(0, 6, n)
    holes = r.random(n) < 0.2
    return pd.DataFrame({
        "age": r.integers(18, 80, n), "sex": sex,
        "job": np.where(holes, None, np.where(sex == "Male", "guard", "smith")),
        "city": [f"c{i}" for i in city], "land": [f"l{i // 3}" for i in city], "row": np.arange(n),
    })  # fmt: skip


@pytest.fixture(scope="module")
def world():
    table = people()
    encoding = fit(table, with_rules(infer(Table(table)), table), numbers=Bins(count=8))
    return table, encoding, Resampler(encoding, table)


def test_given_columns_hold_and_the_rest_follows(world):
    table, encoding, model = world
    drawn = sample_given(model, encoding, said(["sex=Male", "age=40"], encoding.schema), 200, rng=1)
    rows = encoding.decode(drawn.batch)
    assert drawn.kind == "exact"
    assert set(rows["age"]) == {40}
    assert set(rows["sex"]) == {"Male"}
    assert set(rows["job"].dropna()) == {"guard"}
    share = table.loc[table["sex"] == "Male", "job"].isna().mean()
    assert rows["job"].isna().mean() == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / 200) + 0.03)


def test_what_is_missing_can_be_given_too(world):
    _, encoding, model = world
    rows = encoding.decode(sample_given(model, encoding, said(["job=?"], encoding.schema), 20, rng=1).batch)
    assert rows["job"].isna().all()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["colour=red"], "no column 'colour'"),
        (["sexx=Male"], "did you mean 'sex'"),
        (["sex"], "COLUMN=VALUE"),
        (["sex=male "], "none of its 2 values; such as Male"),
        (["age=old"], "no number"),
        (["age=40.5"], "steps of 1"),
        (["age=300"], "lies outside"),
        (["age=?"], "never missing"),
        (["row=3"], "set aside"),
        (["sex=Male", "sex=Female"], "given twice"),
        (["land=l0"], "several of whose values"),
        (["land=l0", "city=c5"], "contradicts city"),
    ],
)
def test_what_cannot_be_given_is_named(world, words, what):
    _, encoding, model = world
    with pytest.raises(ValueError, match=what):
        sample_given(model, encoding, said(words, encoding.schema), 5)


def test_a_settled_column_that_agrees_may_be_given(world):
    _, encoding, model = world
    values = said(["land=l1", "city=c5"], encoding.schema)
    assert set(encoding.decode(sample_given(model, encoding, values, 9).batch)["land"]) == {"l1"}


def test_a_value_that_was_never_learned_from_has_probability_zero():
    table = people()
    part = table[table["sex"] == "Female"].reset_index(drop=True)
    schema = infer(Table(table))
    encoding = fit(part, schema, numbers=Bins(count=8), whole=table)
    with pytest.raises(ValueError, match="sex=Male has probability zero"):
        sample_given(Resampler(encoding, part), encoding, said(["sex=Male"], schema), 5)


def test_a_target_must_be_given(world):
    table, _, _ = world
    encoding = fit(table, infer(Table(table)), target="sex")
    with pytest.raises(ValueError, match="fitted with the target sex"):
        sample_given(Resampler(encoding, table), encoding, {"age": 40}, 5)


def test_holes_are_filled_and_all_else_is_as_it_was(world):
    table, encoding, model = world
    broken = table.copy().astype({"city": object, "age": object})
    broken.loc[3, "age"] = None
    broken.loc[4, "city"] = None  # its land is known, and what is drawn agrees with it
    done, count = fill(model, encoding, broken, draws=2, rng=1)
    assert count == int(table["job"].isna().sum()) + 2
    for drawn in done:
        rows = filled(encoding, broken, drawn.batch)
        assert not rows.isna().any().any()
        there = broken.notna()
        assert (rows.where(there, 0).astype(str) == broken.where(there, 0).astype(str)).all().all()
        assert rows.loc[4, "land"] == f"l{int(rows.loc[4, 'city'][1]) // 3}"
        jobs = np.where(rows["sex"] == "Male", "guard", "smith")
        assert (rows["job"] == jobs).all()
    assert "drawn again" in done[0].method


def test_only_what_follows_is_missing(world):
    table, encoding, model = world
    broken = table.dropna().head(20).reset_index(drop=True).copy()
    broken.loc[:, "land"] = None
    done, count = fill(model, encoding, broken, rng=0)
    assert count == 20
    assert done[0].kind == "exact"
    assert (filled(encoding, broken, done[0].batch)["land"] == table.dropna().head(20)["land"].to_numpy()).all()


def test_nothing_to_fill(world):
    table, encoding, model = world
    with pytest.raises(ValueError, match="nothing is missing"):
        fill(model, encoding, table.dropna().reset_index(drop=True))


class Stubborn(Resampler):
    """Draws, whatever it is asked, a hole."""

    def complete(self, x, known, *, y=None, rng):
        made = super().complete(x, known, rng=rng)
        assert isinstance(made.x, dict)
        hole = self.space.fields["job"].k - 1
        return Batch(x={**made.x, "job": torch.where(known["job"], x["job"], hole)})


def test_rows_that_stay_holes_are_counted_and_called_approximate(world):
    table, encoding, _ = world
    (drawn,), count = fill(Stubborn(encoding, table), encoding, table.head(30), rng=0)
    holes = int(table.head(30)["job"].isna().sum())
    assert count == holes > 0
    assert drawn.kind == "approximate"
    assert f"{holes} rows still so after" in drawn.method
