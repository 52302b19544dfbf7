"""What is true of autoregressive pictures alone: who sees whom, cached equals naive, completions that are exact."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Stored
from simulacra.core.indices import from_indices, to_indices
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.pixelcnn import PixelCNN, PixelCNNConfig, PixelCNNGiven, Raster, build
from simulacra.laws.examples import drawn
from simulacra.nets.causal_attention import Attention, Places
from simulacra.nets.causal_layers import Gated, Residual
from simulacra.nets.causal_network import Recomputed, Stacks, gated, plus_plus, snail
from simulacra.nets.cell_outputs import Levels, Logistics, Together, natural

CLASSES = Classes(names=("a", "b"))


def picture(levels: int, *shape: int, y: Any = None) -> Space:
    return Space(fields={"x": Continuous(low=-1, high=1, levels=levels, shape=shape)}, y=y, measure="pixels")


BITS, GREY, RGB = picture(2, 1, 4, 6), picture(9, 1, 4, 4, y=CLASSES), picture(64, 3, 4, 4)
TILES = Space(fields={"x": Categorical(k=5, shape=(2, 4, 4))}, y=CLASSES, measure="tiles")
CAPTIONED = picture(4, 1, 4, 4, y=Space(fields={"e": Continuous(low=-math.inf, high=math.inf, shape=(3,))}))
SMALL = {
    "gated": gated(layers=3, width=8, first=5),
    "plus plus": plus_plus(layers=2, width=8, first=3, kernel=5),
    "snail": snail(blocks=2, layers=1, width=8, heads=2),
    "all kinds": Stacks(layers=(Gated(kernel=5), Places(), Attention(heads=1), Residual()), width=6),
}
VARIANTS = [
    pytest.param(network, space, output, block, id=f"{name}, {what}")
    for (name, network), (what, space, output, block) in itertools.product(
        SMALL.items(),
        [
            ("bits", BITS, natural, (1, 1)),
            ("blocks", BITS, Together(hidden=8), (2, 2)),
            ("grey blocks", GREY, Levels(hidden=8), (2, 1)),
            ("colour", RGB, Logistics(components=3), (1, 1)),
            ("tiles", TILES, natural, (1, 1)),
            ("given a vector", CAPTIONED, natural, (1, 1)),
        ],
    )
]


def made(network: Stacks, space: Space, output: Any = natural, block: tuple[int, int] = (1, 1)) -> Raster:
    return build(PixelCNNConfig(network=network, output=output, block=block), space, rng=1)


def conditions(space: Space, n: int) -> Any:
    return drawn(space, n, Rng(4)).batch(torch.arange(n), Rng(0)).y


# -- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("network", "space", "output", "block"), VARIANTS)
def test_cached_drawing_equals_naive_drawing(network, space, output, block, dtype):
    torch.set_default_dtype(dtype)
    model = made(network, space, output, block)
    y = conditions(space, 4)
    draw = model.sample_given if isinstance(model, PixelCNNGiven) else lambda y, **s: model.sample(4, y=y, **s)
    assert torch.equal(draw(y, rng=3).x, draw(y, rng=3, along=Recomputed).x)
    # and the distributions they are drawn from
    walks = [model.walk(4, y=y), model.walk(4, y=y, along=Recomputed)]
    values = to_indices(space, drawn(space, 4, Rng(1)).x)
    for place in walks[0].order.tolist():
        one, other = (walk.log_probs() for walk in walks)
        assert float((one - other).abs().max()) < 200 * torch.finfo(dtype).eps * float(one.abs().max() + 1)
        for walk in walks:
            walk.take(values[:, place])


@torch.no_grad()
def moved(model: Any) -> Any:
    """With weights that are not at their start, where half of them are zero."""
    for number, p in enumerate(model.parameters()):
        p += 0.3 * Rng(2)(number).normal((1, p.numel()), dtype=p.dtype).view(p.shape)
    return model


@pytest.mark.parametrize(("output", "block"), [(natural, (1, 1)), (Together(hidden=8), (2, 1)), (Logistics(), (1, 3))])
def test_draws_follow_the_likelihood(output, block):
    """Of every picture of 1 x 2 x 3 bits, as many are drawn as its probability says."""
    space, n = picture(2, 1, 2, 3), 5_000
    model = moved(made(gated(layers=1, width=8, first=3), space, output, block))
    every = torch.cartesian_prod(*[torch.arange(2)] * 6)
    p = model.log_likelihood(from_indices(space, every)).nats.double().exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    found = to_indices(space, model.sample(n, rng=0).x) @ torch.tensor([32, 16, 8, 4, 2, 1])
    counts = found.bincount(minlength=64).double()
    chi_square = float(((counts - n * p).square() / (n * p)).sum())
    assert chi_square < 63 + 5 * math.sqrt(2 * 63)


def test_temperature_zero_takes_the_likeliest_value_of_each():
    model = moved(made(SMALL["gated"], BITS))
    cold = model.sample(3, rng=0, temperature=0.0).x
    assert torch.equal(cold, model.sample(3, rng=9, temperature=0.0).x)
    walk = model.walk(3)
    for place in walk.order.tolist():
        value = to_indices(BITS, cold)[:, place]
        assert torch.equal(value, walk.log_probs().argmax(1))
        walk.take(value)


# -- who sees whom ----------------------------------------------------------------------------------------------------


def seen(model: Raster, t: int, x: Tensor) -> Tensor:
    """Which elements of a picture the features of cell t depend on: gradients that are not zero, (c, h, w) as bool."""
    cells = model.cells
    inputs = cells.network_input(cells.index(x)).requires_grad_()
    features = model.network(inputs)
    i, j = divmod(t, cells.size[1])
    (gradient,) = torch.autograd.grad(features[:, :, i, j].square().sum(), inputs)
    return (gradient != 0)[0]


DEEP = {
    "gated": Stacks(layers=(Gated(),) * 32, width=6, first=3),
    "plus plus": Stacks(layers=(Residual(),) * 32, width=6, first=3),
    "gated and attention": Stacks(layers=((Gated(),) * 7 + (Attention(heads=1),)) * 4, width=6, first=3),
}


@pytest.mark.parametrize("network", DEEP.values(), ids=DEEP.keys())
def test_no_pixel_sees_its_future_and_none_of_its_past_is_missed(network):
    """32 layers, 3 channels: the blind spot of the first PixelCNN, right of each pixel and above, would show here."""
    torch.set_default_dtype(torch.float64)
    space = picture(256, 3, 7, 9)
    model = made(network, space, Logistics(components=2))
    x = drawn(space, 1, Rng(0)).x
    for t in (0, 1, 8, 9, 13, 35, 40, 62):
        past = (torch.arange(63) < t).view(7, 9).expand(3, 7, 9)
        assert torch.equal(seen(model, t, x), past)


@pytest.mark.parametrize("output", [Levels(hidden=8), Logistics(components=2)])
def test_red_comes_before_green_before_blue(output):
    """An element's distribution depends on all elements before it, channels of its own pixel too, and no others."""
    torch.set_default_dtype(torch.float64)
    space = picture(8, 3, 2, 3)
    model = moved(made(gated(layers=4, width=8), space, output))
    x = to_indices(space, drawn(space, 1, Rng(0)).x)
    order = model.cells.order.tolist()
    assert order[:6] == [0, 6, 12, 1, 7, 13]

    def distributions(x: Tensor) -> Tensor:
        walk, found = model.walk(1), []
        for place in order:
            found.append(walk.log_probs()[0])
            walk.take(x[:, place])
        return torch.stack(found)

    before = distributions(x)
    for t, place in enumerate(order[:-1]):
        other = x.clone()
        other[:, place] = (other[:, place] + 3) % 8
        changed = (distributions(other) != before).any(1)
        assert not changed[: t + 1].any()
        assert changed[t + 1 :].all()


def test_blocks_are_cut_pixel_by_pixel_and_channels_run_fastest():
    space = picture(2, 2, 4, 4)
    model = made(gated(layers=1, width=4), space, Together(hidden=4), (2, 2))
    # channels 0 and 1 of the pixels (0, 0), (0, 1), (1, 0) and (1, 1)
    assert model.cells.order[:8].tolist() == [0, 16, 1, 17, 4, 20, 5, 21]


# -- what is partly known ---------------------------------------------------------------------------------------------


TINY = picture(2, 1, 2, 3, y=CLASSES)


def conditional(model: Any, x: Tensor, known: Tensor, y: Tensor | None) -> Tensor:
    """Exact p(picture | known), over all 64, by enumeration."""
    every = torch.cartesian_prod(*[torch.arange(2)] * 6)
    label = None if y is None else y.expand(64)
    p = model.log_likelihood(from_indices(TINY, every), y=label).nats.double().exp()
    p = p * (every == to_indices(TINY, x[None]))[:, known.flatten()].all(1)
    return p


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(("hidden", "draws"), [([4, 5], 1), ([0, 2], 64)])
def test_completions_follow_the_conditional(hidden, draws, labelled):
    """Exact with one draw where the unknown come last; with many draws, resampled, wherever they are."""
    model = moved(made(gated(layers=1, width=8, first=3), TINY))
    model.fit(drawn(TINY, 50, Rng(1)))
    n, x = 1000 if draws > 1 else 4000, drawn(TINY, 1, Rng(3)).x[0]
    known = torch.ones(1, 2, 3, dtype=torch.bool)
    known.view(-1)[hidden] = False
    y = torch.ones(n, dtype=torch.int64) if labelled else None
    p = conditional(model, x, known, None if y is None else y[0])
    done = model.complete(x.expand(n, 1, 2, 3), known.expand(n, 1, 2, 3), y=y, rng=5, draws=draws)
    found = to_indices(TINY, done.x) @ torch.tensor([32, 16, 8, 4, 2, 1])
    share = found.bincount(minlength=64).double() / n
    p_given = p / p.sum()
    # five standard errors, and what is left of the bias of 1 / draws
    slack = 5 * (p_given * (1 - p_given) / n).sqrt() + (0 if draws == 1 else 2 / draws)
    assert bool(((share - p_given).abs() <= slack + 1e-9).all())
    assert bool((done.x[:, known] == x[known]).all())


def test_the_known_part_is_scored_exactly_where_the_unknown_comes_last_and_bounded_elsewhere():
    model = moved(made(gated(layers=1, width=8, first=3), TINY))
    x, y = drawn(TINY, 1, Rng(3)).x, torch.zeros(1, dtype=torch.int64)
    for hidden, kind in (([3, 4, 5], "exact"), ([0, 1], "bound")):
        known = torch.ones(1, 1, 2, 3, dtype=torch.bool)
        known.view(-1)[hidden] = False
        truth = conditional(model, x[0], known[0], y[0]).sum().log()
        one = model.log_likelihood(x, y=y, known=known, rng=0, k=500)
        assert one.kind == kind
        assert float(one.count) == 6 - len(hidden)
        assert float(one.nats) == pytest.approx(float(truth), abs=1e-4 if kind == "exact" else 0.1)


# -- learning ---------------------------------------------------------------------------------------------------------


def test_dropout_is_drawn_from_the_rng_and_only_while_training():
    model = made(plus_plus(layers=1, width=8, dropout=0.5), BITS)
    batch = drawn(BITS, 8, Rng(0)).batch(torch.arange(8), Rng(0))
    loss = [float(model.loss(batch, Rng(seed)).total.detach()) for seed in (1, 1, 2)]
    assert loss[0] == loss[1] != loss[2]
    exact = -float(model.log_likelihood(batch.x).nats.sum())
    model.eval()
    assert float(model.loss(batch, Rng(1)).total.detach()) == pytest.approx(exact, rel=1e-5)


@pytest.mark.slow
def test_it_learns_what_a_markov_chain_of_pixels_can_be_learned_to():
    """Each pixel repeats the one before it with probability 0.9: the entropy is known."""
    space, n = picture(2, 1, 4, 4), 4000
    flips = Rng(0)("flips").bernoulli(torch.full((n, 16), 0.1)).long()
    flips[:, 0] = Rng(0)("first").integers(2, (n,))
    x = (flips.cumsum(1) % 2).view(n, 1, 4, 4).to(torch.uint8)
    data = Stored(space=space, x=x)
    model = made(gated(layers=2, width=16, first=3), space)
    (optimiser,) = model.config.optimiser.build(model)
    for step in range(300):
        batch = data.batch(Rng(1)(step).integers(n, (64,)), Rng(0))
        loss = model.loss(batch, Rng(0))
        optimiser.zero_grad()
        (loss.total / loss.weight).backward()
        optimiser.step()
    entropy = math.log(2) - 15 * (0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    nats = model.log_likelihood(data.batch(torch.arange(1000), Rng(0)).x)
    assert -nats.mean() == pytest.approx(entropy, abs=4 * nats.standard_error() + 0.1)


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: made(gated(), picture(2, 1, 5, 4), natural, (2, 2)), "must divide the picture of 5x4"),
        (lambda: made(gated(), picture(16, 1, 4, 4), Together(), (2, 2)), "at most 4,096"),
        (lambda: made(gated(), TILES, Logistics()), "levels that have an order"),
        (lambda: made(gated(kernel=4), BITS), "kernel must be odd"),
        (lambda: made(Stacks(layers=(Attention(heads=3),), width=8), BITS), "heads must divide"),
        (lambda: made(gated(), Space(fields={"x": Continuous(low=0, high=1, shape=(1, 4, 4))})), "countable"),
        (lambda: made(gated(), Space(fields={"x": Categorical(k=2, shape=(4,))})), "cells are of a picture"),
        (lambda: PixelCNN(PixelCNNConfig(), CAPTIONED), "expected Classes or None"),
        (lambda: plus_plus(dropout=1.0), "dropout must lie in"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda m, x: m.log_likelihood(x[:, :, :3]), "x must hold pictures"),
        (lambda m, x: m.log_likelihood(x + 0.3), "must lie on its 9 levels"),
        (lambda m, x: m.log_likelihood(x, y=torch.tensor([0, 2])), "labels must lie in 0 .. 1"),
        (lambda m, x: m.walk(2), "give y="),
        (lambda m, x: m.walk(3, y=torch.tensor([0, 1])), "a condition for each of 3"),
        (lambda m, x: m.complete(x, torch.ones(2, 4, 4, dtype=torch.bool), rng=0), "known must be a bool tensor"),
        (lambda m, x: m.sample(2, rng=0, temperature=-1.0), "temperature must not be negative"),
    ],
)
def test_questions_that_make_no_sense_are_refused(ask, match):
    with pytest.raises(ValueError, match=match):
        ask(made(SMALL["gated"], GREY), drawn(GREY, 2, Rng(0)).batch(torch.arange(2), Rng(0)).x)
