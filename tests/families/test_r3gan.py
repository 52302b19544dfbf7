"""What is true of R3GAN alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from simulacra.core.randomness import Rng
from simulacra.core.space import Continuous, Space
from simulacra.families.r3gan import GAIN, R3GAN, Block, R3GANConfig
from simulacra.mathematics.adversarial import Relativistic, r1, slope_of
from simulacra.nets.adversarial import Regulariser, cosine
from simulacra.nets.initialise import initialise
from simulacra.recipes.known_good import r3gan_recipe

SMALL = R3GANConfig(latent=4, width=4, widest=8, blocks=1, channels_a_group=4)


def space(c: int = 1, h: int = 8, w: int = 8) -> Space:
    field = Continuous(low=-1.0, high=1.0, levels=256, shape=(c, h, w))
    return Space(fields={"picture": field}, measure="8-bit pixels")


def test_every_block_starts_as_the_identity():
    model = R3GAN(replace(SMALL, blocks=3), space(h=16, w=16))
    blocks = [m for m in model.modules() if isinstance(m, Block)]
    assert len(blocks) == 2 * 3 * 3
    for block in blocks:
        x = Rng(0).normal((2, block.widen.weight.shape[1], 5, 5))
        assert torch.equal(block(x), x)
        with torch.no_grad():
            block.narrow.weight.fill_(0.1)
        assert not torch.allclose(block(x), x)


@pytest.mark.parametrize("total", [1, 16])
def test_inner_convolutions_begin_smaller_the_more_blocks_there_are(total: int):
    # Zhang et al. 2019, section 3: L^(-1 / (2m - 2)), a quarter root for three layers a block
    block = Block(64, replace(SMALL, channels_a_group=16), total)
    initialise(block, Rng(0))
    for layer, fan in ((block.widen, 64), (block.mix, 16 * 9)):
        assert math.isclose(layer.weight.std().item() * math.sqrt(fan), GAIN * total**-0.25, rel_tol=0.03)
    assert block.mix.groups == 8


def test_a_group_holds_what_divides_the_channels():
    assert Block(12, replace(SMALL, expansion=1, channels_a_group=5), 1).mix.groups == 2
    assert Block(3, replace(SMALL, expansion=1, channels_a_group=16), 1).mix.groups == 1


def test_gamma_falls_along_half_a_cosine():
    rule = Regulariser(penalty=r1, weight=2.0, final=0.2, steps=100, fall=cosine)
    found = [float(rule.at(torch.tensor(step))) for step in (0, 25, 50, 100, 500)]
    truth = [2.0, 0.2 + 0.9 * (1 + math.cos(math.pi / 4)), 1.1, 0.2, 0.2]
    assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(found, truth, strict=True))


def test_its_game_is_pairs_and_both_penalties_fall():
    config = R3GANConfig()
    assert isinstance(config.game, Relativistic)
    assert [r.penalty.__name__ for r in config.regularisers] == ["r1", "r2"]
    assert all(r.every == 1 and r.fall is cosine for r in config.regularisers)


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (28, 28), (30, 45), (16, 80)])
@pytest.mark.parametrize("c", [1, 4])
def test_every_size_and_number_of_channels(size: tuple[int, int], c: int):
    model = R3GAN(SMALL, space(c, *size))
    x = model.sample(2, rng=0).x
    assert isinstance(x, Tensor)
    assert x.shape == (2, c, *size)
    assert model.criticise(x).shape == (2,)


def test_settings_are_refused_in_a_line():
    with pytest.raises(ValueError, match="blocks must be at least 1; got 0"):
        replace(SMALL, blocks=0)
    with pytest.raises(ValueError, match="an R3GAN makes pictures of 8 to 1024 a side; got 4x4"):
        R3GAN(SMALL, space(1, 4, 4))


@pytest.mark.parametrize("times", [2, 8])
def test_the_recipe_weighs_the_slope_of_what_a_critic_sees_alike_at_every_size(times: int):
    """Of pictures enlarged by whole pixels the same critic, of means over them, has the same gamma |slope|^2."""
    coarse = Rng(0).normal((3, 1, 16, 16), dtype=torch.float64)
    weight = Rng(1).normal((256,), dtype=torch.float64)
    penalties = []
    for size, picture in ((16, coarse), (16 * times, coarse.repeat_interleave(times, 2).repeat_interleave(times, 3))):
        rule = r3gan_recipe(space(h=size, w=size), 1_000)[0].regularisers[0]
        critic = lambda u, k=size // 16: (torch.nn.functional.avg_pool2d(u, k).flatten(1) @ weight).tanh()  # noqa: E731
        slope = r1(slope_of(critic), picture, picture, Rng(0))
        penalties.append(torch.stack([slope * rule.at(torch.tensor(step)) for step in (0, 10**6)]))
    torch.testing.assert_close(*penalties)
