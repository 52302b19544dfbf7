"""Imputation: known entries stay, missing ones follow the model's own conditional, and the label says how exactly."""

from __future__ import annotations

import math

import pytest
import torch
from worlds import Chain, Dots

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.families.vae import VAE, VAEConfig
from simulacra.nets.backbones import Dense
from simulacra.uses.impute import impute

SIDE = 2


def conditional(model: Chain, x: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """p(picture | what is known), for everything there is, by enumeration."""
    every = model.everything()
    fits = ((every == x) | ~known).flatten(1).all(1)
    return torch.where(fits, model.log_likelihood(every).nats.double(), -math.inf).softmax(0)


def counts(model: Chain, drawn: torch.Tensor) -> torch.Tensor:
    every = model.everything().flatten(1)
    return (drawn.flatten(1)[:, None] == every).all(2).double().sum(0)


def mask(*places: int) -> torch.Tensor:
    known = torch.zeros(SIDE * SIDE, dtype=torch.bool)
    known[list(places)] = True
    return known.reshape(1, 1, SIDE, SIDE)


@pytest.mark.parametrize(
    ("places", "kind", "off"), [((0, 1), "exact", 0.0), ((0, 3), "approximate", 0.05), ((3,), "approximate", 0.05)]
)
def test_draws_follow_the_exact_conditional(places, kind, off):
    model, n = Chain(side=SIDE), 3000
    x = model.sample(1, rng=4).x
    found = impute(model, x, mask(*places), draws=n, rng=0)
    assert found.kind == kind
    assert found.draws.shape == (n, 1, 1, SIDE, SIDE)
    drawn = found.draws[:, 0]
    assert torch.equal(drawn[:, mask(*places)[0]], x[mask(*places)].expand(n, -1))
    exact = conditional(model, x, mask(*places))
    share = counts(model, drawn) / n
    error = (exact * (1 - exact) / n).sqrt()
    assert ((share - exact).abs() <= 4.5 * error + off * exact.clamp_min(0.02)).all()
    assert ((exact > 0) | (share == 0)).all()


def test_more_candidates_come_nearer_to_the_conditional():
    model = Chain(side=SIDE, sharpness=4.0)
    x = model.sample(1, rng=4).x
    exact = conditional(model, x, mask(3))
    found = [impute(model, x, mask(3), draws=1500, candidates=c).draws[:, 0] for c in (1, 32)]
    far = [float((counts(model, drawn) / 1500 - exact).abs().sum()) for drawn in found]
    assert far[1] < 0.5 * far[0]


def test_draws_differ_and_the_seed_repeats_them():
    model = Chain(side=4)
    x = model.sample(3, rng=0).x
    known = torch.zeros_like(x, dtype=torch.bool)
    known[..., :1, :] = True
    a, b = (impute(model, x, known, draws=4, rng=s).draws for s in (0, 1))
    assert torch.equal(a, impute(model, x, known, draws=4, rng=0).draws)
    assert not torch.equal(a, b)
    assert not torch.equal(a[0], a[1])


def test_a_completer_is_asked_and_labelled_approximate_unless_it_says_more():
    space = Space(fields={"x": Continuous(low=-math.inf, high=math.inf, shape=(3,))})
    model = VAE(VAEConfig(latent=2, networks=Dense(hidden=(8,))), space)
    x = Rng(0)("x").normal((5, 3))
    known = Rng(1)("k").bernoulli(torch.full((5, 3), 0.6))
    known[:, 0], known[0, 1] = True, False
    holes = torch.where(known, x, math.nan)
    found = impute(model, holes, known, draws=2)
    assert (found.kind, found.method) == ("approximate", "VAE.complete")
    assert found.draws.isfinite().all()
    assert torch.equal(found.draws[:, known], x[known].expand(2, -1))

    class Knows:
        space = model.space
        completion = "exact"

        def complete(self, x, known, *, y=None, rng):
            return Batch(x=x)

    assert impute(Knows(), holes, known).kind == "exact"


class Careless(Chain):
    """A chain that completes as well, without heeding what is known later: the walk is the better way."""

    def complete(self, x, known, *, y=None, rng):
        y = torch.zeros(len(x), dtype=torch.int64) if y is None else y
        return Batch(x=torch.where(known, x, self.sample(len(x), y=y, rng=rng).x))


def test_a_walk_comes_before_a_completer_but_where_the_class_is_left_open():
    plain, classes = Careless(side=2), Careless(side=2, classes=2)
    x = plain.sample(2, rng=0).x
    known = mask(3).expand_as(x)
    assert "walks past what is known" in impute(plain, x, known).method
    assert "walks past" in impute(classes, x, known, y=torch.zeros(2, dtype=torch.int64)).method
    assert impute(classes, x, known).method == "Careless.complete"


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (torch.ones(1, 1, 2, 3, dtype=torch.bool), "mask of picture must be bool of shape"),
        (torch.ones(1, 1, 2, 2), "mask of picture must be bool"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.bool), "nothing is known of 1 of 1"),
        (torch.ones(1, 1, 2, 2, dtype=torch.bool), "nothing is missing"),
    ],
)
def test_masks_that_mean_nothing_are_refused(known, said):
    with pytest.raises(ValueError, match=said):
        impute(Chain(side=2), torch.zeros(1, 1, 2, 2), known)


def test_other_faults_are_refused():
    model, x = Chain(side=2), torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="3 levels"):
        impute(model, x + 0.3, mask(0))
    torch.testing.assert_close(impute(model, torch.where(mask(0), x, 0.3), mask(0)).draws[0, 0, 0, 0, 0], x[0, 0, 0, 0])
    with pytest.raises(ValueError, match="draws and candidates must be at least 1"):
        impute(model, x, mask(0), draws=0)
    with pytest.raises(ValueError, match="impute needs a Completer"):
        impute(Dots(), torch.zeros(1, 1, 1, 12), torch.arange(12).reshape(1, 1, 1, 12) > 3)
    with pytest.raises(ValueError, match="0 .. 1; got 5"):
        impute(Chain(side=2, classes=2), x, mask(0), y=torch.tensor([5]))
