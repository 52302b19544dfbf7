"""Learning towards a score: its gradient is that of a divergence, and where it ends is known in closed form."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from simulacra.core.batch import Batch, Stored
from simulacra.core.optimisers import AdamW, Warmup
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical, Space
from simulacra.families.transformer import TransformerConfig, build
from simulacra.nets.decoder import Decoder
from simulacra.training.loop import train
from simulacra.training.settings import Training
from simulacra.uses.optimise import Goal, Towards, centred, log_prob, squared

SPACE = Space(fields={"word": Categorical(k=2, shape=(3,), varying=True)}, measure="letters")
SIGMA = 3.0


def some_model(seed: int):
    made = build(TransformerConfig(network=Decoder(depth=1, aspect=16, head=8)), SPACE, rng=seed).double()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(0.5 * Rng(seed)("other", name).normal(p.shape, dtype=torch.float64))
    return made


def every_word() -> Batch:
    """The 15 words of up to three letters."""
    words = [w for n in range(4) for w in itertools.product(range(2), repeat=n)]
    x = torch.tensor([[*w, *[0] * (3 - len(w))] for w in words])
    return Batch(x=x, length=torch.tensor([len(w) for w in words]))


def score(batch: Batch) -> torch.Tensor:
    """The share of a word's three places that hold a 1."""
    there = torch.arange(3) < batch.length[:, None]
    return ((batch.x == 1) & there).sum(1).double() / 3


def wanted(prior) -> torch.Tensor:
    """log of prior x exp(sigma score) / Z over all words: Todorov 2006; Korbak et al. 2022, eq. 3."""
    with torch.no_grad():
        return (log_prob(prior, every_word()) + SIGMA * score(every_word())).log_softmax(0)


def slope(value: torch.Tensor, model) -> torch.Tensor:
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    return torch.cat([torch.zeros(p.numel()) if g is None else g.flatten()
                      for p, g in zip(model.parameters(), found, strict=True)])  # fmt: skip


def of_divergence(model, prior) -> torch.Tensor:
    log_p = log_prob(model, every_word())
    return slope((log_p.exp() * (log_p - wanted(prior))).sum(), model)


def gaps(model, prior) -> torch.Tensor:
    before = log_prob(prior, every_word()).detach()
    return before + SIGMA * score(every_word()) - log_prob(model, every_word())


def test_the_expected_gradient_of_squared_gaps_is_that_of_the_divergence_from_what_is_wanted():
    model, prior = some_model(1), some_model(2)
    p = log_prob(model, every_word()).detach().exp()
    torch.testing.assert_close(float(p.sum()), 1.0)
    found = slope((p * squared(gaps(model, prior))).sum(), model)
    torch.testing.assert_close(found, of_divergence(model, prior))


def test_the_expected_gradient_of_centred_gaps_is_the_same_from_pairs_on():
    model, prior = some_model(1), some_model(2)
    p, gap = log_prob(model, every_word()).detach().exp(), gaps(model, prior)
    pairs = itertools.product(range(15), repeat=2)
    found = sum(p[i] * p[j] * centred(gap[[i, j]]).mean() for i, j in pairs)
    torch.testing.assert_close(slope(found, model), of_divergence(model, prior))


def test_centred_gaps_do_not_heed_what_all_gaps_share():
    gap = Rng(0)("gap").normal((8,), dtype=torch.float64)
    torch.testing.assert_close(centred(gap + 100), centred(gap))
    with pytest.raises(ValueError, match="two or more examples a step; got 1"):
        centred(gap[:1])


def test_a_model_that_is_what_is_wanted_stays():
    """Without anything to gain, every gap of a model from itself is zero, not only their mean."""
    learner = Towards(some_model(1), lambda batch: torch.zeros(len(batch)), Goal())
    loss = learner.loss(Batch(x=torch.zeros(16, 3, dtype=torch.int64)), Rng(0))
    assert slope(loss.total, learner.model).abs().max() < 1e-12
    assert float(loss.terms["distance"]) == pytest.approx(0.0, abs=1e-12)


def learned(prior, goal: Goal, steps: int):
    learner = Towards(copy.deepcopy(prior), score, goal)
    data = Stored(space=SPACE, x=every_word().x, length=every_word().length)
    training = Training(steps=steps, batch=64, precision="float64", average_half_life=0, save_seconds=None)
    return train(learner, data, training, begin=lambda model, data: None).averaged.model


def test_a_few_steps_bring_it_nearer_to_what_is_wanted():
    prior = some_model(2)
    now = learned(prior, Goal(sigma=SIGMA, optimiser=AdamW(lr=1e-2)), steps=10)
    before, after = (log_prob(m, every_word()).detach() for m in (prior, now))
    divergence = lambda log_p: float((log_p.exp() * (log_p - wanted(prior))).sum())  # noqa: E731
    assert divergence(after) < 0.5 * divergence(before)


@pytest.mark.slow
@pytest.mark.parametrize("gap", [squared, centred])
def test_it_ends_at_the_prior_tilted_by_the_score(gap):
    prior = some_model(2)
    goal = Goal(sigma=SIGMA, gap=gap, optimiser=AdamW(lr=1e-2, schedule=Warmup(decay=0.8, final=0.02)))
    words, now = every_word(), learned(prior, goal, steps=150)
    target, start = wanted(prior).exp(), log_prob(prior, words).detach().exp()
    far = lambda p: 0.5 * float((p - target).abs().sum())  # noqa: E731  (total variation)
    assert far(start) > 0.4
    assert far(log_prob(now, words).detach().exp()) < 0.05


def test_the_prior_is_left_as_it_was():
    prior = some_model(2)
    learner = Towards(prior, score, Goal())
    data = Stored(space=SPACE, x=every_word().x, length=every_word().length)
    before = copy.deepcopy(learner.prior.state_dict())
    train(learner, data, Training(steps=3, batch=8, precision="float64", save_seconds=None))
    assert all(torch.equal(t, before[name]) for name, t in learner.prior.state_dict().items())


def test_what_cannot_learn_so_is_refused_by_name():
    class Drawer(torch.nn.Module):
        space = SPACE

        def sample(self, n, *, y=None, rng):
            return every_word()

    with pytest.raises(ValueError, match="needs a LogProb .*log_prob_of.*Drawer"):
        Towards(Drawer(), score, Goal())
    with pytest.raises(ValueError, match="sigma must be positive"):
        Goal(sigma=0.0)
