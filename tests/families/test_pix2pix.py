"""What is true of paired translation alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from simulacra.core.batch import Batch
from simulacra.core.randomness import Rng
from simulacra.core.space import Classes, Continuous, Space
from simulacra.families.pix2pix import Pix2Pix, Pix2PixConfig
from simulacra.nets.initialise import initialise
from simulacra.nets.translators import PatchCritic, ResidualNetwork, SkipNetwork, halvings
from simulacra.training.loop import train
from simulacra.training.settings import Training

SMALL = Pix2PixConfig(width=4, levels=3, halvings=2)


def space(c: int = 1, h: int = 8, w: int = 8, given: tuple[int, ...] = (1, 8, 8)) -> Space:
    field = Continuous(low=-1.0, high=1.0, levels=256, shape=(c, h, w))
    y = Space(fields={"picture": Continuous(low=-1.0, high=1.0, shape=given)}, measure="sketch")
    return Space(fields={"picture": field}, y=y, measure="8-bit pixels")


def batch(of: Space, n: int = 4) -> Batch:
    assert isinstance(of.y, Space)
    x, y = (Rng(5)(w).uniform((n, *s.only.shape)) * 2 - 1 for w, s in (("x", of), ("y", of.y)))
    return Batch(x=x, y=y)


def test_the_generators_loss_is_the_games_and_the_distance_from_the_partner():
    of = space()
    model, b = Pix2Pix(replace(SMALL, distance=7.0), of, rng=1), batch(of)
    loss = model.generator_loss(b, Rng(3))
    u, y = model.seen(b)
    fake = model.shown[b.x]
    scores = model.critic(torch.cat([y, fake], dim=1))
    truth = -torch.nn.functional.logsigmoid(scores).mean((1, 2)) + 7 * (fake - u).abs().mean((1, 2, 3))
    assert math.isclose(loss.total.item(), truth.sum().item(), rel_tol=1e-5)


def test_the_critic_judges_the_picture_together_with_what_is_given():
    """Half of -log D(y, x) - log(1 - D(y, G(y))), of the picture that the generator has just shown."""
    of = space()
    model, b = Pix2Pix(SMALL, of, rng=1), batch(of)
    model.generator_loss(b, Rng(3))
    u, y = model.seen(b)
    real, fake = (model.critic(torch.cat([y, v], dim=1)).sigmoid() for v in (u, model.shown[b.x]))
    truth = -0.5 * (real.log() + (1 - fake).log()).mean((1, 2))
    assert math.isclose(model.critic_loss(b, Rng(9)).total.item(), truth.sum().item(), rel_tol=1e-5)
    other = replace(b, y=b.y.flip(0))
    assert not math.isclose(model.critic_loss(other, Rng(9)).total.item(), truth.sum().item(), rel_tol=1e-5)


@torch.no_grad()
def test_a_score_hears_its_patch_alone():
    critic = PatchCritic(1, 4, 2)
    initialise(critic, Rng(1))
    # norms look at the whole picture; without them a score's field is 4 + 2 * 3 + 4 * (2 + 2) = 26 pixels
    for name, part in list(critic.layers.named_modules()):
        if isinstance(part, torch.nn.GroupNorm):
            critic.layers.set_submodule(name, torch.nn.Identity())
    x = Rng(2).normal((1, 1, 64, 64))
    scores, heard = critic(x), torch.zeros(64, 64, dtype=torch.bool)
    middle = scores.shape[1] // 2
    for row in range(64):
        moved = x.clone()
        moved[0, 0, row] += 1.0
        heard[row] = (critic(moved)[0, middle, middle] - scores[0, middle, middle]).abs() > 1e-7
    assert int(heard[:, 0].sum()) == 26


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (28, 28), (30, 45), (33, 8)])
@pytest.mark.parametrize("given", [(1, 8, 8), (3, 4, 6)])
def test_every_size_of_pictures_and_of_what_is_given(size: tuple[int, int], given: tuple[int, ...]):
    of = space(3, *size, given)
    model = Pix2Pix(SMALL, of, rng=0)
    drawn = model.sample_given(batch(of, 2).y, rng=0)
    assert drawn.x.shape == (2, 3, *size)


@torch.no_grad()
def test_dropout_is_the_only_noise():
    of = space()
    y = batch(of).y
    noisy, plain = (Pix2Pix(replace(SMALL, dropout=p), of, rng=1) for p in (0.5, 0.0))
    with_noise, without = (m.sample_given(y, rng=0).x for m in (noisy, plain))
    assert not torch.equal(with_noise, noisy.sample_given(y, rng=1).x)
    assert torch.equal(without, plain.sample_given(y, rng=1).x)


def test_how_often_pictures_are_halved():
    assert [halvings(n, n, 8) for n in (8, 9, 28, 32, 256)] == [2, 2, 3, 4, 7]
    assert halvings(256, 8, 8) == 2
    assert halvings(256, 256, 3) == 3


def test_networks_of_the_published_width_have_the_published_number_of_weights():
    """Isola et al.'s U-Net at 256: 54.4 million, Zhu et al.'s of 9 blocks at 64: 11.4 million."""
    unet = SkipNetwork(3, 3, 64, (256, 256), levels=8, dropout=0.5)
    # theirs goes on to 1x1, one layer each way of 512 x 512 and 1024 x 512 filters deeper
    deeper = 512 * 512 * 16 + 1024 * 512 * 16
    assert (sum(p.numel() for p in unet.parameters()) + deeper) / 54.4e6 == pytest.approx(1, abs=0.01)
    residual = ResidualNetwork(3, 64, 9)
    # halving and doubling filters are 4x4 here, 3x3 there
    wider = 2 * (64 * 128 + 128 * 256) * (16 - 9)
    assert (sum(p.numel() for p in residual.parameters()) - wider) / 11.4e6 == pytest.approx(1, abs=0.01)


def test_data_without_pictures_that_are_given_is_refused():
    for y in (None, Classes(names=("a", "b"))):
        with pytest.raises(ValueError, match="fit with --given sketch"):
            Pix2Pix(SMALL, replace(space(), y=y))
    with pytest.raises(ValueError, match="halvings 1 to 3; got 64, 8 and 4"):
        Pix2PixConfig(halvings=4)


@pytest.mark.slow
def test_it_learns_a_rule_that_can_be_written_down():
    """Pictures are the negatives of what is given: their distance falls well below that of a flat answer."""
    from simulacra.core.batch import Stored

    of = space()
    y = (Rng(1).uniform((256, 1, 2, 2)) * 2 - 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    data = Stored(space=of, x=-y, y=y)
    model = Pix2Pix(replace(SMALL, width=8, dropout=0.0), of, rng=1)
    train(model, data, Training(steps=300, batch=16))
    assert (model.sample_given(y[:64], rng=0).x + y[:64]).abs().mean() < 0.15 < y.abs().mean() / 3
