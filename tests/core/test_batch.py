"""Batches, losses and stored data."""

import hashlib

import pytest
import torch

from simulacra.core.batch import Batch, Data, Loss, Stored, decode, each, fingerprint, rows
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space

PICTURES = Space(
    fields={"picture": Continuous(low=-1.0, high=1.0, levels=256, shape=(1, 2, 2))},
    y=Classes(names=("a", "b")),
    measure="8-bit pixels",
)
TABLE = Space(
    fields={"age": Continuous(low=0.0, high=100.0), "job": Categorical(k=5)}, missing=("age",), measure="columns"
)


def pictures(n=10, **others) -> Stored:
    x = Rng(1)("x").integers(256, (n, 1, 2, 2)).to(torch.uint8)
    return Stored(space=PICTURES, x=x, y=torch.arange(n) % 2, **others)


def table(n=6) -> Stored:
    return Stored(
        space=TABLE,
        x={"age": torch.linspace(0, 100, n), "job": torch.arange(n) % 5},
        known={"age": torch.arange(n) > 2, "job": torch.ones(n, dtype=torch.bool)},
    )


def test_a_loss_is_the_sum_and_its_weight_the_count():
    each_example, kl = torch.tensor([1.0, 2.0, 6.0], requires_grad=True), torch.tensor([0.5, 0.5, 2.0])
    loss = Loss.of(each_example, kl=kl)
    assert float(loss.total.detach()) == 9
    assert loss.weight == 3
    assert float(loss.terms["kl"]) == 3
    assert loss.total.requires_grad
    assert not loss.terms["kl"].requires_grad


def test_division_after_the_sum_is_the_mean_however_the_batch_is_shared():
    # a masked mean over unequal shares: sums and weights add up, means would not
    value, mask = torch.arange(10.0).square(), torch.arange(10) % 3 == 0
    whole = (value * mask).sum() / mask.sum()
    parts = [Loss((value * mask)[part].sum(), mask[part].sum()) for part in (slice(0, 3), slice(3, 9), slice(9, 10))]
    assert sum(p.total for p in parts) / sum(p.weight for p in parts) == whole
    assert sum(p.total / p.weight for p in parts if p.weight) / 3 != whole


@pytest.mark.parametrize("data", [pictures(), table()], ids=["one field", "several"])
def test_stored_is_data_and_gives_the_rows_asked_for(data):
    assert isinstance(data, Data)
    index = torch.tensor([4, 0, 4])
    batch, everything = data.batch(index, Rng(0)), data.batch(torch.arange(len(data)), Rng(0))
    assert len(batch) == rows(batch.x) == 3

    def same(part, whole):
        if part is not None:
            for a, b in [(part, whole)] if isinstance(part, torch.Tensor) else [(part[n], whole[n]) for n in whole]:
                assert torch.equal(a, b[index])

    for name in ("x", "y", "known", "length"):
        same(getattr(batch, name), getattr(everything, name))


def test_levels_are_decoded_to_the_space_s_values_and_back():
    data = pictures()
    x = data.batch(torch.arange(10), Rng(0)).x
    assert x.dtype == torch.get_default_dtype()
    field = PICTURES.only
    assert isinstance(field, Continuous)
    assert torch.equal(field.index(x).to(torch.uint8), data.x)
    assert decode(field, torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
    # values already decoded, and categories, stay as they are
    assert torch.equal(decode(field, x), x)
    assert decode(Categorical(k=3), torch.tensor([2])).dtype == torch.int64


def test_change_is_applied_to_every_batch_with_its_own_draws():
    def binarise(batch: Batch, rng: Rng) -> Batch:
        return Batch(x=rng("bits").bernoulli((batch.x + 1) / 2).to(batch.x) * 2 - 1, y=batch.y)

    data = pictures(change=binarise)
    index = torch.arange(10)
    once, twice = data.batch(index, Rng(0)).x, data.batch(index, Rng(1)).x
    assert set(once.unique().tolist()) == {-1, 1}
    assert torch.equal(once, data.batch(index, Rng(0)).x)
    assert not torch.equal(once, twice)
    assert torch.equal(data.subset(index).batch(index, Rng(0)).x, once)


def test_subset_is_the_rows_in_the_order_given():
    data, order = table(), torch.tensor([5, 1])
    part = data.subset(order, "two")
    assert (len(part), part.name, part.space) == (2, "two", data.space)
    assert torch.equal(part.x["age"], data.x["age"][order])
    assert torch.equal(part.known["age"], data.known["age"][order])
    assert part.fingerprint != data.fingerprint
    assert data.subset(torch.arange(6)).fingerprint == data.fingerprint


def test_fingerprint_is_of_contents_and_of_their_places():
    a, b = torch.arange(4), torch.arange(4) + 1
    named = fingerprint(a, b)
    assert len(named) == len(hashlib.sha256().hexdigest())
    assert named == fingerprint(a.clone(), b.clone())
    different = [
        fingerprint(b, a), fingerprint(a, None, b), fingerprint(None, a, b), fingerprint(a), fingerprint(a, a),
        fingerprint(a.float(), b), fingerprint(a.reshape(2, 2), b), fingerprint({"x": a}, b), fingerprint({"z": a}, b),
        fingerprint({"x": a, "y": b}), fingerprint({"x": a}, {"y": b}),
    ]  # fmt: skip
    assert len({named, *different}) == len(different) + 1


def test_fingerprint_does_not_see_how_a_tensor_is_laid_out():
    x = torch.arange(12).reshape(3, 4)
    assert fingerprint(x.T.contiguous().T) == fingerprint(x)


def test_given_names_only_what_there_is():
    x, y = torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    assert Batch(x=x).given() == {}
    assert set(Batch(x=x, y=y, known=x > 0, length=y, y_length=y).given()) == {"y", "known", "length"}


def test_map_reaches_every_tensor_and_nothing_becomes_something():
    batch = table().batch(torch.arange(4), Rng(0)).map(lambda t: t[:1])
    assert len(batch) == len(batch.known["age"]) == 1
    assert batch.y is batch.length is None
    assert each(torch.neg, None) is None


@pytest.mark.parametrize(
    "index", [slice(1, 3), torch.tensor([1, 2]), torch.tensor([False, True, True, False])], ids=str
)
def test_rows_by_slice_by_number_and_by_mask(index):
    batch = table().batch(torch.arange(4), Rng(0)).rows(index)
    assert batch.x["job"].tolist() == [1, 2]
    assert batch.known["job"].shape == (2,)
