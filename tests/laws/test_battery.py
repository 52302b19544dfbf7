"""The battery as a stranger meets it: their model, their mistakes, the table."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from toys import Coins, Columns, LinearCodec, Mixture, Words

from simulacra import laws
from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.laws.examples import apart, check_close, check_inside, check_same, drawn, inside
from simulacra.laws.law import Broken, Result
from simulacra.laws.sampling import multinomial_p

SPACES = [Mixture.space, Columns.space, Words.space, Coins.space, LinearCodec.space]


def test_a_model_without_a_space_is_refused():
    with pytest.raises(ValueError, match="what object models"):
        laws.check(object)


def test_data_of_another_space_is_refused():
    with pytest.raises(ValueError, match="another space"):
        laws.check(Coins, drawn(Words.space, 8, Rng(0)))


def test_a_model_that_raises_has_failed_and_the_others_go_on():
    class Raises(Coins):
        def sample(self, n, *, y=None, rng):
            raise RuntimeError("out of coins")

    results = laws.check(Raises)
    assert len(results) == len(laws.LAWS)
    failed = {r.name: r.detail for r in results if r.failed}
    assert failed["prefix"] == "raised RuntimeError: out of coins"
    assert "sums to one" not in failed


def test_a_factory_of_different_models_is_no_obstacle():
    # a stranger's module with torch's own first weights
    class Stranger(LinearCodec):
        def __init__(self):
            super().__init__()
            torch.nn.init.normal_(self.decoder.weight, std=0.1)

    assert not [r for r in laws.check(Stranger) if r.failed]


def test_the_table_says_what_failed_and_counts():
    results = [
        Result(name="a", says="A holds.", status="not applicable", detail="no a"),
        Result(name="long name", says="B holds.", status="failed", detail="it was 3"),
        Result(name="c", says="C holds.", status="passed", detail="0.5"),
    ]
    lines = laws.table(results).splitlines()
    assert lines[0] == "FAILED  long name  it was 3"
    assert lines[1] == "ok      c          C holds."
    assert lines[2].startswith("-")
    assert lines[-1] == "3 laws: 1 passed, 1 failed, 1 not applicable"


def test_a_model_by_module_and_factory(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text("from toys import Coins\n\ndef make():\n    return Coins()\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    results, text = laws.run("my_models:make")
    assert sys.path == before
    assert not [r for r in results if r.failed]
    assert text == laws.table(results)


@pytest.mark.parametrize(
    ("target", "words"),
    [("nowhere", "MODULE:FACTORY"), (":make", "MODULE:FACTORY"), ("no_such_module:make", "no_such_module"),
     ("math:no_such_function", "no_such_function"), ("math:pi", "pi")],
)  # fmt: skip
def test_a_target_that_is_none_is_refused(target, words):
    with pytest.raises(ValueError, match=words):
        laws.find(target)


def test_progress_is_told():
    heard = []
    assert laws.check(Coins, told=heard.append) == heard


@pytest.mark.parametrize("space", SPACES, ids=lambda s: next(iter(s.fields)))
def test_drawn_examples_lie_in_their_space(space):
    data = drawn(space, 40, Rng(3))
    batch = data.batch(torch.arange(40), Rng(0))
    check_inside(batch, space, 40)
    assert drawn(space, 40, Rng(3)).fingerprint == data.fingerprint
    assert drawn(space, 40, Rng(4)).fingerprint != data.fingerprint
    if space.missing:
        assert {name: bool(mask.all()) for name, mask in batch.known.items()} == {
            name: name not in space.missing for name in space.fields
        }


ONE = Space(fields={"v": Continuous(low=0, high=1, levels=3, shape=(2,))}, y=Classes(names=("a", "b")))
RIGHT = Batch(x=torch.tensor([[0.0, 0.5], [1.0, 0.0]]), y=torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.zeros(2, 3)}, "shape"),
        ({"x": torch.zeros(2, 2, dtype=torch.int64)}, "floats"),
        ({"x": torch.tensor([[0.0, 1.5], [0.0, 0.0]])}, "lies in"),
        ({"x": torch.tensor([[0.0, 0.4], [0.0, 0.0]])}, "levels"),
        ({"x": torch.tensor([[0.0, float("nan")], [0.0, 0.0]])}, "finite"),
        ({"x": {"w": torch.zeros(2, 2)}}, "fields"),
        ({"y": torch.tensor([0, 2])}, "0 .. 1"),
        ({"y": None}, "y has shape"),
        ({"y": torch.tensor([0.0, 1.0])}, "int64"),
        ({"length": torch.tensor([1, 1])}, "varies"),
    ],
)
def test_what_lies_outside_a_space_is_found(change, words):
    check_inside(RIGHT, ONE, 2)
    with pytest.raises(Broken, match=words):
        check_inside(replace(RIGHT, **change), ONE, 2)


def test_means_need_not_lie_on_levels():
    check_inside(replace(RIGHT, x=torch.full((2, 2), 0.4)), ONE, 2, rounded=False)


def test_inside_is_what_the_length_says():
    f = Categorical(k=2, shape=(3, 2), varying=True)
    mask = inside(f, torch.tensor([0, 2]), 2)
    assert mask[:, :, 0].tolist() == [[False, False, False], [True, True, False]]
    assert torch.equal(mask[..., 0], mask[..., 1])


def test_rounding_is_forgiven_and_nothing_more():
    a = torch.tensor([1.0, -100.0])
    check_close(a, a * (1 + 1e-6), "here")
    with pytest.raises(Broken, match="differ"):
        check_close(a, a * (1 + 1e-3), "here")
    for bad in (float("nan"), float("inf")):
        with pytest.raises(Broken, match="differ"):
            check_close(a, torch.tensor([1.0, bad]), "here")
        assert check_close(torch.tensor([bad]), torch.tensor([bad]), "here") == 0
    assert float(apart(a, a + 1).max()) == pytest.approx(1 / 101)


def test_a_rare_flip_of_a_category_is_forgiven_but_not_a_second():
    space = Space(fields={"c": Categorical(k=2, shape=(100,))})
    a = torch.zeros(10, 100, dtype=torch.int64)
    b = a.clone()
    b[0, 0] = 1
    check_same(a, b, space, "here")
    b[:, 0] = 1
    with pytest.raises(Broken, match=r"1\.0% of c differ"):
        check_same(a, b, space, "here")


def test_multinomial_p_is_uniform_under_the_truth_and_small_elsewhere():
    truth = torch.tensor([0.5, 0.3, 0.15, 0.05]).double()
    draws = [Rng(s)("c").categorical(truth.log().expand(400, 4)).bincount(minlength=4).numpy() for s in range(300)]
    p = torch.tensor([multinomial_p(counts, truth.numpy()) for counts in draws])
    # the share of p-values below 0.1 is 0.1, with standard error 0.017
    assert float((p < 0.1).double().mean()) == pytest.approx(0.1, abs=0.07)
    assert multinomial_p(draws[0], truth.flip(0).numpy()) < 1e-6
    assert multinomial_p(draws[0], torch.tensor([0.6, 0.4, 0.0, 0.0]).double().numpy()) == 0
