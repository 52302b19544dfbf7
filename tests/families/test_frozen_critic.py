"""Freeze-D: of a critic that starts from another run the layers at the finest sizes stay, and the others learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from simulacra.core.batch import Stored
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.biggan import BigGAN, BigGANConfig
from simulacra.families.dcgan import DCGAN, DCGANConfig
from simulacra.families.r3gan import R3GAN, R3GANConfig
from simulacra.families.stylegan import R1, StyleGAN, StyleGANConfig
from simulacra.training.loop import train
from simulacra.training.settings import Training

SPACE = Space(
    fields={"picture": Continuous(low=-1.0, high=1.0, levels=256, shape=(1, 16, 16))},
    y=Classes(names=("a", "b")),
    measure="8-bit pixels",
)
FAMILIES: dict[str, tuple[Callable[..., Any], Any]] = {
    "dcgan": (DCGAN, DCGANConfig(latent=3, width=4)),
    "r3gan": (R3GAN, R3GANConfig(latent=4, width=4, widest=8, blocks=1, channels_a_group=4)),
    "stylegan": (StyleGAN, StyleGANConfig(latent=4, style=6, mapping=2, base=64, widest=6,
                                          regularisers=(replace(R1, every=2),))),
    "biggan": (BigGAN, BigGANConfig(chunk=3, shared=4, width=4, widest=8, attention=16)),
}  # fmt: skip


def data() -> Stored:
    x = (Rng(0).uniform((40, 1, 16, 16)) * 255).to(torch.uint8)
    return Stored(space=SPACE, x=x, y=Rng(0)("y").integers(2, (40,)), name="noise")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_at_the_finest_sizes_stay_and_all_others_learn(family: str):
    build, config = FAMILIES[family]
    model = build(replace(config, frozen=1), SPACE, rng=1)
    begun = {name: p.clone() for name, p in model.named_parameters()}
    # a block that begins as the identity learns what stands before its last layer from the second step on
    train(model, data(), Training(steps=5, batch=8, save_seconds=None), device="cpu")
    kept = {id(p) for layer in model.duel.critic.by_size()[0] for p in layer.parameters()}
    assert kept
    stayed = {name for name, p in model.named_parameters() if torch.equal(p, begun[name])}
    assert stayed == {name for name, p in model.named_parameters() if id(p) in kept}
    assert all(p.grad is None for name, p in model.named_parameters() if name in stayed)


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_go_from_the_picture_inwards_and_leave_what_judges(family: str):
    build, config = FAMILIES[family]
    critic = build(config, SPACE, rng=1).duel.critic
    sizes = critic.by_size()
    seen: list[int] = []
    for layers in sizes:
        layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-1]))
    critic(torch.zeros(2, 1, 16, 16), torch.eye(2))
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(sizes) > 1
    owned = [id(p) for layers in sizes for layer in layers for p in layer.parameters()]
    assert len(owned) == len(set(owned)) < len(list(critic.parameters()))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_critic_is_the_same_critic(family: str):
    """Freezing changes which weights learn, and neither scores nor the gradients of what learns."""
    build, config = FAMILIES[family]
    whole, frozen = build(config, SPACE, rng=1), build(replace(config, frozen=1), SPACE, rng=1)
    batch = data().batch(torch.arange(8), Rng(0))
    grads: list[dict[str, torch.Tensor]] = []
    for model in (whole, frozen):
        learning = [p for p in model.duel.critic.parameters() if p.requires_grad]
        for p in learning:
            p.requires_grad_(False)
        loss = model.duel.generator_loss(batch, Rng(1))
        loss.total.backward()
        for p in learning:
            p.requires_grad_(True)
        (model.duel.critic_loss(batch, Rng(2)).total / 8).backward()
        grads.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert grads[1].keys() < grads[0].keys()
    for name, gradient in grads[1].items():
        torch.testing.assert_close(gradient, grads[0][name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("frozen", [-1, 9])
def test_no_more_sizes_than_there_are(frozen: int):
    build, config = FAMILIES["r3gan"]
    with pytest.raises(ValueError, match=rf"at 3 sizes, of which 0 to 3 may be frozen; got frozen={frozen}"):
        build(replace(config, frozen=frozen), SPACE)
