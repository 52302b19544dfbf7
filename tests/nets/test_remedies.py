"""Remedies against mode collapse, by closed form: packs, looking ahead, the best of a batch, the deviation told."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.families.gan import GAN, GANConfig
from simulacra.mathematics.adversarial import NonSaturating, Relativistic, Wasserstein, r1, slope_of
from simulacra.nets.adversarial import Regulariser
from simulacra.nets.remedies import Deviated, Pack, Remedies, TopK, Unrolled

PLANE = Space(fields={"point": Continuous(low=-math.inf, high=math.inf, shape=(2,))}, measure="plane")
COLOUR = Space(
    fields={"picture": Continuous(low=-1, high=1, shape=(3, 8, 8))}, y=Classes(names=("a", "b")), measure="pixels"
)


class Linear(nn.Module):
    """score = w . u, whatever y."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, u: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return u.flatten(1) @ self.weight


def test_a_pack_is_its_examples_side_by_side():
    x = torch.arange(2 * 2 * 3 * 4.0).reshape(2, 2, 3, 4)
    assert torch.equal(Pack(size=2)(x), torch.cat([x[:1], x[1:]], dim=1))
    assert torch.equal(Pack(size=2)(torch.tensor([1.0, 2, 3, 4])), torch.tensor([[1.0, 2], [3, 4]]))


@pytest.mark.parametrize("n", [1, 3, 0])
def test_a_batch_that_packs_do_not_divide_is_refused(n):
    with pytest.raises(ValueError, match=f"packs of 2 need a batch that they divide; got {n} examples"):
        Pack(size=2)(torch.zeros(n, 2))
    model = GAN(GANConfig(remedies=Remedies(pack=Pack(size=2))), PLANE)
    if n:
        with pytest.raises(ValueError, match="packs of 2"):
            model.duel.generator_loss(Batch(x=torch.zeros(n, 2)), Rng(0))


def test_a_pack_counts_as_one_example_in_losses_and_penalties():
    """Of a linear critic w of packs, R1 is gamma |w|^2 / 2 and the loss the game's at w . pack: both are known."""
    w = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    model = GAN(
        GANConfig(game=Wasserstein(), remedies=Remedies(pack=Pack(size=2)),
                  regularisers=(Regulariser(penalty=r1, weight=3.0),)),
        PLANE,
    ).double()  # fmt: skip
    model.duel.critic = Linear(w)
    batch = Batch(x=Rng(1).normal((6, 2), dtype=torch.float64))
    real, fake, _ = model.duel.opponents(batch, Rng(2))
    loss = model.duel.critic_loss(batch, Rng(2))
    assert real.shape == fake.shape == (3, 4)
    assert loss.weight == 3
    expected = ((fake - real) @ w).sum() + 3 * 3.0 * w.square().sum() / 2
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_critic_of_packs_scores_one_example_beside_real_ones():
    data = Batch(x=torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    model = GAN(GANConfig(remedies=Remedies(pack=Pack(size=3))), PLANE)
    model.duel.company.copy_(data.x)
    model.duel.critic = Linear(torch.tensor([1.0, 10, 100, 1000, 1e4, 1e5]))
    score = model.criticise(torch.tensor([[5.0, 6.0], [0.0, 0.0]]))
    others = 100 + 2000 + 3e4 + 4e5
    assert score.tolist() == [65 + others, others]


@pytest.mark.parametrize("steps", [1, 3])
def test_looking_ahead_against_a_linear_critic(steps):
    """Wasserstein: a step adds rate (mean real - mean fake) to w: the generator's loss is a parabola in its mean."""
    rate, n = 0.1, 5
    w = torch.tensor([0.3, -1.0], dtype=torch.float64)
    real = Rng(0).normal((n, 2), dtype=torch.float64)
    fake = Rng(1).normal((n, 2), dtype=torch.float64).requires_grad_()
    critic = Linear(w.clone())
    judge = Unrolled(steps=steps, rate=rate).ahead(critic, Wasserstein(), real, fake, None)
    (slope,) = torch.autograd.grad(Wasserstein().generator(judge(fake, None)).mean(), fake)
    a, b = real.mean(0), fake.detach().mean(0)
    # L = -(w + k rate (a - b)) . b, hence dL/db = -w - k rate (a - 2 b); each example is an nth of the mean
    expected = -(w + steps * rate * (a - 2 * b)) / n
    assert torch.allclose(slope, expected.expand(n, 2), rtol=1e-12)
    assert torch.equal(critic.weight, w)


def test_a_critic_looked_ahead_to_costs_nothing_where_its_rate_vanishes():
    """As the rate goes to nought the generator's gradient is that of the game as it stands."""
    slopes = []
    for remedies in (Remedies(), Remedies(unroll=Unrolled(steps=2, rate=1e-12))):
        model = GAN(GANConfig(game=Relativistic(), remedies=remedies), PLANE, rng=3).double()
        batch = Batch(x=Rng(4).normal((8, 2), dtype=torch.float64))
        loss = model.duel.generator_loss(batch, Rng(5)).total
        slopes.append(torch.autograd.grad(loss, list(model.duel.generator.parameters())))
    for a, b in zip(*slopes, strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_looking_ahead_leaves_running_statistics_alone():
    model = DCGAN(DCGANConfig(width=4, latent=3, remedies=Remedies(unroll=Unrolled(steps=2))), COLOUR)
    before = {name: b.clone() for name, b in model.duel.critic.named_buffers()}
    batch = Batch(x=Rng(0).normal((4, 3, 8, 8)), y=torch.tensor([0, 1, 0, 1]))
    loss = model.duel.generator_loss(batch, Rng(1))
    loss.total.backward()
    assert all(torch.equal(b, before[name]) for name, b in model.duel.critic.named_buffers())
    assert model.turns()[0].second_order


def test_the_share_that_is_learnt_from_falls():
    top = TopK(final=0.5, decay=0.9, every=10)
    assert [round(float(top.share(torch.tensor(s))), 6) for s in (0, 9, 10, 25, 1000)] == [1, 1, 0.9, 0.81, 0.5]
    scores = torch.tensor([3.0, -1.0, 2.0, 0.0])
    assert top.kept(scores, torch.tensor(1000)).tolist() == [1, 0, 1, 0]
    assert top.kept(scores, torch.tensor(0)).tolist() == [1, 1, 1, 1]


def test_the_generator_learns_from_the_best_alone():
    model = GAN(GANConfig(game=NonSaturating(), regularisers=(), remedies=Remedies(top=TopK(final=0.25))), PLANE)
    model.duel.steps.fill_(10**6)
    batch = Batch(x=torch.zeros(8, 2))
    fake = model.duel.fake(batch.x, None, Rng(0))
    scores = model.duel.critic(fake, None)
    loss = model.duel.generator_loss(batch, Rng(0))
    best = NonSaturating().generator(scores.topk(2).values)
    assert float(loss.weight) == 2
    assert float(loss.total.detach()) == pytest.approx(float(best.detach().sum()), rel=1e-6)


def test_the_critic_is_told_how_far_its_batch_differs():
    """Of rows that are all alike it is told sqrt(1e-8), of {0, 2} 1: the deviation of a group of two."""
    told = Remedies(deviation=Deviated(group=2))
    assert told.event((2,)) == (3,)
    assert told.event(()) == (2,)
    critic = told.around(Linear(torch.tensor([0.0, 0.0, 1.0])))
    assert critic(torch.ones(2, 2)).tolist() == pytest.approx([1e-4, 1e-4])
    assert critic(torch.tensor([[0.0, 0.0], [2.0, 2.0]])).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Pack(size=1), "at least 2 examples; got size=1"),
        (lambda: Unrolled(steps=0), "at least 1 step ahead"),
        (lambda: TopK(final=0.0), "final in"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_the_slope_of_a_pack_is_that_of_all_its_examples():
    w = torch.tensor([1.0, 2.0, 3.0, 4.0])
    critic = Linear(w)
    slope = slope_of(lambda u: critic(u))
    packs = Pack(size=2)(torch.zeros(4, 2))
    assert torch.equal(slope(packs), w.expand(2, 4))
