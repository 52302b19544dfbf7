"""Paths between categories and noise against brute force: transition matrices, Bayes' rule, a world that can be summed.

In the world, three elements of two to three values, everything is known: with the beliefs that are the truth the bound
is log p itself, and what is drawn comes as often as it should.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.mathematics.discrete_chains import Chain, Sampler, ancestral, bound, evenly, missed, one_by_one, settled
from simulacra.mathematics.discrete_paths import (
    Absorbing,
    Eased,
    Level,
    Noise,
    Schedule,
    Sine,
    Straight,
    Uniform,
    chosen,
    forward,
    path_divergence,
    posterior,
)

DOUBLE = torch.float64
NOISES = [Absorbing(), Uniform()]
SCHEDULES = [Straight(), Eased(), Sine()]
K = (2, 3, 2)


class World:
    """A distribution over all combinations of K, and everything that follows from it by summing."""

    def __init__(self, noise: Noise) -> None:
        self.noise, self.law = noise, noise.law(K)
        self.examples = torch.tensor(list(itertools.product(*map(range, K))))
        weights = Rng(5)("weights").uniform((len(self.examples),), dtype=DOUBLE).square() + 0.01
        self.p = weights / weights.sum()

    def given(self, noisy: Tensor, level: Level) -> Tensor:
        """q(x_t = noisy | x_0) element by element, (b, examples, n); level (b,)."""
        states = self.law.shape[-1]
        clean = torch.nn.functional.one_hot(self.examples, states).to(DOUBLE)  # (examples, n, states)
        wide = Level(*(t[:, None, None, None] for t in level))
        q = forward(clean[None], self.law, wide)
        return q.gather(-1, noisy[:, None, :, None].expand(-1, len(self.examples), -1, 1))[..., 0]

    def belief(self, noisy: Tensor, level: Level) -> Tensor:
        """log p(x_0 of an element | the noisy others), by Bayes' rule over the whole world."""
        q = self.given(noisy, Level(*(t.to(DOUBLE) for t in level)))
        found = torch.zeros(*noisy.shape, self.law.shape[-1], dtype=DOUBLE)
        for i in range(len(K)):
            others = q[:, :, [j for j in range(len(K)) if j != i]].prod(-1) * self.p
            found[:, i] = others @ torch.nn.functional.one_hot(self.examples[:, i], self.law.shape[-1]).to(DOUBLE)
        return (found / found.sum(-1, keepdim=True)).log()

    def chain(self) -> Chain:
        return Chain(belief=self.belief, noise=self.noise, law=self.law, hold=lambda x, level, name: x)

    def integral(self, belief, nodes: int = 60) -> Tensor:
        """-int d lost E_q(x_t | x_0) of the divergence's rate, over all noisy states and by quadrature: (examples,)."""
        points, weights = np.polynomial.legendre.leggauss(nodes)
        states = [range(self.law.shape[-1])] * len(K)
        noisy = torch.tensor(list(itertools.product(*states)))
        total = torch.zeros(len(self.examples), dtype=DOUBLE)
        # lost = u^3: uniform noise goes as lost log lost near no noise, which no polynomial does
        u = (points + 1) / 2
        for at, weight in zip(u**3, 3 * u**2 * weights / 2, strict=True):
            level = Level(*(torch.full((len(noisy),), v, dtype=DOUBLE) for v in (1 - at, at)))
            log_b, q = belief(noisy, level), self.given(noisy, level).prod(-1)
            for number, x in enumerate(self.examples):
                seen = q[:, number] > 0
                here = Level(*(t[seen] for t in level))
                x = x.expand(int(seen.sum()), -1)
                rate = self.noise.missed(x, noisy[seen], log_b[seen], self.law, here).sum(1)
                total[number] -= weight * (q[seen, number] * rate).sum()
        return total


def matrix(law: Tensor, kept: float) -> Tensor:
    """Transition probabilities from state to state, (states, states)."""
    return kept * torch.eye(len(law), dtype=DOUBLE) + (1 - kept) * law.expand(len(law), -1)


@pytest.mark.parametrize("noise", NOISES)
def test_the_posterior_is_bayes_rule(noise: Noise):
    law, k = noise.law([4])[0], 4
    s, t = 0.8, 0.3
    q_s, q_t, between = matrix(law, s), matrix(law, t), matrix(law, t / s)
    torch.testing.assert_close(q_s @ between, q_t)  # Chapman and Kolmogorov
    now, then = (Level(torch.tensor(v, dtype=DOUBLE), torch.tensor(1 - v, dtype=DOUBLE)) for v in (t, s))
    for x in range(k):
        clean = torch.eye(len(law), dtype=DOUBLE)[x]
        for noisy in range(len(law)):
            if q_t[x, noisy] > 0:
                found = posterior(torch.tensor(noisy), clean, law, now, then)
                torch.testing.assert_close(found, between[:, noisy] * q_s[x] / q_t[x, noisy])


@pytest.mark.parametrize("noise", NOISES)
def test_a_belief_is_mixed_over_what_the_state_itself_still_tells(noise: Noise):
    law, k = noise.law([4])[0], 4
    belief = torch.tensor([0.1, 0.4, 0.2, 0.3, 0.0][: len(law)], dtype=DOUBLE)
    now, then = (Level(torch.tensor(v, dtype=DOUBLE), torch.tensor(1 - v, dtype=DOUBLE)) for v in (0.3, 0.8))
    q_t = matrix(law, 0.3)
    for noisy in range(len(law)):
        weights = belief[:k] * q_t[:k, noisy]
        eyes = torch.eye(len(law), dtype=DOUBLE)[:k]
        parts = torch.stack([posterior(torch.tensor(noisy), x, law, now, then) for x in eyes])
        mixed = (weights / weights.sum()) @ parts
        torch.testing.assert_close(posterior(torch.tensor(noisy), belief, law, now, then), mixed)


@pytest.mark.parametrize("noise", NOISES)
def test_with_the_true_beliefs_the_bound_is_log_p(noise: Noise):
    world = World(noise)
    torch.testing.assert_close(world.integral(world.belief), world.p.log(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("noise", NOISES)
def test_with_other_beliefs_it_lies_below(noise: Noise):
    world = World(noise)

    def doubtful(noisy: Tensor, level: Level) -> Tensor:
        return (0.5 * world.belief(noisy, level)).log_softmax(-1)

    found = world.integral(doubtful, nodes=40)
    # any beliefs are those of some distribution: its probabilities sum to no more than 1
    assert float(found.exp().sum()) < 1 + 1e-6
    assert float((world.p * (world.p.log() - found)).sum()) > 0.01


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_draws_of_the_bound_have_its_mean_whatever_the_schedule(noise: Noise, schedule: Schedule):
    world, n = World(noise), 4000
    x = world.examples[7].expand(n, -1)
    everything = torch.ones_like(x, dtype=torch.bool)
    found = bound(x, world.belief, noise, world.law, schedule=schedule, there=everything, draws=4, rng=Rng(3))
    error = float(found.mean() - world.p[7].log())
    assert abs(error) < 5 * float(found.std()) / n**0.5


def test_absorbed_elements_alone_count_and_their_sum_is_one_cross_entropy():
    noise, x = Absorbing(), torch.tensor([[0, 2, 1], [1, 1, 0]])
    law = noise.law([3, 3, 3])
    level = Level(torch.tensor([0.7, 0.2], dtype=DOUBLE), torch.tensor([0.3, 0.8], dtype=DOUBLE))
    noisy = torch.tensor([[3, 2, 3], [3, 3, 0]])
    logits = Rng(0).normal((2, 3, 3), dtype=DOUBLE).log_softmax(-1)
    log_belief = torch.nn.functional.pad(logits, (0, 1), value=-torch.inf)
    one, general = noise.missed(x, noisy, log_belief, law, level), path_divergence(x, noisy, log_belief, law, level)
    torch.testing.assert_close(one, general)
    assert one[0, 1] == one[1, 2] == 0


@pytest.mark.parametrize("lost", [1e-7, 1e-3, 0.5, 1 - 1e-6])
def test_single_precision_follows_double(lost: float):
    noise, n = Uniform(), 5
    law = noise.law([n] * 2)
    log_belief = Rng(0).normal((8, 2, n), dtype=DOUBLE).log_softmax(-1)
    x, noisy = Rng(1)("x").integers(n, (8, 2)), Rng(1)("noisy").integers(n, (8, 2))
    level = Level(*(torch.full((8,), v, dtype=DOUBLE) for v in (1 - lost, lost)))
    wide = path_divergence(x, noisy, log_belief, law, level)
    narrow = path_divergence(x, noisy, log_belief.float(), law, level)
    assert float(wide.min()) >= 0
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("noise", "sampler", "steps"),
    [(Absorbing(), ancestral, 96), (Absorbing(), one_by_one, 1), (Uniform(), ancestral, 96)],
)
def test_with_the_true_beliefs_draws_come_as_often_as_they_should(noise: Noise, sampler: Sampler, steps: int):
    world, n = World(noise), 3000
    start = noise.noised(torch.zeros(n, 3, dtype=torch.int64), world.law, evenly(Straight(), 1)[0], Rng(2)("start"))
    x = sampler(world.chain(), start, evenly(Straight(), steps), Rng(2))
    code = (x * torch.tensor([6, 2, 1])).sum(1)
    counts = code.bincount(minlength=12).numpy()
    assert stats.chisquare(counts, n * world.p.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("noise", NOISES)
def test_what_is_drawn_last_sees_what_is_known_as_it_is(noise: Noise):
    """With the true beliefs the element that is left is of p(it | the others), whatever was drawn on the way."""
    world, n = World(noise), 6000
    known, x = torch.tensor([True, True, False]).expand(n, 3), torch.tensor([1, 2, 0]).expand(n, 3)

    def hold(states: Tensor, level: Level, name: int) -> Tensor:
        wide = Level(*(t.expand(n) for t in level))
        return torch.where(known, noise.held(x, world.law, wide, Rng(7)("held", name)), states)

    chain = Chain(belief=world.belief, noise=noise, law=world.law, hold=hold)
    levels = evenly(Straight(), 4)
    start = noise.noised(x, world.law, Level(*(t.expand(n) for t in levels[0])), Rng(1))
    share = float((settled(chain, hold(start, levels[0], -1), levels, Rng(2))[:, 2] == 1).double().mean())
    fits = (world.examples[:, :2] == torch.tensor([1, 2])).all(1)
    wanted = float(world.p[fits][world.examples[fits, 2] == 1].sum() / world.p[fits].sum())
    assert (
        abs(share - wanted) < 4 * (wanted * (1 - wanted) / n) ** 0.5 + 2e-3
    )  # four standard errors, and the 1e-3 lost


def test_one_step_draws_each_element_on_its_own():
    world, n = World(Absorbing()), 20_000
    start = torch.full((n, 3), 3)
    x = ancestral(world.chain(), start, evenly(Straight(), 1), Rng(2))
    marginals = [world.p @ torch.nn.functional.one_hot(world.examples[:, i]).to(DOUBLE) for i in range(3)]
    product = torch.einsum("a,b,c->abc", *marginals).flatten()
    counts = (x * torch.tensor([6, 2, 1])).sum(1).bincount(minlength=12).numpy()
    assert stats.chisquare(counts, n * product.numpy()).pvalue > 1e-4
    assert stats.chisquare(counts, n * world.p.numpy()).pvalue < 1e-8, "a world without dependence shows nothing"


@pytest.mark.parametrize("noise", NOISES)
def test_what_is_all_lost_is_of_the_law_whatever_it_was(noise: Noise):
    law, n = noise.law(K), 6000
    everything = Level(torch.zeros(n), torch.ones(n))
    for value in (0, 1):
        noisy = noise.noised(torch.full((n, 3), value), law, everything, Rng(value))
        for i in range(3):
            counts = noisy[:, i].bincount(minlength=law.shape[1]).numpy()
            expected = n * law[i].numpy()
            assert (counts[expected == 0] == 0).all()
            possible = expected > 0
            if possible.sum() > 1:
                assert stats.chisquare(counts[possible], expected[possible]).pvalue > 1e-4


@pytest.mark.parametrize("noise", NOISES)
def test_what_is_kept_and_lost_comes_in_its_shares(noise: Noise):
    law, n = noise.law([3]), 9000
    noisy = noise.noised(torch.ones(n, 1, dtype=torch.int64), law, Level(torch.full((n,), 0.6), torch.full((n,), 0.4)),
                         Rng(0))  # fmt: skip
    clean = torch.nn.functional.one_hot(torch.tensor(1), law.shape[1]).to(DOUBLE)
    expected = forward(clean, law[0], Level(torch.tensor(0.6, dtype=DOUBLE), torch.tensor(0.4, dtype=DOUBLE))).numpy()
    counts = noisy[:, 0].bincount(minlength=len(expected)).numpy()
    assert stats.chisquare(counts[expected > 0], n * expected[expected > 0]).pvalue > 1e-4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule: Schedule):
    t = torch.linspace(0, 1, 101, dtype=DOUBLE)
    level = schedule.level(t)
    torch.testing.assert_close(level.kept + level.lost, torch.ones_like(t))
    assert float(level.lost[0]) == float(level.kept[-1]) == 0
    inside = t[1:-1].requires_grad_()
    (slope,) = torch.autograd.grad(schedule.level(inside).lost.sum(), inside)
    torch.testing.assert_close(schedule.rate(inside).detach(), slope)
    assert bool((slope > 0).all())
    # near the end what little is kept is not rounded away
    assert float(schedule.level(torch.tensor(1 - 2.0**-20)).kept) > 0


def test_a_state_without_probability_is_never_chosen():
    p = torch.tensor([0.0, 0.3, 0.0, 0.7, 0.0])
    u = torch.linspace(0, 1 - 2.0**-24, 1001)
    found = chosen(p.expand(1001, 5), u).bincount(minlength=5)
    assert found[[0, 2, 4]].tolist() == [0, 0, 0]
    assert abs(int(found[1]) - 300) <= 1
    # also where the sum of many is rounded below 1
    many = torch.cat([torch.full((999,), 1e-3 / 3), torch.zeros(1)])
    assert int(chosen(many, torch.tensor(1 - 2.0**-24))) == 998


def test_refusals():
    world = World(Uniform())
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        evenly(Straight(), 0)
    with pytest.raises(ValueError, match="Uniform noise has none; sample with ancestral"):
        one_by_one(world.chain(), torch.zeros(2, 3, dtype=torch.int64), evenly(Straight(), 1), Rng(0))


def test_what_is_not_there_is_not_scored():
    world = World(Absorbing())
    x = world.examples[3:5]
    t = torch.tensor([0.5, 0.5])
    nobody = torch.zeros_like(x, dtype=torch.bool)
    found = missed(t, x, world.belief, world.noise, world.law, Straight(), there=nobody, rng=Rng(0))
    assert found.tolist() == [0, 0]
