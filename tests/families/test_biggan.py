"""What is true of BigGAN alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.biggan import Alike, BigGAN, BigGANConfig
from simulacra.mathematics.adversarial import Hinge
from simulacra.nets.spectral import SelfAttention, Spectral

SMALL = BigGANConfig(chunk=3, shared=4, width=8, widest=8)


def space(c: int = 1, h: int = 16, w: int = 16, classes: int = 3) -> Space:
    field = Continuous(low=-1.0, high=1.0, levels=256, shape=(c, h, w))
    names = Classes(names=tuple(f"kind {i}" for i in range(classes))) if classes else None
    return Space(fields={"picture": field}, y=names, measure="8-bit pixels")


def test_each_block_hears_its_own_part_of_z_and_the_shared_embedding():
    model = BigGAN(SMALL, space())
    generator = model.duel.generator.eval()
    assert model.latent.only.shape == (9,)  # 3 for the start, 3 for each of two doublings
    heard: list[Tensor] = []
    for block in generator.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda m, given, out: heard.append(given[1]))
    z, y = Rng(0).normal((5, 9)), torch.eye(3)[[0, 1, 2, 0, 1]]
    generator(z, y)
    told = generator.shared(y)  # type: ignore[operator]
    for i, given in enumerate(heard):
        assert torch.equal(given, torch.cat([z[:, 3 * (i + 1) : 3 * (i + 2)], told], dim=1))
    assert len(heard) == 2


def test_without_classes_z_alone_conditions():
    model = BigGAN(SMALL, space(classes=0))
    x = model.sample(4, rng=0).x
    assert isinstance(x, Tensor)
    assert len(x.unique(dim=0)) == 4
    assert model.duel.generator.shared is None


@pytest.mark.parametrize(("size", "at"), [((64, 64), 1), ((128, 128), 2), ((16, 16), 0), ((8, 8), 0), ((28, 28), 0)])
def test_attention_is_at_the_size_nearest_to_the_one_asked_for(size: tuple[int, int], at: int):
    model = BigGAN(SMALL, space(1, *size))
    assert list(model.duel.critic.attention) == [str(at)]  # type: ignore[arg-type]
    seen: list[tuple[int, ...]] = []
    for m in model.modules():
        if isinstance(m, SelfAttention):
            m.register_forward_hook(lambda m, given, out: seen.append(tuple(given[0].shape[2:])))
    model.criticise(model.sample(1, rng=0).x)
    assert seen == [tuple(n >> at for n in size)] * 2


def test_filters_begin_orthonormal_and_alike_ones_are_charged_for():
    model = BigGAN(replace(SMALL, alike=1e-2), space())
    for m in model.modules():
        if isinstance(m, Spectral):
            w = m.weight.flatten(1)
            small = w @ w.T if len(w) <= w.shape[1] else w.T @ w
            assert torch.allclose(small, torch.eye(len(small)), atol=1e-5)
    batch = Batch(x=Rng(5).uniform((4, 1, 16, 16)) * 2 - 1, y=torch.tensor([0, 1, 2, 0]))
    terms = model.duel.generator_loss(batch, Rng(0)).terms
    assert math.isclose(terms["burden"], 4 * Alike(beta=1e-2)(model.duel.generator).item(), rel_tol=1e-5)
    assert model.duel.burden is not None
    before = model.duel.burden(model.duel.generator).item()
    with torch.no_grad():
        model.duel.generator.show.weight.fill_(1.0)  # type: ignore[union-attr]
        model.duel.generator.blocks[0].first.weight.fill_(1.0)  # type: ignore[index,union-attr]
    assert model.duel.burden(model.duel.generator).item() > before + 1
    assert BigGAN(replace(SMALL, alike=0.0), space()).duel.burden is None


def test_the_critic_takes_two_steps_for_each_of_the_generators():
    model = BigGAN(SMALL, space())
    assert {t.name: t.every for t in model.turns()} == {"generator": 2, "critic": 1}
    assert isinstance(model.config.game, Hinge)
    with pytest.raises(ValueError, match="at least 1 step"):
        BigGAN(replace(SMALL, rounds=0), space())


def test_truncation_draws_latents_within_it():
    model = BigGAN(SMALL, space())
    seen: list[Tensor] = []
    model.duel.generator.register_forward_pre_hook(lambda m, given: seen.append(given[0]))
    y = torch.zeros(200, dtype=torch.int64)
    tight, loose, free = (model.sample(200, y=y, truncation=t, rng=0).x for t in (0.05, 1.0, math.inf))
    assert isinstance(tight, Tensor)
    assert isinstance(loose, Tensor)
    assert isinstance(free, Tensor)
    assert [bool(z.abs().max() <= b) for z, b in zip(seen, (0.05, 1.0, math.inf), strict=True)] == [True] * 3
    assert seen[2].abs().max() > 2
    assert tight.std(0).mean() < loose.std(0).mean() < free.std(0).mean()
    with pytest.raises(ValueError, match="must be positive; got -1"):
        model.sample(1, truncation=-1.0)


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (28, 28), (30, 45), (16, 80)])
@pytest.mark.parametrize("c", [1, 4])
def test_every_size_and_number_of_channels(size: tuple[int, int], c: int):
    model = BigGAN(SMALL, space(c, *size, classes=1))
    x = model.sample(2, rng=0).x
    assert isinstance(x, Tensor)
    assert x.shape == (2, c, *size)
    assert model.criticise(x).shape == (2,)
