"""Columns in any order: what every order's density must be, and what is learnt of a table that is known."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.any_order import AnyOrder, AnyOrderConfig
from simulacra.mathematics.orders import Mostly, any_order, as_they_stand, sequence, standing
from simulacra.modalities.mixed import Mixed
from simulacra.nets.embeddings import pick
from simulacra.training.loop import train
from simulacra.training.settings import Training

SMALL = {"width": 16, "depth": 2, "heads": 2}
DISCRETE = Space(
    fields={
        "a": Categorical(k=3),
        "b": Continuous(low=0, high=2, levels=3),
        "c": Categorical(k=2),
        "d": Categorical(k=4),
    },
    missing=("b",),
    measure="columns",
)


def scrambled(space: Space, seed: int = 0) -> AnyOrder:
    """A model whose every weight has been shaken, so that nothing is zero or the same by its start."""
    model = AnyOrder(AnyOrderConfig(**SMALL), space, rng=seed).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(0.4 * Rng(seed)(name).normal((1, p.numel()), dtype=torch.float64).reshape(p.shape))
    return model


def every_row(space: Space) -> dict[str, torch.Tensor]:
    sizes = [f.k if isinstance(f, Categorical) else f.levels or 0 for f in space.fields.values()]
    index = torch.tensor(list(itertools.product(*map(range, sizes))))
    return {
        name: index[:, i] if isinstance(f, Categorical) else f.value(index[:, i].double())
        for i, (name, f) in enumerate(space.fields.items())
    }


def test_every_order_is_a_density():
    model, x = scrambled(DISCRETE), every_row(DISCRETE)
    n = len(x["a"])
    everything = torch.ones(n, 4, dtype=torch.bool)
    for order in itertools.permutations(range(4)):
        nats = model._scored(x, everything, torch.tensor(order).expand(n, -1), None).detach()
        assert abs(float(nats.exp().sum()) - 1) < 1e-9


def test_what_is_known_is_a_density_of_its_own():
    model, x = scrambled(DISCRETE), every_row(DISCRETE)
    known = {name: torch.full((len(x["a"]),), name in "ad") for name in x}
    # each of the 12 pairs (a, d) occurs once for each of the 6 pairs (b, c)
    assert abs(float(model.log_likelihood(x, known=known).nats.exp().sum()) / 6 - 1) < 1e-9


def test_a_conditional_is_the_next_factor():
    model, x = scrambled(DISCRETE), every_row(DISCRETE)
    seen = lambda names: {name: torch.full((len(x["a"]),), name in names) for name in x}  # noqa: E731
    factor = model.conditional("d", x, seen("ac")).log_prob(x["d"])
    both = model.log_likelihood(x, known=seen("acd")).nats - model.log_likelihood(x, known=seen("ac")).nats
    assert torch.allclose(factor, both, atol=1e-12)


def test_steps_one_by_one_find_what_one_pass_does():
    """The most typical completion, found with keys and values kept, is that of the whole pass over what it found."""
    model = scrambled(DISCRETE)
    x = {name: t[:40] for name, t in every_row(DISCRETE).items()}
    known = {name: Rng(1)(name).uniform((40,)) < 0.5 for name in x}
    done = model.complete(x, known, rng=0, temperature=0.0).x
    assert isinstance(done, dict)
    flags = torch.stack(list(known.values()), dim=1)
    order = standing(flags)
    h = model.network(done, torch.ones_like(flags), order, None)
    for i, name in enumerate(x):
        place = (order == i).long().argmax(1)
        best = model.network.heads(i, h[torch.arange(40), place]).mode()
        assert torch.equal(torch.where(known[name], x[name], best), done[name])
        assert 0 < int(known[name].sum()) < 40


def test_completions_have_the_frequencies_of_the_conditional():
    model, n = scrambled(DISCRETE), 20_000
    x = {name: t[7].expand(n).clone() for name, t in every_row(DISCRETE).items()}
    known = {name: torch.full((n,), name in "bd") for name in x}
    done = model.complete(x, known, rng=0).x
    assert isinstance(done, dict)
    rest = every_row(DISCRETE)
    here = (rest["b"] == x["b"][0]) & (rest["d"] == x["d"][0])
    rows = {name: t[here] for name, t in rest.items()}
    order = torch.tensor([1, 3, 0, 2]).expand(len(rows["a"]), -1)
    joint = model._scored(rows, torch.ones(len(rows["a"]), 4, dtype=torch.bool), order, None).detach().softmax(0)
    found = torch.stack(
        [((done["a"] == a) & (done["c"] == c)).sum() for a, c in zip(rows["a"], rows["c"], strict=True)]
    )
    chi = ((found - n * joint).square() / (n * joint)).sum()
    assert float(chi) < 30  # 5 degrees of freedom: p = 1e-5


def test_incomplete_rows_are_learnt_from_as_they_are():
    """The loss of a row with a gap is that of the row without the column, and has no gradient for what is not there."""
    model = scrambled(DISCRETE)
    x = {name: t[:8] for name, t in every_row(DISCRETE).items()}
    known = {name: torch.full((8,), name != "b") for name in x}
    holes = {**x, "b": torch.full((8,), math.nan).double()}
    loss = model.loss(Batch(x=holes, known=known), Rng(0))
    loss.total.backward()
    assert bool(loss.total.isfinite())
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert all(g is None or bool(g.isfinite().all()) for g in grads.values())
    assert not bool(grads["network.heads.out.1.weight"].any())


def test_classes_are_drawn_along():
    """Without y a completion draws the class of p(y | known), then the rest given it."""
    space = Space(fields=DISCRETE.fields, y=Classes(names=("no", "yes")), measure="columns")
    model, n = scrambled(space), 20_000
    x = {name: t[5].expand(n).clone() for name, t in every_row(space).items()}
    known = {name: torch.full((n,), name != "c") for name in x}
    done = model.complete(x, known, rng=1).x
    assert isinstance(done, dict)
    one, mask = {k: t[:1] for k, t in x.items()}, {k: t[:1] for k, t in known.items()}
    p, weights = 0.0, []
    for y in (torch.tensor([0]), torch.tensor([1])):
        weights.append(model.log_likelihood(one, known=mask, y=y).nats + model.marginal.log_prob()[y])
    for y, weight in enumerate(torch.cat(weights).softmax(0).tolist()):
        given = model.conditional("c", one, mask, y=torch.tensor([y]))
        p += weight * float(given.log_prob(torch.tensor([1])).exp())
    assert abs(float(done["c"].double().mean()) - p) < 5 * math.sqrt(0.25 / n)


def test_orders():
    ranks = any_order(4000, 3, Rng(0), torch.device("cpu"))
    firsts = sequence(ranks, torch.ones(4000, 3, dtype=torch.bool))[:, 0].bincount(minlength=3)
    assert float((firsts - 4000 / 3).abs().max()) < 5 * math.sqrt(4000 * 2 / 9)
    straight = sequence(as_they_stand(2, 4, Rng(0), torch.device("cpu")), torch.ones(2, 4, dtype=torch.bool))
    assert straight.tolist() == [[0, 1, 2, 3]] * 2
    assert standing(torch.tensor([[False, True, False, True]])).tolist() == [[1, 3, 0, 2]]
    assert standing(torch.tensor([[False, True, False, True]]), then=2).tolist() == [[1, 3, 2, 0]]
    mostly = sequence(Mostly(share=0.75)(4000, 5, Rng(0), torch.device("cpu")), torch.ones(4000, 5, dtype=torch.bool))
    share = float((mostly == torch.arange(5)).all(1).double().mean())
    assert abs(share - (0.75 + 0.25 / 120)) < 5 * math.sqrt(0.19 / 4000)


def test_a_picture_is_refused_by_name():
    with pytest.raises(ValueError, match="'picture' has the shape"):
        AnyOrder(AnyOrderConfig(), Space(fields={"picture": Categorical(k=2, shape=(1, 4, 4))}))
    with pytest.raises(ValueError, match="conditional on classes only"):
        AnyOrder(AnyOrderConfig(), Space(fields=DISCRETE.fields, y=DISCRETE))
    with pytest.raises(ValueError, match="no column 'z'; expected one of a, b, c, d"):
        scrambled(DISCRETE).conditional("z", every_row(DISCRETE), every_row(DISCRETE))


@pytest.mark.slow
@pytest.mark.parametrize("gaps", [False, True])
def test_it_learns_a_table_that_is_known(gaps: bool):
    """Within 0.05 nats of the entropy, and so for conditionals, also from rows of which a third is missing."""
    world = Mixed()
    x = world.sample(20_000, rng=0).x
    known = {name: Rng(9)(name).uniform((20_000,)) < 0.67 for name in x} if gaps else None
    data = Stored(space=world.space, x=x, known=known)
    adamw = AdamW(lr=3e-3)
    model = AnyOrder(AnyOrderConfig(width=32, depth=2, heads=2, optimiser=adamw), world.space, rng=0)
    model = train(model, data, Training(steps=700, batch=256)).averaged
    test = world.sample(4000, rng=1).x
    assert float((world.log_likelihood(test).nats - model.log_likelihood(test).nats).mean()) < 0.05
    for names in (("u",), ("v", "home"), ("job", "v")):
        mask = {name: torch.full((4000,), name in names) for name in test}
        gap = world.log_likelihood(test, known=mask).nats - model.log_likelihood(test, known=mask).nats
        assert -0.02 < float(gap.mean()) < 0.05
    asked = {name: torch.full((4000,), name in ("u", "v")) for name in test}
    more = {**asked, "job": torch.ones(4000, dtype=torch.bool)}
    exact = world.log_likelihood(test, known=more).nats - world.log_likelihood(test, known=asked).nats
    ours = model.conditional("job", test, asked).log_prob(pick(test, "job"))
    assert float((exact - ours).mean()) < 0.03


def test_a_completion_says_which_class_it_drew():
    space = replace(DISCRETE, missing=(), y=Classes(names=("u", "v")))
    model = scrambled(space)
    x = {name: value[:40] for name, value in every_row(space).items()}
    known = {name: torch.ones(40, dtype=torch.bool) for name in x}
    known["d"][:] = False
    made = model.complete(x, known, rng=0)
    assert made.y is not None
    # completed for that class, the same draws come again
    again = model.complete(x, known, y=made.y, rng=0)
    assert torch.equal(pick(again.x, "d"), pick(made.x, "d"))
    assert set(made.y.tolist()) == {0, 1}
