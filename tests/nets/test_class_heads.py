"""The auxiliary classifier's term, by closed form, and who learns from it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.biggan import BigGAN, BigGANConfig
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.mathematics.adversarial import class_entropy
from simulacra.nets.class_heads import Auxiliary
from simulacra.nets.remedies import Deviated, Pack, Remedies

SPACE = Space(
    fields={"picture": Continuous(low=-1, high=1, shape=(1, 8, 8))}, y=Classes(names=("a", "b", "c")), measure="pixels"
)
FAMILIES = {
    "dcgan": lambda **k: DCGAN(DCGANConfig(width=4, latent=3, **k), SPACE),
    "biggan": lambda **k: BigGAN(BigGANConfig(width=4, widest=8, chunk=3, shared=2, **k), SPACE),
}
BATCH = Batch(x=Rng(0).normal((6, 1, 8, 8)).clamp(-1, 1), y=torch.tensor([0, 1, 2, 0, 1, 2]))


def test_the_entropy_of_logits_that_know_nothing_and_of_those_that_know():
    y = torch.eye(3)
    assert class_entropy(torch.zeros(3, 3), y).tolist() == pytest.approx([math.log(3)] * 3)
    assert float(class_entropy(50 * y, y).max()) < 1e-6
    # of probabilities: log(3), whatever they are, where the logits are equal
    assert class_entropy(torch.zeros(1, 3), torch.tensor([[0.2, 0.3, 0.5]])).item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("family", FAMILIES)
def test_both_players_pay_for_what_is_not_recognised(family):
    plain = FAMILIES[family](auxiliary=Auxiliary(critic=0.0, generator=0.0))
    heeded = FAMILIES[family](auxiliary=Auxiliary(critic=2.0, generator=3.0))
    heeded.load_state_dict(plain.state_dict())
    # statistics are held where a batch was seen, so that the term is of the same critic
    for model in (plain, heeded):
        model.eval()
    losses = [m.duel.critic_loss(BATCH, Rng(1)) for m in (plain, heeded)]
    said = losses[1].terms["class_real"] + losses[1].terms["class_fake"]
    assert float(losses[1].total - losses[0].total) == pytest.approx(2 * float(said), rel=1e-5)
    losses = [m.duel.generator_loss(BATCH, Rng(1)) for m in (plain, heeded)]
    assert float(losses[1].total - losses[0].total) == pytest.approx(3 * float(losses[1].terms["class"]), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_critic_is_not_told_the_class_but_the_generator_is(family):
    model = FAMILIES[family](auxiliary=Auxiliary())
    critic = model.duel.critic.eval()
    u, other = BATCH.x, BATCH.y.roll(1)
    assert torch.equal(critic(u, model.duel.known(BATCH.y, 6)), critic(u, model.duel.known(other, 6)))
    z = Rng(2).normal((6, model.latent.only.shape[0]))
    assert not torch.equal(model.decode(z, y=BATCH.y), model.decode(z, y=other))


def test_another_loss_may_be_handed_in():
    seen = []

    def none(logits, y):
        seen.append(logits.shape)
        return 0 * logits.sum(1)

    model = FAMILIES["dcgan"](auxiliary=Auxiliary(loss=none))
    model.duel.critic_loss(BATCH, Rng(0))
    assert seen == [(6, 3), (6, 3)]


@pytest.mark.parametrize("remedies", [Remedies(pack=Pack(size=2)), Remedies(deviation=Deviated())])
def test_a_classifier_sees_examples_one_by_one(remedies):
    with pytest.raises(ValueError, match="leave pack and deviation out"):
        FAMILIES["dcgan"](auxiliary=Auxiliary(), remedies=remedies)


def test_without_classes_there_is_nothing_to_tell():
    with pytest.raises(ValueError, match="this data has none; leave auxiliary out"):
        DCGAN(DCGANConfig(auxiliary=Auxiliary()), replace(SPACE, y=None))
    with pytest.raises(ValueError, match="must not be negative; got critic=-1"):
        Auxiliary(critic=-1.0)
