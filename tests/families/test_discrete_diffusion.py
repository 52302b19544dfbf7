"""What is true of discrete diffusion alone: what it learns against a world that can be summed, and what it is shown."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Classes, Continuous, Space
from simulacra.families.discrete_diffusion import DiscreteDiffusion, DiscreteDiffusionConfig
from simulacra.mathematics.discrete_chains import one_by_one
from simulacra.mathematics.discrete_paths import Absorbing, Noise, Uniform
from simulacra.nets import denoisers
from simulacra.nets.tokens import Bidirectional
from simulacra.training.loop import train
from simulacra.training.settings import Training

ADAM = AdamW(lr=5e-3, schedule=Warmup(steps=20, decay=0.7))
SMALL = denoisers.Dense(width=48, depth=1)
ROWS = Bidirectional(width=32, depth=1, heads=2)
PAIR = Space(fields={"a": Categorical(k=3), "b": Continuous(low=0, high=1, levels=2)}, measure="pairs")
P = torch.tensor([[0.30, 0.05], [0.02, 0.25], [0.18, 0.20]])
EVERY = {"a": torch.tensor([0, 0, 1, 1, 2, 2]), "b": torch.tensor([0.0, 1, 0, 1, 0, 1])}


def pairs(n: int = 4096) -> Stored:
    code = Rng(0)("code").categorical(P.flatten().log().expand(n, 6))
    return Stored(space=PAIR, x={"a": code // 2, "b": (code % 2).to(torch.uint8)})


def fitted(noise: Noise, data: Stored, backbone: Any = SMALL, steps: int = 400) -> DiscreteDiffusion:
    config = DiscreteDiffusionConfig(backbone=backbone, noise=noise, optimiser=ADAM)
    return train(
        DiscreteDiffusion(config, data.space), data, Training(steps=steps, batch=256, save_seconds=None)
    ).averaged


@pytest.mark.slow
@pytest.mark.parametrize("noise", [Absorbing(), Uniform()])
def test_it_learns_a_table(noise: Noise):
    model = fitted(noise, pairs())
    bound = model.log_likelihood(Batch(x=EVERY).map(lambda t: t.repeat_interleave(200, 0)).x, rng=1, draws=64)
    nats = bound.nats.reshape(6, 200).mean(1)
    truth = P.flatten().log()
    assert float((P.flatten() * (truth - nats)).sum()) < 0.05
    x = model.sample(3000, rng=2).x
    counts = (2 * x["a"] + x["b"].long()).bincount(minlength=6).double()
    assert float((counts / 3000 - P.flatten()).abs().sum()) < 0.1
    # what is known keeps its value, and the other follows it
    known = {"a": torch.ones(2000, dtype=torch.bool), "b": torch.zeros(2000, dtype=torch.bool)}
    done = model.complete({"a": torch.ones(2000, dtype=torch.int64), "b": torch.zeros(2000)}, known, rng=3).x
    share = float(done["b"].mean())
    assert abs(share - 0.25 / 0.27) < 0.06


def constant_beliefs(model: DiscreteDiffusion, logits: Tensor) -> None:
    """Gives every element the same belief, whatever it sees."""
    outward = model.network.body.outward[1]  # of the dense layers
    outward.weight.data.zero_()
    full = torch.zeros(len(model.elements.k), model.network.count)
    full[:, : logits.shape[1]] = logits
    outward.bias.data.copy_(full.flatten())


@pytest.mark.parametrize("noise", [Absorbing(), Uniform()])
def test_beliefs_that_look_at_nothing_are_a_product(noise: Noise):
    model = DiscreteDiffusion(DiscreteDiffusionConfig(backbone=SMALL, noise=noise), PAIR).double()
    logits = torch.tensor([[0.5, -1.0, 0.2], [1.0, 0.0, 7.0]])  # the third of two values must not count
    constant_beliefs(model, logits)
    a, b = logits[0].log_softmax(0), logits[1, :2].log_softmax(0)
    truth = (a[EVERY["a"]] + b[EVERY["b"].long()]).double()
    many = Batch(x={"a": EVERY["a"], "b": EVERY["b"].double()}).map(lambda t: t.repeat_interleave(100, 0)).x
    nats = model.log_likelihood(many, rng=0, draws=64).nats.reshape(6, 100)
    assert bool(((nats.mean(1) - truth).abs() < 5 * nats.std(1) / 10).all())
    n = 2000
    for steps in (1, 12):
        x = model.sample(n, rng=1, steps=steps).x
        counts = (2 * x["a"] + x["b"].long()).bincount(minlength=6).numpy()
        assert stats.chisquare(counts, n * (truth.exp() / truth.exp().sum()).numpy()).pvalue > 1e-4
    cold = model.sample(200, rng=1, temperature=1e-3).x
    assert set(cold["a"].tolist()) == {0}
    assert set(cold["b"].tolist()) == {0.0}


def words() -> Stored:
    """Rows of 0 1 0 1 ..., of three lengths that the class tells."""
    space = Space(
        fields={"w": Categorical(k=4, shape=(8,), varying=True)}, y=Classes(names=("short", "long")), measure="letters"
    )
    y = torch.arange(600) % 2
    length = torch.where(y == 0, 2, 7)
    x = torch.where(torch.arange(8) < length[:, None], torch.arange(8) % 2, 0)
    return Stored(space=space, x=x, y=y, length=length)


@pytest.mark.slow
def test_it_learns_rows_and_their_lengths():
    data = words()
    model = fitted(Absorbing(), data, ROWS, steps=250)
    y = torch.arange(100) % 2
    drawn = model.sample(100, y=y, rng=0)
    right = drawn.length == torch.where(y == 0, 2, 7)
    assert float(right.double().mean()) > 0.97
    whole = torch.where(torch.arange(8) < drawn.length[:, None], torch.arange(8) % 2, 0)
    assert float((drawn.x == whole).all(1).double().mean()) > 0.95
    said = model.log_likelihood(data.x[:64], y=data.y[:64], length=data.length[:64], rng=0)
    assert said.mean() > -0.5
    assert said.count.tolist() == data.length[:64].double().tolist()
    # the label that does not fit the length is all but impossible, and summed out it is the other's, halved
    summed = model.log_likelihood(data.x[:64], length=data.length[:64], rng=0)
    torch.testing.assert_close(summed.nats, said.nats - 0.693, rtol=0, atol=0.01)


@pytest.mark.slow
def test_labels_are_heard_and_guidance_exaggerates_them():
    space = Space(fields={"x": Categorical(k=3, shape=(4,))}, y=Classes(names=("a", "b")), measure="letters")
    y = Rng(0)("y").integers(2, (2048,))
    p = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]]).log()
    x = Rng(0)("x").categorical(p[y][:, None].expand(-1, 4, 3))
    model = fitted(Absorbing(), Stored(space=space, x=x, y=y), ROWS, steps=200)
    ones = torch.ones(500, dtype=torch.int64)
    shares = {
        w: float((model.sample(500, y=ones, rng=1, steps=8, guidance=w).x == 2).double().mean()) for w in (0, 1, 3)
    }
    assert abs(shares[1] - 0.6) < 0.06
    assert abs(shares[0] - 0.35) < 0.12, "without the label, of both classes"
    assert shares[3] > 0.75


def test_out_of_masks_the_rest_of_the_chain_sees_what_is_known_and_no_more():
    space = Space(fields={"x": Categorical(k=5, shape=(6,))}, measure="letters")
    model = DiscreteDiffusion(DiscreteDiffusionConfig(backbone=ROWS), space)
    seen: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    x, known = torch.tensor([[4, 3, 2, 1, 0, 4]]), torch.tensor([[True, False, True, False, False, False]])
    done = model.complete(x, known, rng=0, sampler=one_by_one)
    assert len(seen) == 4
    assert [int((states == 5).sum()) for states in seen] == [4, 3, 2, 1]
    assert all(states[0, 0] == 4 and states[0, 2] == 2 for states in seen)
    assert torch.equal(done.x[known], x[known])


def test_uniform_noise_shows_what_is_known_with_its_noise():
    space = Space(fields={"x": Categorical(k=5, shape=(50,))}, measure="letters")
    model = DiscreteDiffusion(DiscreteDiffusionConfig(backbone=ROWS, noise=Uniform()), space)
    seen: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    x, known = torch.full((4, 50), 3), torch.ones(4, 50, dtype=torch.bool)
    assert torch.equal(model.complete(x, known, rng=0, steps=8).x, x)
    shares = [float((states == 3).double().mean()) for states in seen]
    assert abs(shares[0] - 0.2) < 0.15, "at first all is lost"
    assert shares[-1] > shares[0] + 0.3


def test_nothing_and_everything_known():
    space = Space(fields={"x": Categorical(k=3, shape=(2, 2))}, measure="codes")
    model = DiscreteDiffusion(DiscreteDiffusionConfig(backbone=ROWS), space)
    x = torch.tensor([[[0, 1], [2, 0]]] * 3)
    everything = torch.ones_like(x, dtype=torch.bool)
    assert torch.equal(model.complete(x, everything, rng=0, steps=1).x, x)
    free = model.complete(x, ~everything, rng=0, steps=4).x
    assert torch.equal(free, model.sample(3, rng=0, steps=4).x), "a completion of nothing is a sample"


@pytest.mark.parametrize("noise", [Absorbing(), Uniform()])
def test_before_it_has_learnt_every_example_is_as_likely(noise: Noise):
    space = Space(fields={"x": Categorical(k=3, shape=(2,))}, measure="letters")
    model = DiscreteDiffusion(DiscreteDiffusionConfig(backbone=ROWS, noise=noise), space)
    x = torch.tensor(list(itertools.product(range(3), repeat=2))).repeat(60, 1)
    nats = model.log_likelihood(x, rng=0).nats
    assert abs(float(nats.mean()) + 2 * 1.0986) < 5 * float(nats.std()) / len(x) ** 0.5


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: DiscreteDiffusionConfig(unlabelled=1.0), r"share in \[0, 1\); got 1"),
        (
            lambda: DiscreteDiffusion(DiscreteDiffusionConfig(), Space(fields={"x": Continuous(low=0, high=1)})),
            "'x' has none: it is real, use diffusion or flow_matching",
        ),
        (
            lambda: DiscreteDiffusion(
                DiscreteDiffusionConfig(), Space(fields={"x": Continuous(low=0, high=1, levels=300)})
            ),
            "at most 256 levels; 'x' has 300",
        ),
        (
            lambda: DiscreteDiffusion(DiscreteDiffusionConfig(), replace(PAIR, y=PAIR)),
            "conditional on classes only",
        ),
        (
            lambda: DiscreteDiffusion(DiscreteDiffusionConfig(backbone=ROWS), PAIR),
            "Bidirectional needs rows of shape",
        ),
    ],
)
def test_refusals(make: Any, told: str):
    with pytest.raises(ValueError, match=told):
        make()


def test_wrong_calls():
    model = DiscreteDiffusion(DiscreteDiffusionConfig(backbone=SMALL), PAIR)
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        model.sample(2, rng=0, steps=0)
    with pytest.raises(ValueError, match="temperature must be positive; got 0"):
        model.sample(2, rng=0, temperature=0.0)
    with pytest.raises(ValueError, match="draws must be at least 1; got 0"):
        model.log_likelihood(EVERY, draws=0)
    with pytest.raises(ValueError, match=r"a must lie in 0 .. 2; got 0 .. 3"):
        model.log_likelihood({"a": torch.tensor([0, 3]), "b": torch.zeros(2)})
    with pytest.raises(ValueError, match="no gaps to learn from; got known with some"):
        model.log_likelihood(EVERY, known={"a": EVERY["a"] == 0, "b": EVERY["b"] == 0})
