"""A GAN for tables: what it asks for, what it packs, and whether it finds a table's categories."""

from __future__ import annotations

import math

import pytest
import torch

from simulacra.core.batch import Stored
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Continuous, Space
from simulacra.families.table_gan import TableGAN, TableGANConfig
from simulacra.mathematics.asked import as_they_occur, logarithmic
from simulacra.nets.relaxed import Relaxed
from simulacra.training.loop import train
from simulacra.training.settings import Training

SPACE = Space(
    fields={"kind": Categorical(k=3), "size": Continuous(low=-1, high=3, centre=1), "coat": Categorical(k=2)},
    measure="columns",
)


def rows(n: int) -> Stored:
    """Kinds of shares 0.9, 0.09, 0.01; the size tells the kind, the coat is a coin's."""
    kind = torch.searchsorted(torch.tensor([0.9, 0.99]), Rng(0)("kind").uniform((n,)))
    size = kind.float() + 0.1 * Rng(0)("size").normal((n,))
    return Stored(space=SPACE, x={"kind": kind, "size": size.clamp(-1, 3), "coat": Rng(0)("coat").integers(2, (n,))})


def small(**settings: object) -> TableGAN:
    base = {"latent": 8, "generator": (32,), "critic": (32,), "pack": 4}
    return TableGAN(TableGANConfig(**{**base, **settings}), SPACE, rng=0)


def test_rows_that_are_put_in_come_out():
    x = rows(50).x
    r = Relaxed(SPACE, "this")
    u = r.inward(x, torch.float32)
    assert u.shape == (50, 6)
    # a network that is sure of these categories, and whose free number goes through the tanh to this one
    size = SPACE.fields["size"]
    share = (x["size"] - (size.high + size.low) / 2) / ((size.high - size.low) / 2)
    raw = torch.where(u == 1, 100.0, 0.0)
    raw[:, r.slices["size"]] = share.clamp(-1 + 1e-6, 1 - 1e-6).atanh()[:, None]
    assert torch.allclose(r.within(raw, Rng(0), 0.2), u, atol=1e-4)
    back = r.drawn(raw, Rng(0))
    assert torch.equal(back["kind"], x["kind"])
    assert torch.equal(back["coat"], x["coat"])
    assert torch.allclose(back["size"], x["size"], atol=1e-4)


def test_soft_categories_are_draws_of_their_logits():
    """The likeliest place of a softmax with Gumbel noise is a draw from the logits, whatever the temperature."""
    n, logits, r = 20_000, torch.tensor([0.0, 1.0, -1.0]), Relaxed(SPACE, "this")
    raw = torch.cat([logits, torch.zeros(3)]).expand(n, -1)
    p = logits.softmax(0)
    for kind in (r.within(raw, Rng(0), 0.2)[:, r.slices["kind"]].argmax(1), r.drawn(raw, Rng(0))["kind"]):
        drawn = kind.bincount(minlength=3)
        assert float(((drawn - n * p).square() / (n * p)).sum()) < 25  # 2 degrees of freedom: p < 1e-5


@pytest.mark.parametrize(("wanted", "shares"), [
    (as_they_occur, [0.9, 0.09, 0.01]),
    (logarithmic, [math.log1p(c) for c in (9000, 900, 100)]),
])  # fmt: skip
def test_categories_are_asked_for_as_wanted_and_found(wanted: object, shares: list[float]):
    data = rows(10_000)
    model = small(wanted=wanted)
    model.fit(data)
    batch = data.batch(torch.arange(10_000), Rng(0))
    real, told, place = model._opponents(batch, Rng(1))
    assert torch.equal(told.argmax(1), place)
    columns = torch.cat([real[:, model.relaxed.slices[name]] for name in ("kind", "coat")], dim=1)
    assert bool((columns.gather(1, place[:, None]) == 1).all())  # each row has what it was asked for
    counts = place[place < 3].bincount(minlength=3).double()
    p = torch.tensor(shares, dtype=torch.float64) / sum(shares)
    # rows are drawn again from a finite batch: shares are right within the batch's own spread
    assert float((counts / counts.sum() - p).abs().max()) < 0.03


def test_packs_hold_whole_rows_and_fill_up_from_the_first():
    model, u = small(), torch.arange(6.0)[:, None].expand(-1, 6 + 5)
    packs = model._packed(u)
    assert packs.shape == (2, 44)
    assert packs[:, ::11].tolist() == [[0, 1, 2, 3], [4, 5, 0, 1]]
    assert model._each_row(torch.tensor([1.0, 2.0]), 6).tolist() == [1, 1, 1, 1, 2, 2]


def test_the_agreement_is_the_cross_entropy_with_what_was_asked():
    model = small()
    raw = Rng(0).normal((5, 6))
    place = torch.tensor([0, 2, 3, 4, 1])
    kind, coat = raw[:, :3].log_softmax(1), raw[:, 4:].log_softmax(1)
    exact = -torch.stack([kind[0, 0], kind[1, 2], coat[2, 0], coat[3, 1], kind[4, 1]])
    assert torch.allclose(model._missed(raw, place), exact)


def test_a_table_with_gaps_is_refused():
    gaps = Space(fields=SPACE.fields, missing=("coat",))
    with pytest.raises(ValueError, match=r"table_gan needs complete rows; \['coat'\] may be missing"):
        TableGAN(TableGANConfig(), gaps)


@pytest.mark.slow
def test_it_finds_rare_kinds_and_what_they_go_with():
    data = rows(4000)
    adam = AdamW(lr=1e-3, betas=(0.5, 0.9))
    model = small(generator_optimiser=adam, critic_optimiser=adam, dropout=0.0)
    model = train(model, data, Training(steps=1500, batch=200)).averaged
    x = model.sample(4000, rng=0).x
    shares = x["kind"].bincount(minlength=3) / 4000
    assert 0.8 < float(shares[0]) < 0.97
    assert float(shares[2]) > 0.002
    for kind in range(3):
        sizes = x["size"][x["kind"] == kind]
        assert abs(float(sizes.median()) - kind) < 0.3
