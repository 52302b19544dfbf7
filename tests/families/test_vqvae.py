"""Codebooks and the VQ-VAE: whose gradients, averages, digits and bounds are known."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from codebook_processes import learned

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.vqvae import VQVAE, VQVAEConfig
from simulacra.nets.code_prior import CausalPrior
from simulacra.nets.codebooks import FSQ, VQ, VectorQuantiser
from simulacra.nets.codegrids import Grid, Places
from simulacra.nets.initialise import initialise
from simulacra.training.loop import train
from simulacra.training.monitors import DeadCodes, PosteriorCollapse, monitors
from simulacra.training.settings import Training
from simulacra.uses.denoise import denoise
from simulacra.uses.interpolate import interpolate, interpolate_latents
from simulacra.uses.reconstruct import reconstruct

F64 = torch.float64


def codebook(**settings) -> VectorQuantiser:
    built = VQ(**{"k": 4, "channels": 2, "revive": 0.0, **settings}).build().double()
    initialise(built, Rng(0))
    return built


def vectors(n: int = 64, places: int = 3, channels: int = 2) -> torch.Tensor:
    return Rng(1)("e").normal((n, places, channels), dtype=F64)


# -- vectors that follow what is assigned to them ---------------------------------------------------------------------


def test_vectors_go_to_the_code_that_is_nearest():
    book, e = codebook(), vectors()
    found = book(e)
    far = torch.cdist(e.flatten(0, 1), book.codebook).reshape(64, 3, 4)
    assert torch.equal(found.index, far.argmin(-1))
    assert torch.allclose(found.vectors, book.vectors(found.index))
    assert torch.allclose(found.commitment, 0.25 * far.amin(-1).square().sum(1))


@pytest.mark.parametrize("settings", [VQ(k=4, channels=2, commitment=0.0), FSQ(levels=(9, 4))])
def test_gradients_pass_straight_through(settings):
    """Of VQ the identity, of FSQ that of the smooth curve before rounding: what rounding would say were nothing."""
    book, e = settings.build().double(), vectors().requires_grad_()
    initialise(book, Rng(0))
    weight = Rng(2).normal(e.shape, dtype=F64)
    (slope,) = torch.autograd.grad((book(e).vectors * weight).sum(), [e])
    if isinstance(settings, VQ):
        assert torch.equal(slope, weight)
        return
    half = torch.tensor([4.004, 1.5015], dtype=F64)
    offset, unit = torch.tensor([0.0, 0.5], dtype=F64), torch.tensor([4.0, 2.0], dtype=F64)
    curve = half * (1 - torch.tanh(e + torch.atanh(offset / half)).square()) / unit
    assert torch.allclose(slope, weight * curve)


def test_commitment_draws_vectors_to_their_codes_and_leaves_these_alone():
    book, e = codebook(commitment=0.5), vectors().requires_grad_()
    found = book(e)
    (slope,) = torch.autograd.grad(found.commitment.sum(), [e])
    assert torch.allclose(slope, 2 * 0.5 * (e - book.vectors(found.index)))
    assert not list(book.parameters())


def taught(book: VectorQuantiser, e: torch.Tensor, parts: int = 1) -> torch.Tensor:
    """One step on a batch that comes in parts; the codes its vectors had."""
    index = book(e).index
    rows = len(e) // parts
    for first in range(0, len(e), rows):
        here = slice(first, first + rows)
        book.observe(e[here], index[here], Rng(5).rows(first))
    book.update()
    return index


def test_codes_are_the_means_of_the_vectors_assigned_to_them():
    book, e = codebook(decay=0.0), vectors()
    index = taught(book, e)
    for c in range(4):
        assert torch.allclose(book.codebook[c], e[index == c].mean(0))


def test_codes_are_moving_averages():
    """Two steps by hand: N = d N + (1 - d) n, m = d m + (1 - d) sum, code = m / N."""
    book, d = codebook(decay=0.9), 0.9
    counts, sums = torch.zeros(4, dtype=F64), torch.zeros(4, 2, dtype=F64)
    for step in range(2):
        e = vectors() + step
        index = taught(book, e)
        for c in range(4):
            counts[c] = d * counts[c] + (1 - d) * (index == c).sum()
            sums[c] = d * sums[c] + (1 - d) * e[index == c].sum(0)
    used = counts > 0
    assert torch.allclose(book.codebook[used], (sums / counts[:, None])[used])
    assert torch.allclose(book.counts, counts)


@pytest.mark.parametrize("revive", [0.0, 0.3])
def test_a_batch_in_parts_teaches_what_the_whole_teaches(revive: float):
    one, four = (codebook(k=40, revive=revive) for _ in range(2))
    for step in range(3):
        taught(one, vectors() + step)
        taught(four, vectors() + step, parts=4)
    assert torch.allclose(one.codebook, four.codebook)
    assert int(one.revived) == int(four.revived)


@pytest.mark.slow
def test_two_processes_learn_the_same_codebook_as_one(tmp_path: Path):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, here / "codebook_processes.py", str(rank), tmp_path], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=110) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    a, b = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone = learned().state_dict()
    assert int(alone["revived"]) > 10
    for name, value in alone.items():
        assert torch.equal(a[name], b[name]), name
        assert torch.allclose(a[name], value, rtol=0, atol=1e-12), name


def test_dead_codes_are_put_where_vectors_lie_and_counted():
    book, e = codebook(k=8, revive=0.1), vectors()
    with torch.no_grad():
        book.codebook[4:] = 100.0  # no vector comes near these
    index = taught(book, e)
    idle = 8 - len(index.unique())
    assert int(book.revived) == idle >= 4
    near = torch.cdist(book.codebook[4:], e.flatten(0, 1)).amin(1)
    assert float(near.max()) < 1e-9
    assert len({tuple(row) for row in book.codebook[4:].tolist()}) == 4
    after = taught(book, e)
    assert len(after.unique()) > len(index.unique())


def test_without_revival_dead_codes_stay_dead():
    book = codebook(k=8)
    with torch.no_grad():
        book.codebook[4:] = 100.0
    taught(book, vectors())
    assert int(book.revived) == 0
    assert bool((book.codebook[4:] == 100.0).all())


def test_more_dead_codes_than_vectors_wait_their_turn():
    book = codebook(k=50, revive=0.5)
    taught(book, vectors(n=2))
    assert int(book.revived) <= 6
    assert bool(book.codebook.isfinite().all())


# -- rounded coordinates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [(8, 6, 5), (2, 2), (3,), (7, 4)])
def test_every_code_of_levels_comes_back(levels: tuple[int, ...]):
    """All products of levels are codes of their own, and quantising a code's vector, unsquashed, finds it again."""
    settings = FSQ(levels=levels)
    book, k = settings.build(), math.prod(levels)
    assert (settings.k, settings.channels) == (k, len(levels))
    index = torch.arange(k)
    found = book.vectors(index)
    assert len({tuple(row) for row in found.tolist()}) == k
    steps = [(torch.arange(n) - n // 2).double() / (n // 2) for n in levels]
    grid = torch.tensor(list(itertools.product(*[s.tolist() for s in steps]))).double()
    assert float(torch.cdist(found.double(), grid).amin(1).max()) < 1e-6
    half = (torch.tensor(levels).double() - 1) * 1.001 / 2
    offset = torch.where(torch.tensor(levels) % 2 == 0, 0.5, 0.0)
    e = torch.atanh((found.double() * (torch.tensor(levels) // 2) + offset) / half) - torch.atanh(offset / half)
    again = book(e[:, None])
    assert torch.equal(again.index[:, 0], index)
    assert torch.allclose(again.vectors[:, 0], found.double())


def test_levels_are_all_within_reach_and_nothing_else_is():
    book = FSQ(levels=(5, 4)).build()
    e = torch.cartesian_prod(torch.linspace(-20, 20, 201), torch.linspace(-20, 20, 201))
    found = book(e[:, None])
    assert sorted(found.index.unique().tolist()) == list(range(20))
    assert bool((found.commitment == 0).all())


# -- the model --------------------------------------------------------------------------------------------------------

BITS = Space(
    fields={"bits": Continuous(low=-1.0, high=1.0, levels=2, shape=(1, 3, 3))},
    y=Classes(names=("a", "b", "c")),
    measure="binary pixels",
)
SMALL = VQVAEConfig(
    codebook=VQ(k=5, channels=3),
    networks=Grid(width=8, halvings=1, blocks=1),
    prior=CausalPrior(width=8, depth=1, heads=2),
)


def bits(n: int = 60) -> Stored:
    y = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    return Stored(space=BITS, x=Rng(1).integers(2, (n, 1, 3, 3)).to(torch.uint8), y=y)


def all_codes(model: VQVAE) -> torch.Tensor:
    k, places = model.config.codebook.k, model.latent.size
    return torch.cartesian_prod(*[torch.arange(k)] * places).reshape(-1, *model.latent.only.shape)


def test_the_prior_sums_to_one_over_all_codes():
    model = VQVAE(SMALL, BITS, rng=1).double()
    codes = all_codes(model)
    given = torch.zeros(len(codes), 3, dtype=F64)
    given[:, 1] = 1
    assert model.latent.only.shape == (2, 2)
    assert float(model.prior(codes.flatten(1), given).logsumexp(0).detach()) == pytest.approx(0, abs=1e-9)


def test_the_bound_is_one_term_of_the_sum_over_all_codes():
    model, data = VQVAE(SMALL, BITS, rng=1).double(), bits()
    model.fit(data)
    batch = data.batch(torch.arange(12), Rng(0)).map(lambda t: t.to(F64) if t.is_floating_point() else t)
    codes = all_codes(model)
    log_px = torch.stack([model.likelihood(codes).log_prob(x[None].expand(len(codes), 1, 3, 3)) for x in batch.x])
    given = torch.nn.functional.one_hot(batch.y, 3).double()
    each = torch.stack([model.prior(codes.flatten(1), g.expand(len(codes), 3)) for g in given])
    exact = torch.logsumexp(log_px + each, 1)
    said = model.log_likelihood(batch.x, y=batch.y)
    number = (model.encode(batch.x).flatten(1) * torch.tensor([125, 25, 5, 1])).sum(1)
    rows = torch.arange(12)
    assert said.kind == "bound"
    assert torch.allclose(said.nats, (log_px + each)[rows, number].detach())
    assert bool((said.nats < exact).all())


def test_without_a_label_classes_are_summed_out():
    model, data = VQVAE(SMALL, BITS, rng=1), bits()
    model.fit(data)
    x = data.batch(torch.arange(60), Rng(0)).x
    each = torch.stack([model.log_likelihood(x, y=torch.full((60,), c)).nats for c in range(3)])
    want = torch.logsumexp(each + model.label_log_prob()[:, None], 0)
    assert torch.allclose(model.log_likelihood(x).nats, want, atol=1e-5)


def test_codes_drawn_one_by_one_follow_the_prior():
    model, n = VQVAE(SMALL, BITS, rng=1), 20_000
    with torch.no_grad():
        for name, p in model.prior.named_parameters():
            p += 0.3 * Rng(3)(name).normal(p.shape)  # a prior with something to say
        given = torch.tensor([[0.0, 1.0, 0.0]])
        drawn = model.prior.sample(n, given.expand(n, 3), Rng(7))
        number = (drawn * torch.tensor([125, 25, 5, 1])).sum(1)
        p = model.prior(all_codes(model).flatten(1), given.expand(625, 3)).exp()
    share = number.bincount(minlength=625) / n
    assert bool(((share - p).abs() < 5 * (p / n).sqrt() + 1e-4).all())
    assert float((share - 1 / 625).abs().sum()) > 0.5


def test_the_posterior_is_certain():
    model = VQVAE(SMALL, BITS, rng=1)
    x = bits().batch(torch.arange(6), Rng(0)).x
    codes, q = model.encode(x), model.posterior(x)
    other = (codes + 1) % 5
    assert codes.dtype == torch.int64
    assert q.log_prob(codes).tolist() == [0.0] * 6
    assert q.log_prob(other).tolist() == [-math.inf] * 6
    assert torch.equal(q.sample(), codes)


def test_the_two_players_learn_apart():
    """The prior's loss has no gradient in the autoencoder, nor the autoencoder's in the prior."""
    model, batch = VQVAE(SMALL, BITS, rng=1), bits().batch(torch.arange(60), Rng(0))
    for loss, mine, other in (
        (model.loss, model.autoencoder, model.prior),
        (model.prior_loss, model.prior, model.autoencoder),
    ):
        model.zero_grad()
        loss(batch, Rng(0)).total.backward()
        assert any(p.grad is not None for p in mine.parameters())
        assert all(p.grad is None for p in other.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("settings", [VQ(k=16, channels=4), FSQ(levels=(4, 4))])
def test_it_learns_and_monitors_watch_its_codes(settings):
    """Pictures of one of six rows: bound and codes both find them."""
    space = Space(fields={"x": Continuous(low=0.0, high=1.0, levels=2, shape=(1, 6, 6))}, measure="binary pixels")
    row = Rng(0).integers(6, (256,))
    x = torch.nn.functional.one_hot(row, 6).to(torch.uint8)[:, None, :, None].expand(256, 1, 6, 6)
    config = VQVAEConfig(codebook=settings, networks=Grid(width=16, halvings=2, blocks=1),
                         prior=CausalPrior(width=32, depth=1, heads=2), optimiser=AdamW(lr=5e-3),
                         prior_optimiser=AdamW(lr=5e-3))  # fmt: skip
    model, data = VQVAE(config, space, rng=0), Stored(space=space, x=x.contiguous())
    hooks = monitors(model, held_out=None, every=50)
    assert any(isinstance(h, DeadCodes) for h in hooks)
    assert not any(isinstance(h, PosteriorCollapse) for h in hooks)
    done = train(model, data, Training(steps=250, batch=64, average_half_life=0.0), hooks=hooks)
    nats = done.model.log_likelihood(data.batch(torch.arange(256), Rng(0)).x).mean()
    assert nats > -8  # six rows are log 6 = 1.8 nats; pixels on their own are 16
    (said,) = [v for v in done.verdicts if v.name == "dead codes"]
    assert said.level == "ok"
    assert f"of {settings.k} codes are in use" in said.text


class OneCode(VQVAE):
    def encode(self, x, *, y=None, known=None, length=None):
        return torch.zeros(len(x), 2, 2, dtype=torch.int64)


def test_an_idle_codebook_is_noticed():
    model = OneCode(VQVAEConfig(codebook=VQ(k=64), networks=SMALL.networks, prior=SMALL.prior), BITS)
    done = train(model, bits(), Training(steps=20, batch=16), hooks=[DeadCodes(every=5)])
    (said,) = [v for v in done.verdicts if v.level == "attention"]
    assert "1 of 64 codes are in use, as varied as 1 codes" in said.text


def test_what_has_no_points_between_is_not_walked_through():
    model, x = VQVAE(SMALL, BITS, rng=1), bits().batch(torch.arange(4), Rng(0)).x
    for use in (
        lambda: interpolate(model, x[:2], x[2:]),
        lambda: interpolate_latents(model, 2),
        lambda: denoise(model, x, 0.5),
    ):
        with pytest.raises(ValueError, match="needs codes of real numbers.*VQVAE are 5 categories"):
            use()
    assert reconstruct(model, x).shape == x.shape


@pytest.mark.parametrize("bad", [torch.full((1, 2, 2), 5), torch.full((1, 2, 2), -1), torch.zeros(1, 2, 2)])
def test_codes_that_do_not_exist_are_refused(bad: torch.Tensor):
    with pytest.raises(ValueError, match=r"0 \.\. 4; got"):
        VQVAE(SMALL, BITS).decode(bad)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: VQ(k=0),
        lambda: VQ(channels=0),
        lambda: VQ(decay=1.0),
        lambda: VQ(revive=-0.1),
        lambda: VQ(commitment=-1.0),
        lambda: FSQ(levels=()),
        lambda: FSQ(levels=(8, 1)),
        lambda: Grid(halvings=0),
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        wrong()


def test_a_condition_that_is_no_class_is_refused():
    words = Space(fields={"caption": Categorical(k=5, shape=(3,))})
    with pytest.raises(ValueError, match="classes only"):
        VQVAE(SMALL, Space(fields=BITS.fields, y=words))


def test_labels_are_asked_for_where_they_are_needed():
    model = VQVAE(SMALL, BITS)
    with pytest.raises(ValueError, match="labels must lie in 0 .. 2; got 3"):
        model.sample(2, y=torch.tensor([3, 3]), rng=0)
    with pytest.raises(ValueError, match="the data has none"):
        model.fit(Stored(space=BITS, x=bits().x))


def test_any_example_may_be_a_row_of_codes():
    point = Space(fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,))}, measure="plane")
    model = VQVAE(VQVAEConfig(codebook=VQ(k=5), networks=Places(count=3), prior=SMALL.prior), point)
    assert model.encode(torch.zeros(4, 2)).shape == (4, 3)
    assert model.sample(4, rng=0).x.shape == (4, 2)
    assert isinstance(model.loss(Batch(x=torch.zeros(4, 2)), Rng(0)).weight, float)
