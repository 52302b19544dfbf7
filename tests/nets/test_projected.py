"""The projected critic looks through frozen features, of each picture alone, and is learnt from through them."""

from __future__ import annotations

import pytest
import torch

from simulacra.core.batch import Batch, Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.nets.class_heads import Auxiliary
from simulacra.nets.projected import Projected
from simulacra.nets.remedies import Pack, Remedies
from simulacra.nets.self_supervised import EncoderConfig

SPACE = Space(
    fields={"picture": Continuous(low=-1, high=1, levels=256, shape=(1, 12, 8))},
    y=Classes(names=("a", "b")),
    measure="8-bit pixels",
)
SMALL = Projected(encoder=EncoderConfig(examples=256, features=4, channels=4, batch=32), channels=3)
DATA = Stored(
    space=SPACE, x=Rng(0).integers(256, (40, 1, 12, 8)).to(torch.uint8), y=Rng(1).integers(2, (40,)), name="noise"
)


def model(**settings) -> DCGAN:
    return DCGAN(DCGANConfig(width=4, latent=3, projected=SMALL, **settings), SPACE)


def test_the_features_are_learnt_before_the_game_and_not_in_it():
    gan = model()
    critic = gan.duel.critic
    before = {name: p.clone() for name, p in critic.encoder.named_parameters()}
    gan.fit(DATA)
    learnt = {name: p.clone() for name, p in critic.encoder.named_parameters()}
    assert any(not torch.equal(before[name], learnt[name]) for name in before)
    batch = DATA.batch(torch.arange(8), Rng(0))
    gan.duel.critic_loss(batch, Rng(1)).total.backward()
    assert all(p.grad is None for p in critic.encoder.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.heads.parameters() if p.requires_grad)
    assert not critic.train().encoder.training


def test_the_generator_learns_through_them():
    gan = model()
    gan.duel.generator_loss(DATA.batch(torch.arange(8), Rng(0)), Rng(1)).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gan.duel.generator.parameters())


def test_there_is_a_critic_on_every_size_and_pictures_are_judged_alone():
    critic = model().duel.critic.eval()
    u = Rng(3).normal((5, 1, 12, 8))
    assert [tuple(f.shape) for f in critic.features(u)] == [(5, 3, 6, 4), (5, 3, 3, 2), (5, 3, 3, 2)]
    assert len(critic.by_size()) == 3
    y = torch.eye(2)[torch.tensor([0, 1, 1, 0, 1])]
    whole = critic(u, y)
    assert torch.allclose(whole, torch.cat([critic(u[i : i + 1], y[i : i + 1]) for i in range(5)]), atol=1e-6)
    assert not torch.allclose(whole, critic(u, y.flip(1)))


def test_mixtures_keep_the_mean_square_and_never_learn():
    critic = DCGAN(DCGANConfig(width=4, projected=Projected(channels=64)), SPACE).duel.critic
    x = Rng(4).normal((16, 16, 6, 4))
    out = critic.channel[0](x)
    assert float(out.square().mean() / x.square().mean()) == pytest.approx(1, abs=0.3)
    assert not list(critic.channel[0].parameters())


@pytest.mark.parametrize("more", [{"remedies": Remedies(pack=Pack(size=2))}, {"auxiliary": Auxiliary()}])
def test_what_does_not_go_together(more):
    with pytest.raises(ValueError, match="a projected critic sees pictures one by one"):
        model(**more)


def test_a_batch_without_classes():
    space = Space(fields=SPACE.fields, measure=SPACE.measure)
    gan = DCGAN(DCGANConfig(width=4, latent=3, projected=SMALL), space)
    x = DATA.batch(torch.arange(4), Rng(0)).x
    assert gan.criticise(x).shape == (4,)
    assert gan.duel.critic_loss(Batch(x=x), Rng(0)).total.isfinite()
